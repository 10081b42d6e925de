"""The device's own figures: memory bandwidth, matrix speed, start-up, noise.

A decode step reads the whole model once, so ``bandwidth / bytes`` bounds the tokens per second. A
prefill is bound by matrix speed. Both depend on threads, so there is one figure per thread count.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from paretune.bench.figures import SETS, figure
from paretune.bench.profile import (
    beside_earlier,
    make_profile,
    problems,
    render_figures,
    render_profile,
)
from paretune.core.child_interpreter import importing
from paretune.core.device import TargetInfo
from paretune.core.device_profile import DeviceProfile
from paretune.core.errors import ParetuneError, UsageError
from paretune.core.interference import watching
from paretune.core.job import Call, Job, JobStatus, Limits
from paretune.core.jsontools import Json
from paretune.core.machine_lock import MachineLock
from paretune.core.packages import RUNTIMES, is_installed
from paretune.core.target import Target, is_far
from paretune.runtimes.matrix_products import seconds_of
from paretune.search.lost_targets import result_of
from paretune.targets.device.environment import inspect_environment
from paretune.targets.device.providers import PROVIDERS, check_provider
from paretune.targets.launchers.local import LocalTarget, worker_environment

_STARTS = 10
_NOISE_AT_ONCE = 2
"""Processes of the A/A run in a row; there are several such pairs."""
_NOISE_SECONDS = 0.5
_MEMORY_SHARE = 0.25
"""Of the free memory that the largest working set may take."""
_LIMITS = Limits(seconds=120.0)
_LIMITS_THERE = Limits(seconds=1800.0)


def bench_device(
    target: Target | None = None,
    store_root: Path | None = None,
    waits: Callable[[str], None] = lambda why: None,
) -> dict[str, Json]:
    """Measure this device; takes about a minute. Nothing else of ours runs on it meanwhile.

    Args:
        target: Where to measure; None: this machine.
        store_root: The store in which the profile is kept; None: nowhere.
        waits: Receives the reason if it waits for another process.

    Returns:
        ``{"device": TargetInfo as JSON, "figures": [{"name", "threads", "value", "unit", "low",
        "high", "n"}, ...], "providers": {name: None or what it needs}, "profile": DeviceProfile as
        JSON, "surroundings": {...}, "problems": [{"what", "why", "mend"}, ...], "kept": file or
        None}``. ``value`` is the median of ``n`` repetitions, ``low`` and ``high`` their quartiles;
        decimal units (GB: 10^9 bytes).

    Raises:
        ParetuneError: A measurement failed.
        StateError: The profile cannot be written.
    """
    if target is None:
        with LocalTarget() as made:
            made.preload(RUNTIMES)
            return bench_device(made, store_root, waits)
    info = target.info()
    found = _bench_there(target) if is_far(target) else bench_here(target, waits)
    profile = replace(DeviceProfile.from_json(found["profile"]), fingerprint=info.fingerprint)
    kept, trouble = None, None
    if store_root is not None:
        profile, trouble = beside_earlier(profile, store_root)
        kept = str(profile.save(store_root))
    return {
        **found,
        "device": info.to_json(),
        "providers": {name: check_provider(name, info) for name in PROVIDERS},
        "profile": profile.to_json(),
        "problems": [*found["problems"], *([] if trouble is None else [asdict(trouble)])],
        "kept": kept,
    }


def _bench_there(target: Target) -> Any:
    """Measure the machine of an agent: all of it runs there, in one job."""
    return value_of(target, Job(Call("paretune.bench.device:bench_here"), _LIMITS_THERE))


def bench_here(
    target: Target | None = None, waits: Callable[[str], None] = lambda why: None
) -> dict[str, Json]:
    """Measure this machine, and keep nothing.

    Args:
        target: Runs the jobs; None: a new one.
        waits: Receives the reason if it waits for another process.

    Returns:
        ``figures``, ``profile``, ``surroundings`` and ``problems`` of `bench_device`.

    Raises:
        ParetuneError: A measurement failed.
    """
    if target is None:
        with LocalTarget() as made:
            made.preload(RUNTIMES)
            return bench_here(made, waits)
    with MachineLock().use(alone=True, waits=waits):
        return _benched(target)


def _benched(target: Target) -> dict[str, Json]:
    around = inspect_environment()  # first: what follows is our own load
    info = target.info()
    threads = thread_counts(info)
    most = _MEMORY_SHARE * info.memory_free
    sets = [size for size in SETS if size <= most] or SETS[:1]
    with watching() as watch:
        figures = [*_start_up(target)]  # first: the rest would share the processor with its imports
        figures += _measure(target, "timer")
        # Each in a process of its own: what differs between them is the noise. They are spread over
        # the whole bench: what other machines do to this one changes within seconds to minutes.
        noise = [_noise(target, info.cores) for _ in range(_NOISE_AT_ONCE)]
        for count in threads:
            figures += _measure(target, "bandwidth", threads=[count], sets=sets)
            noise += [_noise(target, info.cores) for _ in range(_NOISE_AT_ONCE)]
        for count in threads:
            figures += _measure(target, "arithmetic", threads=[count])
            noise += [_noise(target, info.cores) for _ in range(_NOISE_AT_ONCE)]
    profile = make_profile(info.fingerprint, figures, noise, watch.seen)
    return {
        "figures": figures,
        "profile": profile.to_json(),
        "surroundings": around.to_json(),
        "problems": [asdict(problem) for problem in problems(around, profile)],
    }


def _noise(target: Target, cores: int) -> Any:
    return _measure(target, "noise", threads=cores, seconds=_NOISE_SECONDS)


def _measure(target: Target, function: str, **arguments: Json) -> Any:
    call = Call(f"paretune.bench.figures:{function}", arguments)
    return value_of(target, Job(call, _LIMITS))


def render(measured: dict[str, Json]) -> str:
    """Return what `bench_device` measured as lines of text."""
    lines = [device_line(measured["device"]), ""]
    lines += render_figures(measured)
    lines.append("")
    for name, needs in measured["providers"].items():
        lines.append(
            f"  provider {name:<17}{'available' if needs is None else needs.partition(': ')[2]}"
        )
    lines += ["", *render_profile(measured)]
    return "\n".join(lines)


def device_line(device: Mapping[str, Json]) -> str:
    """Return what a device is in one line."""
    return (
        f"{device['processor']}, {device['cores']} cores ({device['logical_cores']} logical), "
        f"{device['memory'] / 1e9:.1f} GB; {device['fingerprint'][:19]}"
    )


def thread_counts(info: TargetInfo) -> list[int]:
    """Return the thread counts worth measuring: powers of two, and all cores of both kinds."""
    powers = {1 << n for n in range(info.logical_cores.bit_length())}
    return sorted(n for n in powers | {info.cores, info.logical_cores} if n <= info.logical_cores)


def _start_up(target: Target) -> list[Json]:
    """Measure the time of a job's process, and of an interpreter that imports the runtime."""
    call = Job(Call("paretune.bench.figures:nothing"), _LIMITS)
    value_of(target, call)  # the first one waits for the fork server's imports
    jobs = [seconds_of(lambda: value_of(target, call)) * 1e3 for _ in range(_STARTS)]
    return [
        figure("job start and end", "ms", jobs),
        _spawned("new process, runtime", ("onnxruntime_genai",), 3),
        _spawned("new process, all imports", RUNTIMES, 2),
    ]


def _spawned(name: str, modules: Sequence[str], times: int) -> dict[str, Json]:
    """Measure a new interpreter that imports some modules: what a job would cost without a fork.

    Args:
        name: The figure's.
        modules: They are imported where they are installed; else onnxruntime alone.
        times: How many interpreters.
    """
    there = [module for module in modules if is_installed(module)]
    command = importing(*(there or ["onnxruntime"]))
    environment = worker_environment(allow_network=False)

    def spawn() -> None:
        subprocess.run(command, check=True, capture_output=True, env=environment)

    return figure(name, "ms", [seconds_of(spawn) * 1e3 for _ in range(times)])


def value_of(target: Target, job: Job) -> Any:
    """Run a job and return its value.

    Raises:
        UsageError: The target was lost, or the job failed for another transient cause.
        ParetuneError: The job did not end normally.
    """
    result = result_of(target, job)
    if result.transient:
        raise UsageError(f"{job.task.name}: {result.status}: {result.reason}")
    if result.status is not JobStatus.OK:
        raise ParetuneError(f"{job.task.name}: {result.status}: {result.reason}")
    return result.value
