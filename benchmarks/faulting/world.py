"""The place of one fault: a target of a kind on this machine, its jobs, and how one is interrupted.

``local`` is this interpreter, ``python`` the same one through an agent, ``ssh`` the same through an
agent behind an sshd of its own on loopback, ``ray`` the same on two nodes of a Ray cluster on
loopback addresses. Everything is real: processes, connections, files. (``azureml`` has a place of
its own, in `faulting.azure_jobs`.)
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from paretune.core.candidate import RuntimeSettings, Step
from paretune.core.errors import TargetLostError
from paretune.core.job import Build, Job, JobResult, JobStatus, Limits, Measure
from paretune.core.model import Model
from paretune.core.resources import physical_cores
from paretune.core.target import Target
from paretune.models.handle import open_model
from paretune.runtimes.package import lay_out
from paretune.search.lost_targets import result_of
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.launchers.python import PythonTarget
from paretune.targets.launchers.ray import RayTarget
from paretune.targets.launchers.ssh import SshTarget
from tests.onnx_networks import write_network
from tests.ray.nodes import Cluster
from tests.targets.sshd import Sshd, start

WITHIN_S = 240.0
"""After which a fault counts as not noticed."""
AGENT = "paretune.targets.agent"
BOARD = "board"
HOST = "127.0.0.2"
"""Of a Ray cluster: measures, and builds first."""
_BUSY_S = 0.3
"""CPU time of a process that measures."""


class CannotRunError(Exception):
    """The fault cannot be caused on this machine."""


@dataclass(frozen=True)
class Came:
    """What came of a fault.

    Attributes:
        what: How the job or the search ended, and what of the next one.
        transient: Whether the job's end was; None: it ended well, or was no job.
        told_s: Seconds from the fault to the end of the job; None: it ended well.
        lost: What has to be done again.
        said: The message that the user gets.
        ok: Whether all of this is as expected.
    """

    what: str
    transient: bool | None
    told_s: float | None
    lost: str
    said: str
    ok: bool


@dataclass(frozen=True)
class Case:
    """A fault of a target.

    Attributes:
        target: ``local``, ``python``, ``ssh``, ``ray``, or another kind.
        fault: What happens.
        expected: What has to come of it (`docs/targets.md`).
        run: Causes it; raises `CannotRunError`.
    """

    target: str
    fault: str
    expected: str
    run: Callable[[World], Came]


@dataclass
class World:
    """A folder, and what is needed for a target of a kind.

    Attributes:
        kind: ``local``, ``python``, ``ssh`` or ``ray``.
        folder: Everything is in it.
        stack: What is undone at the end.
        python: The interpreter of an agent.
    """

    kind: str
    folder: Path
    stack: ExitStack
    python: str = sys.executable
    _sshd: Sshd | None = field(default=None, init=False)
    _cluster: Cluster | None = field(default=None, init=False)
    _packages: dict[Path, Model] = field(default_factory=dict, init=False)

    @property
    def far(self) -> Path:
        """The store of the far side."""
        return self.folder / "far"

    @property
    def sshd(self) -> Sshd:
        """The sshd of this fault; it is started when it is first asked for."""
        if self._sshd is None:
            self._sshd = start(self.folder / "sshd", BOARD)
            path = os.environ["PATH"]
            os.environ["PATH"] = f"{self._sshd.client}:{path}"
            self.stack.callback(os.environ.__setitem__, "PATH", path)
            self.stack.callback(stopped, self._sshd)
        return self._sshd

    @property
    def cluster(self) -> Cluster:
        """The Ray cluster of this fault: its head, and `HOST`, which measures and builds first.

        Raises:
            CannotRunError: Ray is not installed.
        """
        if self._cluster is None:
            if importlib.util.find_spec("ray") is None:
                raise CannotRunError("Ray is not installed: pip install 'paretune[ray]'")
            self._cluster = Cluster()
            self.stack.callback(self._cluster.stop)
            self._cluster.start("127.0.0.3")
            self.start_host()
        return self._cluster

    def start_host(self) -> None:
        """Start the node that measures, after it was killed."""
        self.cluster.start(HOST, resources={"one": 1})

    def open(self, store: Path | None = None, **options: Any) -> Target:
        """Start a target, which is closed at the end.

        Args:
            store: Where it keeps artifacts; of ``ssh`` and ``ray``, on the far side.
            **options: More of its options.
        """
        near = self.folder / "near"
        if self.kind == "local":
            return self.stack.enter_context(LocalTarget(store or near))
        common: dict[str, Any] = {"name": BOARD, "python": self.python, **options}
        if self.kind == "python":
            return self.stack.enter_context(PythonTarget(store or near, **common))
        far = str(store or self.far)
        if self.kind == "ray":
            waits = {"silent_s": 5.0, "placed_s": 15.0}
            cluster = {"address": self.cluster.address, "resources": {"one": 1}, **waits}
            return self.stack.enter_context(RayTarget(near, store=far, **{**cluster, **common}))
        assert self.sshd
        return self.stack.enter_context(SshTarget(near, host=BOARD, store=far, **common))

    def agents(self) -> list[psutil.Process]:
        """Return the agents that run."""
        return [
            process
            for process in self._processes()
            if "python" in _name(process) and AGENT in _command(process)
        ]

    def busy(self, job: Callable[[], Any]) -> psutil.Process:
        """Start something, and wait until a process of the target computes for it.

        Returns:
            The process.
        """
        before = {process.pid: _used(process) for process in self._processes()}
        job()
        end = time.monotonic() + WITHIN_S
        while time.monotonic() < end:
            for process in self._processes():
                used = _used(process) - before.get(process.pid, 0.0)
                if used >= _BUSY_S and AGENT not in _command(process):
                    return process
            time.sleep(0.05)
        raise AssertionError("no process of the target computes")

    def _processes(self) -> list[psutil.Process]:
        roots = [psutil.Process(self.sshd.process.pid if self.kind == "ssh" else os.getpid())]
        if self.kind == "ray":
            roots = self.actors()
        found = []
        for root in roots:
            with suppress(psutil.NoSuchProcess):
                found += [p for p in root.children(recursive=True) if "python" in _name(p)]
        return found

    def actors(self) -> list[psutil.Process]:
        """Return Ray's workers that serve a target, the one on `HOST` first."""
        nodes = sorted(self.cluster.nodes.values(), key=lambda node: node.address != HOST)
        return [p for node in nodes for p in node.processes() if "HostWorker" in _command(p)]

    def model(self, width: int = 64, classes: int = 64) -> Path:
        """Return the folder of a network."""
        folder = self.folder / f"network-{width}-{classes}"
        return folder if folder.is_dir() else write_network(folder, width=width, classes=classes)

    def package(self, width: int = 64, classes: int = 64) -> Model:
        """Return a network that can be measured."""
        runtime = RuntimeSettings("cpu", physical_cores())
        place = self.folder / f"package-{width}-{classes}"
        if place not in self._packages:
            model = open_model(self.model(width, classes))
            self._packages[place] = lay_out(model, runtime, place, link=True)
        return self._packages[place]

    def measure(
        self, seconds: float, limits: Limits = Limits(600.0), width: int = 64, classes: int = 64
    ) -> Job:
        """Return a job that measures a network for so many seconds."""
        model = self.package(width, classes)
        task = Measure(
            model=model,
            runtime=RuntimeSettings("cpu", physical_cores()),
            evaluator="latency",
            params={"shapes": {"x": [8, width]}},
            seconds=seconds,
            data={"specs": {}, "root": str(model.path), "allow_network": False},
        )
        return Job(task, limits)

    def build(self, store: Path, width: int = 64, classes: int = 64) -> Job:
        """Return a job that quantizes a network."""
        task = Build(
            model=open_model(self.model(width, classes)),
            recipe=(Step("onnx_dynamic_int8", {"per_channel": False}),),
            provider="cpu",
            store=store,
            data={"specs": {}, "root": str(self.folder), "allow_network": False},
        )
        return Job(task, Limits(600.0))


@dataclass(frozen=True)
class Expected:
    """What has to come of a job that is interrupted.

    Attributes:
        text: It, in words.
        status: How the job ends.
        transient: Whether that is transient.
        within_s: How soon.
        again: How the next job ends: ``ok``, or the type of the error.
        words: What the message says.
    """

    text: str
    status: JobStatus = JobStatus.CRASHED
    transient: bool = True
    within_s: float = 30.0
    again: str = "ok"
    words: str = ""


def interrupted(
    world: World,
    target: Target,
    strike: Callable[[psutil.Process], None],
    expected: Expected,
    *,
    limits: Limits = Limits(600.0),
    before_again: Callable[[], None] = lambda: None,
) -> Came:
    """Cause a fault while a target measures.

    Args:
        world: Its place.
        target: What measures.
        strike: Causes the fault, given the process that measures.
        expected: What has to come of it.
        limits: Of the job.
        before_again: Called before the next job.
    """
    first = result_of(target, world.measure(0.2))
    assert first.status is JobStatus.OK, first.reason
    futures: list[Any] = []
    worker = world.busy(lambda: futures.append(target.submit(world.measure(200.0, limits))))
    begin = time.monotonic()
    strike(worker)
    result: JobResult = futures[0].result(WITHIN_S)
    told_s = time.monotonic() - begin
    before_again()
    again, said = tried_again(world, target)
    words = "; ".join(filter(None, (result.reason, said)))
    ok = (
        (result.status, result.transient) == (expected.status, expected.transient)
        and told_s <= expected.within_s
        and again == expected.again
        and expected.words in words
    )
    what = f"{result.status}; the next job: {again}"
    return Came(what, result.transient, told_s, "this measurement", words, ok)


def tried_again(world: World, target: Target) -> tuple[str, str]:
    """Run a short measurement as a search does; return how it ended, and the message."""
    try:
        result = result_of(target, world.measure(0.2))
    except TargetLostError as error:
        return type(error).__name__, str(error).replace("\n", " ")
    return str(result.status), result.reason or ""


def stopped(sshd: Sshd) -> None:
    """Stop an sshd, whatever state it is in."""
    with suppress(psutil.Error):
        for process in psutil.Process(sshd.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
                process.kill()
    sshd.process.kill()
    sshd.process.wait()


@contextmanager
def small_disk(world: World, megabytes: int) -> Iterator[Path]:
    """Yield the folder of a small file system.

    Raises:
        CannotRunError: None may be mounted here.
    """
    folder = world.folder / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode != 0:
        raise CannotRunError("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _used(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)
