"""The parts of the target `ray` that need no Ray: what an actor does, and its streams."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from paretune.core.errors import UsageError
from paretune.targets.launchers import ray_actor, ray_cluster, ray_pipe
from paretune.targets.launchers.python import ProcessChannel
from paretune.targets.launchers.ray_actor import PIECE, RAYS_PYTHON, HostWorker
from paretune.targets.launchers.ray_broker import Hosts, LostError, _Server
from paretune.targets.launchers.ray_cluster import Cluster, RayHost
from paretune.targets.launchers.ray_connect import RefusedError, Wish, chosen, hosts_that_fit
from paretune.targets.transports.host import CommandError

_ECHO = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"


class Here(Hosts):
    """Hosts whose actors are objects of this process.

    Attributes:
        workers: By host.
        lost: Hosts that do not answer any more.
        calls: The sizes of what was passed on, in pieces.
    """

    def __init__(self, place: Path) -> None:
        super().__init__(Wish("local", str(place), silent_s=5.0))
        self.workers = {"one": HostWorker()}
        self.lost: set[str] = set()
        self.calls: list[list[int]] = []

    def actor(self, host: str) -> Any:
        if host not in self.workers:
            raise LostError(f"the host {host} is not in the cluster any more")
        return _Remote(self.workers[host])

    def call(self, host: str, actor: Any, method: str, *arguments: Any, results: int = 1) -> Any:
        if host in self.lost:
            raise LostError(f"the worker on {host} is gone")
        if method == "write":
            self.calls.append([len(piece) for piece in arguments[2:]])
        found = getattr(actor.worker, method)(*arguments)
        if method == "read":
            self.calls.append([len(piece) for piece in found])
        return found


class _Remote:
    """What the broker calls without an answer."""

    def __init__(self, worker: HostWorker) -> None:
        self.worker = worker
        self.end = self

    def remote(self, number: int) -> None:
        threading.Thread(target=self.worker.end, args=(number,), daemon=True).start()


class OneHost:
    """Stands for a cluster: the commands go to a socket of this test."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def command(self, host: str, *remote: str) -> list[str]:
        return [sys.executable, "-I", "-S", ray_pipe.__file__, str(self._place), host, *remote]


@pytest.fixture
def hosts() -> Iterator[Here]:
    with tempfile.TemporaryDirectory() as folder:
        made = Here(Path(folder) / "s")
        server = _Server(made)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        server.shutdown()
        server.server_close()


def host(hosts: Here, name: str = "one") -> RayHost:
    return RayHost(OneHost(Path(hosts.wish.socket)), name)  # type: ignore[arg-type]


def test_a_command_has_its_three_streams_and_its_exit_status(hosts: Here) -> None:
    content = os.urandom(3 * PIECE * 8 + 5)
    assert host(hosts).run(RAYS_PYTHON, "-c", _ECHO, given=content[:900_000]) == content[:900_000]
    program = subprocess.run(
        host(hosts).command(RAYS_PYTHON, "-c", f"{_ECHO}; sys.stderr.write('so'); sys.exit(7)"),
        input=content,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert program.stdout == content
    assert (program.stderr, program.returncode) == (b"so", 7)
    assert max(size for sizes in hosts.calls for size in sizes) <= PIECE + 1 < 100_000


def test_what_fails_there(hosts: Here) -> None:
    with pytest.raises(CommandError) as caught:
        host(hosts).run("no-such-program")
    assert caught.value.status == 127
    assert caught.value.reason == "no-such-program cannot be started: No such file or directory"
    with pytest.raises(UsageError, match="two: the host two is not in the cluster any more"):
        host(hosts, "two").run("true")
    with pytest.raises(CommandError) as killed:
        host(hosts).run("sh", "-c", "kill -9 $$")
    assert killed.value.status == 137


def running(hosts: Here, *command: str) -> tuple[subprocess.Popen[bytes], psutil.Process]:
    """Start a command that prints its number; return the program here and the process there."""
    program = subprocess.Popen(
        host(hosts).command(*command), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert program.stdout is not None
    return program, psutil.Process(int(program.stdout.readline()))


def ends(process: psutil.Process) -> None:
    assert not psutil.wait_procs([process], 60.0)[1]


_SAYS_ITS_NUMBER = "import os; print(os.getpid(), flush=True); "


def test_what_waits_for_input_ends_with_the_program_here(hosts: Here) -> None:
    program, there = running(hosts, sys.executable, "-c", _SAYS_ITS_NUMBER + "input()")
    program.kill()
    program.communicate()
    ends(there)


def test_a_lost_host_ends_the_program_here(hosts: Here) -> None:
    program, there = running(hosts, sys.executable, "-c", _SAYS_ITS_NUMBER + "input()")
    hosts.lost.add("one")
    _, _ = program.communicate(timeout=60)
    assert program.returncode == ray_pipe.LOST
    hosts.workers["one"].end(1)
    ends(there)


def test_what_goes_on_without_input_is_killed(hosts: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_actor, "_ENDS_WITHIN_S", 0.2)
    program, there = running(
        hosts, sys.executable, "-c", _SAYS_ITS_NUMBER + "import time; time.sleep(600)"
    )
    hosts.workers["one"].end(1)
    ends(there)
    program.kill()
    program.communicate()


def test_writing_waits_for_who_does_not_read() -> None:
    worker = HostWorker()
    assert worker.start(1, ["sleep", "600"]) is None
    taken, begin = 0, time.monotonic()
    while taken == 0 or worker.write(1, 0.1, *[bytes(PIECE)] * 8) == 8:
        taken += 1
        assert taken < 100, "no end to what is taken"
    assert worker.write(1, 0.0, bytes(PIECE)) == 0
    assert time.monotonic() - begin < 60
    assert worker.read(1, 0.0) == (b"",) * 8
    command = worker._commands[1]
    command.process.kill()
    worker.end(1)


def test_the_environment_is_that_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_JOB_ID", "1")
    monkeypatch.setenv("PYTHONPATH", "/x")
    monkeypatch.setenv("KEPT", "yes")
    given: Callable[[], tuple[dict[str, str], int]] = ray_actor._of_the_node
    with subprocess.Popen(["sleep", "600"], env={"OMP_NUM_THREADS": "7"}) as node:
        monkeypatch.setenv("RAY_RAYLET_PID", str(node.pid))
        environment, _ = given()
        node.kill()
    assert environment["OMP_NUM_THREADS"] == "7"
    assert environment["KEPT"] == "yes"
    assert not environment.keys() & {"RAY_JOB_ID", "RAY_RAYLET_PID", "PYTHONPATH"}
    with subprocess.Popen(["sleep", "600"], env={}) as node:
        monkeypatch.setenv("RAY_RAYLET_PID", str(node.pid))
        environment, niceness = given()
        node.kill()
    assert "OMP_NUM_THREADS" not in environment
    assert niceness == os.getpriority(os.PRIO_PROCESS, 0)


def test_a_command_may_be_sent_the_signals_that_ray_blocks() -> None:
    program = "import signal; print(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())), end='')"
    worker = HostWorker()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        assert worker.start(1, [sys.executable, "-c", program]) is None
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert worker.read(1, 60.0)[0] == b"o0"
    worker.end(1)


def node(address: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeManagerAddress": address, "Alive": alive, "Resources": resources}


def test_hosts_are_those_that_have_what_is_wanted_in_the_order_of_their_addresses() -> None:
    nodes = [
        node("10.0.0.10", CPU=4, board=1),
        node("10.0.0.9", CPU=4, board=1),
        node("10.0.0.1", CPU=0),
        node("10.0.0.2", CPU=8, **{"node:10.0.0.2": 1.0, "memory": 1e9}),
        node("10.0.0.3", alive=False, CPU=8, board=1),
    ]

    def found(**wish: Any) -> list[str]:
        fit = hosts_that_fit(nodes, Wish("x:1", "s", **wish))
        return [each["NodeManagerAddress"] for each in fit]

    assert found() == ["10.0.0.2", "10.0.0.9", "10.0.0.10"]
    assert found(resources={"board": 1}) == ["10.0.0.9", "10.0.0.10"]
    assert found(cpus=8) == ["10.0.0.2"]
    assert found(hosts=2) == ["10.0.0.2", "10.0.0.9"]
    with pytest.raises(RefusedError) as caught:
        found(hosts=4)
    assert str(caught.value) == (
        "4 hosts with CPU: 1 wanted, 3 found: 10.0.0.10 has CPU: 4, board: 1; 10.0.0.9 has "
        "CPU: 4, board: 1; 10.0.0.1 has CPU: 0; 10.0.0.2 has CPU: 8"
    )


def test_of_several_nodes_on_this_machine_the_head_is_connected_through() -> None:
    here = ["127.0.0.4", "127.0.0.2", "127.0.0.3"]
    assert chosen(here, ("127.0.0.1", "127.0.0.3")) == "127.0.0.3"
    assert chosen(here, ("127.0.0.4", "10.0.0.1")) == "127.0.0.4"
    assert chosen(here, ("127.0.0.1", "10.0.0.1")) == "127.0.0.2"


def test_a_machine_may_have_a_node_without_work_beside_one_that_fits() -> None:
    joined, works = node("10.0.0.1", CPU=0), node("10.0.0.1", CPU=4)
    for nodes in ([joined, works], [works, joined]):
        assert hosts_that_fit(nodes, Wish("x:1", "s")) == [works]
    with pytest.raises(RefusedError, match=r"10\.0\.0\.1 has CPU: 0; 10\.0\.0\.1 has CPU: 4"):
        hosts_that_fit([joined, works], Wish("x:1", "s", cpus=8))


def asked(program: str, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Return a cluster whose client process is a program of a test's own."""
    made = ray_cluster.ProcessChannel

    def start(command: list[str], environment: dict[str, str]) -> ProcessChannel:
        return made([sys.executable, "-c", program], environment)

    monkeypatch.setattr(ray_cluster, "ProcessChannel", start)
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: name)
    return Cluster("cluster", {"address": "x:1", "hosts": 4})


def test_after_its_client_process_has_ended_a_cluster_may_have_fewer_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    program = (
        "import json, sys; line = sys.stdin.readline(); "
        f"open({str(seen)!r}, 'a').write(line); print(json.dumps({{'hosts': ['one']}}))"
    )
    cluster = asked(program, monkeypatch)
    try:
        assert cluster.hosts() == ["one"]
        assert cluster._channel is not None
        cluster._channel._process.wait(60)
        cluster.command("one", "true")
        wishes = [json.loads(line) for line in seen.read_text().splitlines()]
        assert [wish["hosts"] for wish in wishes] == [4, None]
    finally:
        cluster.close()


def test_sockets_have_short_paths_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    program = (
        "import json, sys; wish = json.loads(sys.stdin.readline()); "
        "print(json.dumps({'hosts': [wish['socket']]}))"
    )
    cluster = asked(program, monkeypatch)
    [place] = cluster.hosts()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(place)
    cluster.close()
    assert not Path(place).parent.exists()


def test_an_interrupt_ends_the_client_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = asked("import time; time.sleep(600)", monkeypatch)

    def interrupted(*arguments: object) -> bytes:
        raise KeyboardInterrupt

    made, started = ray_cluster.ProcessChannel, list[ProcessChannel]()

    def start(command: list[str], environment: dict[str, str]) -> ProcessChannel:
        channel: ProcessChannel = made(command, environment)
        monkeypatch.setattr(channel.reader, "readline", interrupted, raising=False)
        started.append(channel)
        return channel

    monkeypatch.setattr(ray_cluster, "ProcessChannel", start)
    with pytest.raises(KeyboardInterrupt):
        cluster.hosts()
    assert not psutil.pid_exists(started[0].pid)
    assert cluster._folder is None
