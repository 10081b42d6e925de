"""Faults of a machine's surroundings: a full disk, a clock that is set, another user's load."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
from faulting.impostor import Impostor
from faulting.world import Came, CannotRunError, Case, World, small_disk

from paretune.core.interference import watching
from paretune.core.job import Job, JobResult, JobStatus
from paretune.core.resources import physical_cores
from paretune.core.target import Target
from paretune.search.lost_targets import result_of

_DISK_MB, _WIDTH = 64, 400_000
"""The model has 26 MB: more than a full disk has room for, and less than an empty one."""
_JUMP_S = 3600
_OTHER_USER = "12345"
_SLOW = 5.0
"""By so much a time may differ from an undisturbed one: a jump would be thousands."""
_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
static volatile long *offset;
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) {
        void *place = MAP_FAILED;
        int file = open(getenv("FAULT_CLOCK"), O_RDONLY);
        if (file >= 0) place = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
        if (place != MAP_FAILED) offset = place;
        real = dlsym(RTLD_NEXT, "clock_gettime");
    }
    int status = real(clock, now);
    if (status == 0 && clock == CLOCK_REALTIME && offset) now->tv_sec += *offset;
    return status;
}
"""
"""The wall clock of the processes that it is loaded into, as a file sets it."""


def full_disk(world: World) -> Came:
    """Fill the disk of the store; free it before the next job."""
    with small_disk(world, _DISK_MB) as disk:
        store = disk / "store"
        with world.stack.pop_all() as opened:  # closed before the disk goes away
            world.stack = opened
            return _filled(world, world.open(store), disk, store)


def _filled(world: World, target: Target, disk: Path, store: Path) -> Came:
    target.info()
    free = shutil.disk_usage(disk).free - 2_000_000
    (disk / "filler").write_bytes(bytes(free))
    job = _that_writes(world, store)
    result = target.submit(job).result()
    (disk / "filler").unlink()
    again = result_of(target, job)
    said = result.reason or ""
    ok = (
        (result.status, result.transient) == (JobStatus.FAILED, True)
        and "No space left" in said
        and again.status is JobStatus.OK
    )
    what = f"{result.status}; the next job, with room: {again.status}"
    return Came(what, result.transient, result.seconds, "this job", said, ok)


def _that_writes(world: World, store: Path) -> Job:
    """Return a job that needs room in a store: for its model on the far side, for an artifact."""
    if world.kind == "ssh":
        return world.measure(0.2, width=_WIDTH)
    return world.build(store, width=_WIDTH)


def clock_set(world: World) -> Came:
    """Set the wall clock of the far side one hour ahead in mid-measurement.

    Raises:
        CannotRunError: There is no C compiler to make such a clock.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise CannotRunError("there is no C compiler (cc) to make a clock that can be set")
    library, clock = world.folder / "clock.so", world.folder / "clock"
    words = [compiler, "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(library), "-ldl"]
    subprocess.run(words, input=_CLOCK.encode(), check=True)
    clock.write_bytes(struct.pack("l", 0))
    loaded = {"LD_PRELOAD": str(library), "FAULT_CLOCK": str(clock)}
    if world.kind == "local":  # its workers have the environment of this process
        for name, value in loaded.items():
            os.environ[name] = value
            world.stack.callback(os.environ.pop, name)
    else:
        lines = "\n".join(f"export {name}={value}" for name, value in loaded.items())
        world.python = str(Impostor(world.folder / "impostor", environment=lines).python)
    target = world.open()
    before = _latency(result_of(target, world.measure(0.5)))
    futures = []
    world.busy(lambda: futures.append(target.submit(world.measure(4.0))))
    with open(clock, "r+b") as file:
        file.write(struct.pack("l", _JUMP_S))
    result: JobResult = futures[0].result()
    seen = result.value[0].details.conditions if result.status is JobStatus.OK else None
    jump = None if seen is None else seen.clock_jump_s
    value = _latency(result)
    ok = (
        value is not None
        and before is not None
        and value < _SLOW * before
        and result.seconds < 120
        and jump is not None
        and abs(jump - _JUMP_S) < 5
    )
    what = f"{result.status}; clock_jump_s {jump}; {value} ms, {before} before"
    return Came(what, None, None, "nothing", result.reason or "", ok)


def _latency(result: JobResult) -> float | None:
    if result.status is not JobStatus.OK:
        return None
    return next(m.value for m in result.value if m.metric == "latency_ms_p50")


def load(world: World) -> Came:
    """Let another user's programs compute on every core in mid-measurement."""
    target = world.open()
    result_of(target, world.measure(0.2))
    word = "while True: pass"
    user = ["setpriv", f"--reuid={_OTHER_USER}", f"--regid={_OTHER_USER}", "--clear-groups"]
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    command = [*(user if os.getuid() == 0 else []), python, "-c", word]
    with ExitStack() as stack:
        watch = stack.enter_context(watching())
        loads = [_apart(command) for _ in range(psutil.cpu_count() or 1)]
        stack.callback(lambda: [_end(each) for each in loads])
        result = result_of(target, world.measure(3.0))
        died = [each for each in loads if not each.is_running()]
    if died:
        raise CannotRunError(f"{python} cannot be run as another user")
    seen = result.interference or watch.seen
    cores = physical_cores()
    ok = result.status is JobStatus.OK and seen.was_hit(cores, cores)
    what = f"{result.status}; {seen}"
    return Came(what, None, None, "this measurement, once", result.reason or "", ok)


def _apart(command: list[str]) -> psutil.Process:
    """Start a program that is no descendant of this process, whose own do not count as load."""
    line = '"$@" >/dev/null 2>&1 & echo $!'
    started = subprocess.run(
        ["sh", "-c", line, "sh", *command], stdout=subprocess.PIPE, text=True, check=True
    )
    return psutil.Process(int(started.stdout))


def _end(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def cases() -> list[Case]:
    """Return the faults of surroundings."""
    found = []
    for kind in ("local", "python", "ssh"):
        found += [
            Case(
                kind,
                "the disk of the store is full",
                "failed, transient, says so; with room the job runs",
                full_disk,
            ),
            Case(
                kind,
                "the clock is set ahead in mid-measurement",
                "ok, no time is affected; the jump is in the conditions",
                clock_set,
            ),
            Case(
                kind,
                "another user's load",
                "ok, and known as hit: a search measures again and marks it",
                load,
            ),
        ]
    return found
