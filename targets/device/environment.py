"""What in the environment disturbs a measurement, why, and how to fix it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil

from paretune.core.interference import Interference, watching
from paretune.core.jsontools import Json
from paretune.targets.device.nvidia_smi import ask_nvidia_smi

_CPUS = Path("/sys/devices/system/cpu")
_BUSY_FROM = 0.05
"""Share of one core from which a program is worth naming."""
_STOLEN_FROM = 0.01
_MAX_NAMED = 5
_OURS = (
    "paretune.targets.agent",
    "paretune.targets.launchers.fork_serving",
    "paretune.targets.worker",
)
"""What the command line of a process that starts workers, or is one, names."""
_STEADY_GOVERNORS = ("performance",)
_SMI = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Process:
    """Another program that runs.

    Attributes:
        pid: Its number.
        name: Its name.
        share: Of one core (1.0: all of it; more with several threads), or of GPU memory in MB.
    """

    pid: int
    name: str
    share: float


@dataclass(frozen=True)
class Environment:
    """What else there is beside the measurement.

    Attributes:
        governors: The frequency governors in force; empty where the system does not say.
        load: Load average of the last minute; None where there is none.
        cores: Logical cores.
        busy: Other programs that use the processor, the busiest first. Not this user's workers of
            other studies: they wait while something is measured (`paretune.core.machine_lock`).
        interference: CPU time used by other processes while this was read.
        gpu: Programs that compute on a GPU.
        on_battery: True if the machine runs on its battery.
    """

    governors: tuple[str, ...] = ()
    load: float | None = None
    cores: int = 1
    busy: tuple[Process, ...] = ()
    interference: Interference = field(default_factory=Interference)
    gpu: tuple[Process, ...] = ()
    on_battery: bool = False

    def to_json(self) -> dict[str, Json]:
        """Return everything by name."""
        return {
            **asdict(self),
            "governors": list(self.governors),
            "busy": [asdict(process) for process in self.busy],
            "gpu": [asdict(process) for process in self.gpu],
        }


@dataclass(frozen=True)
class Issue:
    """Something that would spoil a measurement.

    Attributes:
        what: What was found.
        why: What it does to a measurement.
        `mend`: How to fix it (the key of `bench --json`).
    """

    what: str
    why: str
    mend: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}. {self.mend}"

    @property
    def warning(self) -> str:
        """One line for the terminal, without what it does."""
        return f"warning: {self.what}. {self.mend}"


def inspect_environment(seconds: float = 1.0) -> Environment:
    """Look for what would spoil a measurement.

    Args:
        seconds: How long to watch the processor.
    """
    own = _own_tree()
    others = [process for process in psutil.process_iter() if process.pid not in own]
    before = {process: _used(process) for process in others}
    start = time.monotonic()
    with watching() as watch:
        time.sleep(seconds)
    passed = time.monotonic() - start
    busy = []
    for process, used in before.items():
        now = _used(process)
        if used is None or now is None or now - used < _BUSY_FROM * passed:
            continue
        if not _is_ours(process):
            busy.append(Process(process.pid, _name(process), (now - used) / passed))
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return Environment(
        governors=governors(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        cores=psutil.cpu_count() or 1,
        busy=tuple(sorted(busy, key=lambda process: -process.share)),
        interference=watch.seen,
        gpu=gpu_users(own),
        on_battery=battery is not None and battery.power_plugged is False,
    )


def issues_found(seconds: float = 1.0, gpu: bool = True) -> list[dict[str, str]]:
    """Return what disturbs measurements on this machine, as JSON.

    Args:
        seconds: How long to watch the processor.
        gpu: Whether programs on the GPU count.
    """
    around = inspect_environment(seconds)
    return [asdict(each) for each in issues(around if gpu else replace(around, gpu=()))]


def issues(around: Environment) -> tuple[Issue, ...]:
    """Return what in the environment disturbs a measurement, the worst first."""
    found = []
    if around.busy:
        found.append(
            Issue(
                f"other programs use the processor: {_named(around.busy)}",
                "they take cores, caches and memory bandwidth from what is timed",
                "End them, or measure when they are done.",
            )
        )
    elif around.load is not None and around.load > 0.5 * around.cores:
        found.append(
            Issue(
                f"the load average is {around.load:.1f} on {around.cores} cores",
                "something kept the processor busy within the last minute",
                "Wait a minute and measure again.",
            )
        )
    if around.interference.stolen >= _STOLEN_FROM:
        found.append(
            Issue(
                f"the hypervisor took {around.interference.stolen:.0%} of the processor for "
                "other machines",
                "this virtual machine shares its cores, and its speed changes with its neighbours",
                "Use a machine with cores of its own. Interleaved measurements (`paretune "
                "compare`, the re-measurement of the finalists) are affected equally and stay "
                "comparable.",
            )
        )
    unsteady = [name for name in around.governors if name not in _STEADY_GOVERNORS]
    if unsteady:
        found.append(
            Issue(
                f"the frequency governor is {' and '.join(unsteady)}",
                "cores change their clock while something is timed, and the first samples are slow",
                "As root: cpupower frequency-set -g performance.",
            )
        )
    if around.on_battery:
        found.append(
            Issue(
                "the machine runs on its battery",
                "most processors are slower then",
                "Plug it in.",
            )
        )
    if around.gpu:
        found.append(
            Issue(
                f"other programs use the GPU: {_named(around.gpu, 'MB')}",
                "they take its memory and its time from what is timed",
                "End them, or choose another GPU with CUDA_VISIBLE_DEVICES.",
            )
        )
    return tuple(found)


def governors(folder: Path = _CPUS) -> tuple[str, ...]:
    """Return the frequency governors in force, each once; none where the system does not say."""
    found = set()
    for file in folder.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        try:
            found.add(file.read_text(encoding="ascii").strip())
        except OSError:  # a core that was switched off
            continue
    return tuple(sorted(found))


def gpu_users(own: frozenset[int] = frozenset()) -> tuple[Process, ...]:
    """Return the programs that compute on an NVIDIA GPU, with the MB that they hold.

    Args:
        own: Processes that do not count.
    """
    return parse_gpu_users(ask_nvidia_smi(*_SMI), own)


def parse_gpu_users(table: str, own: frozenset[int] = frozenset()) -> tuple[Process, ...]:
    """Read nvidia-smi's table of process numbers and MB (which may be ``[N/A]``)."""
    found = []
    for line in table.splitlines():
        number, _, held = (part.strip() for part in line.partition(","))
        if number.isdigit() and int(number) not in own:
            name = "a program"
            if psutil.pid_exists(int(number)):  # else it lives in another container
                name = _name(psutil.Process(int(number)))
            found.append(Process(int(number), name, float(held) if held.isdigit() else 0.0))
    return tuple(found)


def _own_tree() -> frozenset[int]:
    this = psutil.Process()
    return frozenset({this.pid, *(child.pid for child in this.children(recursive=True))})


def _is_ours(process: psutil.Process) -> bool:
    """Return whether a process belongs to a target of this user, in another study or command."""
    try:
        mine = psutil.Process().username()
        return any(
            each.username() == mine
            and any(name in word for word in each.cmdline() for name in _OURS)
            for each in (process, *process.parents())
        )
    except psutil.Error:
        return False


def _used(process: psutil.Process) -> float | None:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return None
    return float(times.user + times.system)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return "a program"


def _named(processes: Sequence[Process], unit: str = "") -> str:
    shown = [
        f"{p.name} (process {p.pid}, "
        + (f"{p.share:.0f} {unit})" if unit else f"{p.share:.0%} of a core)")
        for p in processes[:_MAX_NAMED]
    ]
    more = len(processes) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
