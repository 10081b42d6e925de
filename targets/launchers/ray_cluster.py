"""A Ray cluster as hosts that commands run on, through a Ray client process."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json, parse_json
from paretune.targets.launchers import ray_pipe
from paretune.targets.launchers.python import ProcessChannel
from paretune.targets.transports.bounded import TooMuchError, run_bounded
from paretune.targets.transports.host import CommandError

_BROKER = "paretune.targets.launchers.ray_broker"
_ANSWERS_WITHIN_S = 180.0
_CLOSES_WITHIN_S = 1.0
_MOST_LINE = 1 << 20
_SHORT = "/tmp" if os.path.isdir("/tmp") else None
"""Where sockets are made: the path of one has 107 bytes at most, and TMPDIR may be long."""
INSTALL = "pip install 'paretune[ray]'"


class Cluster:
    """A cluster, or the part of it that a target uses.

    Args:
        name: The target's name.
        wish: The fields of `paretune.targets.launchers.ray_connect.Wish`, but for the socket.
    """

    def __init__(self, name: str, wish: Mapping[str, Json]) -> None:
        self._name, self._wish = name, wish
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._channel: ProcessChannel | None = None
        self._closed = False

    def hosts(self) -> list[str]:
        """Return the addresses of the hosts that have what is wanted.

        Raises:
            UsageError: Ray is not installed, or the cluster is not one that can be used.
        """
        with self._lock:
            return self._started(self._wish)

    def command(self, host: str, *remote: str) -> list[str]:
        """Return the command that runs a command on a host.

        Raises:
            UsageError: The Ray client process has ended, and a new one cannot connect.
        """
        with self._lock:
            if self._channel is None or not self._channel.is_running:
                self._started({**self._wish, "hosts": None})  # some may be gone meanwhile
            program = [sys.executable, "-I", "-S", ray_pipe.__file__]
            return [*program, str(self._socket), host, *remote]

    def close(self) -> None:
        """End the workers and the Ray client process; may be called again."""
        self._closed = True
        if not self._lock.acquire(timeout=_CLOSES_WITHIN_S):  # somebody waits for its answer
            if self._channel is not None:
                self._channel.kill()
            self._lock.acquire()
        try:
            self._end()
        finally:
            self._lock.release()

    @property
    def _socket(self) -> Path:
        assert self._folder is not None
        return self._folder / "s"

    def _end(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel.reader.close()
            self._channel = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _started(self, wish: Mapping[str, Json]) -> list[str]:
        """Start the Ray client process; return the hosts."""
        if self._closed:
            raise UsageError(f"the target {self._name!r} is closed")
        if importlib.util.find_spec("ray") is None:
            raise UsageError(
                f"the target {self._name!r} needs Ray, which is not installed", hint=INSTALL
            )
        self._end()
        self._folder = Path(tempfile.mkdtemp(prefix="paretune-ray-", dir=_SHORT))
        command = [sys.executable, "-P", "-m", _BROKER]
        channel = self._channel = ProcessChannel(command, dict(os.environ))
        overdue = threading.Timer(_ANSWERS_WITHIN_S, channel.kill)
        overdue.start()
        try:
            with contextlib.suppress(OSError):  # it ended: what it said is the reason
                asked = {**wish, "socket": str(self._socket)}
                channel.writer.write(json.dumps(asked).encode() + b"\n")
                channel.writer.flush()
            line = channel.reader.readline(_MOST_LINE)
        except BaseException:  # Ctrl-C: while it connects, it does not see that its input closes
            channel.kill()
            self._end()
            raise
        finally:
            overdue.cancel()
        try:
            said = parse_json(line.decode(errors="replace"))
        except ValueError:
            said = None
        if isinstance(said, dict) and isinstance(said.get("hosts"), list):
            return [str(host) for host in said["hosts"]]
        if not isinstance(said, dict):
            words = channel.last_words().strip().splitlines()
            why = words[-1] if words else f"no answer within {_ANSWERS_WITHIN_S:.0f} s"
            said = {"refused": f"the Ray client process ended: {why}"}
        self._end()
        message = f"the target {self._name!r} cannot be used: {said.get('refused')}"
        raise UsageError(message, hint=str(said.get("hint") or "") or None)


class RayHost:
    """One host of a cluster.

    Args:
        cluster: Which one.
        host: The host's address.
    """

    def __init__(self, cluster: Cluster, host: str) -> None:
        self._cluster, self.host = cluster, host

    def command(self, *remote: str, master: bool = False) -> list[str]:
        """Return the command that runs a command there."""
        return self._cluster.command(self.host, *remote)

    def run(self, *remote: str, given: bytes = b"", seconds: float = 180.0) -> bytes:
        """Run a command to its end, and return its standard output.

        Raises:
            CommandError: It failed there.
            UsageError: The host cannot be reached.
        """
        try:
            done = run_bounded(self.command(*remote), given, seconds)
        except TimeoutError as error:
            raise UsageError(f"{self.host}: no answer within {seconds:.0f} s") from error
        except TooMuchError as error:
            raise UsageError(f"{self.host}: it writes without an end") from error
        said = done.errors.decode(errors="replace")
        if done.status == ray_pipe.LOST:
            last = (said.strip().splitlines() or ["no reason was given"])[-1]
            raise UsageError(
                f"{self.host}: {last}", hint="`ray status` shows which nodes the cluster has."
            )
        if done.status != 0:
            raise CommandError(remote[0], done.status, said)
        return done.output

    def close(self) -> None:
        """Do nothing: the cluster belongs to all of its hosts."""
