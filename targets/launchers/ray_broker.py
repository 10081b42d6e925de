"""A search's Ray client process: ``python -m paretune.targets.launchers.ray_broker``.

Ray may end the process that uses it (a lost cluster, a failed check of its own), and changes its
signal handlers and logging. So the search itself never imports it. This process reads one line from
standard input, connects to the cluster or starts one here, and answers with one line: the hosts
that fit, or why it cannot. Then it serves commands on a Unix socket
(`paretune.targets.launchers.ray_pipe`) until standard input closes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shutil
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from paretune.targets.launchers import ray_actor
from paretune.targets.launchers.ray_actor import ERRORS, EXIT, PIECE, PIECES, HostWorker
from paretune.targets.launchers.ray_connect import (
    LOCAL,
    RefusedError,
    Wish,
    connect,
    fits,
    hosts_that_fit,
    own_token,
    resources_of,
)

LOST = 255
_SILENT_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_py_gcs_connect_timeout_s": "10",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class LostError(Exception):
    """A host cannot be used any more, or not now."""


class Hosts:
    """The actors of the hosts; each is started when it is needed, and again after it was lost.

    Args:
        wish: What the target wants.
    """

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._actors: dict[str, Any] = {}

    def actor(self, host: str) -> Any:
        """Return the actor of a host.

        Raises:
            LostError: Ray does not start one there.
        """
        with self._lock:
            lock = self._locks.setdefault(host, threading.Lock())
        with lock:
            if host not in self._actors:
                self._actors[host] = self._started(host)
            return self._actors[host]

    def _started(self, host: str) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = [n for n in ray.nodes() if n["Alive"] and n["NodeManagerAddress"] == host]
        if not there:
            raise LostError(f"the host {host} is not in the cluster any more")
        node = next((n for n in there if fits(n, self.wish)), None)
        if node is None:
            has = "; ".join(resources_of(n) for n in there)
            raise LostError(f"the host {host} has no longer what is wanted: it has {has}")
        own = {
            key: value for key, value in self.wish.resources.items() if key not in ("CPU", "GPU")
        }
        actor = (
            ray.remote(HostWorker)
            .options(
                num_cpus=self.wish.cpus or node["Resources"]["CPU"],
                num_gpus=self.wish.resources.get("GPU", 0),
                resources=own,
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=64,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            )
            .remote()
        )
        try:
            ray.get(actor.facts.remote(), timeout=self.wish.placed_s)
        except ray.exceptions.GetTimeoutError:
            ray.kill(actor)
            free = _free(node["NodeID"])
            raise LostError(
                f"Ray did not start a worker on {host} within {self.wish.placed_s:.0f} s; it has "
                f"{resources_of(node)}, of which are free: {free}"
            ) from None
        except ray.exceptions.RayError as error:
            raise LostError(f"Ray cannot start a worker on {host}: {_first_line(error)}") from error
        return actor

    def call(self, host: str, actor: Any, method: str, *arguments: Any, results: int = 1) -> Any:
        """Call a method of an actor.

        Raises:
            LostError: The host is gone, or silent.
        """
        import ray

        try:
            bound = getattr(actor, method).options(num_returns=results)
            return ray.get(bound.remote(*arguments), timeout=self.wish.read_s + self.wish.silent_s)
        except ray.exceptions.GetTimeoutError:
            why = f"the host {host} was silent for {self.wish.read_s + self.wish.silent_s:.0f} s"
        except ray.exceptions.RayTaskError:  # a bug of ours
            raise
        except ray.exceptions.RayError as error:
            why = f"the worker on {host} is gone: {_first_line(error)}"
        self._lose(host, actor)
        raise LostError(why)

    def _lose(self, host: str, actor: Any) -> None:
        import ray

        with self._lock:
            if self._actors.get(host) is actor:
                del self._actors[host]
        with contextlib.suppress(Exception):  # it is gone already, or Ray cannot reach it
            ray.kill(actor)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] if lines else type(error).__name__


def _free(node_id: str) -> str:
    """Return what is free on a node, as text."""
    import ray

    free = ray._private.state.available_resources_per_node().get(node_id)
    return "unknown" if free is None else resources_of({"Resources": free})


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.numbers = itertools.count(1)
        super().__init__(hosts.wish.socket, _Served)


class _Served(socketserver.StreamRequestHandler):
    """One command."""

    server: _Server

    def handle(self) -> None:
        """Run the command that the first line names, and pass its streams on."""
        asked = json.loads(self.rfile.readline())
        host, hosts, number = asked["host"], self.server.hosts, next(self.server.numbers)
        try:
            actor = hosts.actor(host)
            refused = hosts.call(host, actor, "start", number, list(asked["command"]))
            if refused is not None:
                self._say([ERRORS + f"{refused}\n".encode(), EXIT + b"127"])
                return
            sender = threading.Thread(target=self._send, args=(host, actor, number), daemon=True)
            sender.start()
            try:
                self._receive(host, actor, number)
            finally:
                actor.end.remote(number)
        except LostError as error:
            self._end(str(error))
        except OSError:  # whoever asked is gone
            pass
        except Exception as error:  # a bug of ours: whoever asked must not wait for it
            self._end(f"{type(error).__name__}: {error}")

    def _end(self, why: str) -> None:
        with contextlib.suppress(OSError):
            self._say([ERRORS + f"{why}\n".encode(), EXIT + str(LOST).encode()])

    def _send(self, host: str, actor: Any, number: int) -> None:
        """Pass on what comes for the command's standard input."""
        hosts = self.server.hosts
        with contextlib.suppress(LostError, OSError):  # the other direction says so
            while content := self.rfile.read1(PIECE * PIECES):
                pieces = [content[i : i + PIECE] for i in range(0, len(content), PIECE)]
                while pieces:
                    pieces = pieces[
                        hosts.call(host, actor, "write", number, hosts.wish.read_s, *pieces) :
                    ]
            while not hosts.call(host, actor, "write", number, hosts.wish.read_s, b""):
                pass

    def _receive(self, host: str, actor: Any, number: int) -> None:
        """Pass on what the command says, to its end."""
        hosts = self.server.hosts
        while True:
            frames = hosts.call(host, actor, "read", number, hosts.wish.read_s, results=PIECES)
            said = [frame for frame in frames if frame]
            self._say(said)
            if any(frame[:1] == EXIT for frame in said):
                return

    def _say(self, frames: Iterable[bytes]) -> None:
        self.wfile.write(
            b"".join(
                frame[:1] + (len(frame) - 1).to_bytes(4, "big") + frame[1:] for frame in frames
            )
        )


def main() -> None:
    """Serve one target, until standard input closes."""
    channel_in, channel_out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    wish = Wish(**json.loads(channel_in.readline()))
    folder = os.path.dirname(wish.socket)  # only a Ray that is started here writes there
    os.environ.update(_SILENT_RAY, RAY_TMPDIR=folder)
    os.environ.pop("RAY_ADDRESS", None)
    if wish.address == LOCAL:
        os.environ.update(own_token())
    try:
        _serve(wish, channel_in, channel_out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(wish: Wish, channel_in: BinaryIO, channel_out: BinaryIO) -> None:
    def answer(said: Mapping[str, Any]) -> None:
        channel_out.write(json.dumps(said).encode() + b"\n")
        channel_out.flush()

    try:
        own_node = connect(wish)
        import ray

        found = hosts_that_fit(ray.nodes(), wish)
    except RefusedError as error:
        answer({"refused": str(error), "hint": error.hint})
        return
    ray.cloudpickle.register_pickle_by_value(ray_actor)
    server = _Server(Hosts(wish))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if hasattr(os, "pidfd_open"):
        threading.Thread(target=_end_with, args=(own_node,), daemon=True).start()
    answer({"hosts": [node["NodeManagerAddress"] for node in found]})
    channel_in.read()
    server.shutdown()
    ray.shutdown()


def _end_with(own_node: str) -> None:
    """End this process as soon as this machine's node has: no call of Ray returns any more."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(own_node)
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    select.select([os.pidfd_open(struct.unpack("3i", found)[0])], [], [])
    print("the Ray node of this machine has ended", file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    main()
    sys.exit(0)
