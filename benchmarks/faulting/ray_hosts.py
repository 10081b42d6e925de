"""Faults of the hosts of a Ray cluster, and of the folder that they share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil
from faulting.world import HOST, WITHIN_S, Came, Case, Expected, World, interrupted, tried_again

from paretune.core.job import JobStatus
from paretune.targets.launchers.ray import RayTarget

_ACTOR = Expected("crashed, transient, at once; the next job starts another one", words="is gone")
_BACK = Expected(
    "crashed, transient, as soon as Ray reports it; the next job runs on the host that is back",
    words="127.0.0.2",
)
_GONE = Expected(
    "crashed, transient; then TargetLostError: the same command continues",
    again="TargetLostError",
    words="127.0.0.2",
)
_SILENT = Expected(
    "crashed, transient, after `silent_s` (here 5 s) and the time of a call; the next job runs",
    words="was silent",
)
_ELSEWHERE = "ok: the build runs again on the other host, in the same job"
_FOLDER = "crashed, transient; then TargetLostError; when the folder is back, the job runs"


def actor_killed(world: World) -> Came:
    """Kill Ray's worker on the host."""
    return interrupted(world, world.open(), lambda _: world.actors()[0].kill(), _ACTOR)


def host_restarted(world: World) -> Came:
    """Kill the host's node; start it again before the next job."""
    return interrupted(
        world,
        world.open(),
        lambda _: world.cluster.nodes[HOST].kill(),
        _BACK,
        before_again=world.start_host,
    )


def host_gone(world: World) -> Came:
    """Kill the host's node for good."""
    return interrupted(world, world.open(), lambda _: world.cluster.nodes[HOST].kill(), _GONE)


def host_silent(world: World) -> Came:
    """Stop Ray's worker on the host: it answers no more, and Ray reports nothing."""
    held: list[psutil.Process] = []

    def strike(worker: psutil.Process) -> None:
        held.append(world.actors()[0])
        held[0].suspend()

    def go_on() -> None:
        if held[0].is_running():
            held[0].resume()

    return interrupted(world, world.open(), strike, _SILENT, before_again=go_on)


def builder_gone(world: World) -> Came:
    """Kill the node on which a build runs; there is another host."""
    near = world.folder / "near"
    target = world.open(resources={})
    assert isinstance(target, RayTarget)
    first = target.submit(world.build(near)).result(WITHIN_S)
    assert first.status is JobStatus.OK, first.reason
    futures: list[Any] = []
    job = world.build(near, width=400_000)
    world.busy(lambda: futures.append(target.submit(job)))
    begin = time.monotonic()
    world.cluster.nodes[HOST].kill()
    result = futures[0].result(WITHIN_S)
    passed = time.monotonic() - begin
    lost = [builder.name for builder in target._pool.builders if builder.lost]
    ok = result.status is JobStatus.OK and lost == [f"{target.name}/{HOST}"]
    what = f"{result.status} after {passed:.1f} s; lost: {', '.join(lost) or 'no host'}"
    return Came(what, None, None, "this build", result.reason or "", ok)


def folder_gone(world: World) -> Came:
    """Move the shared folder away between two jobs; then put it back."""
    shared, aside = world.folder / "shared", world.folder / "aside"
    shared.mkdir()
    target = world.open(shared=str(shared))
    first = target.submit(world.measure(0.2)).result(WITHIN_S)
    assert first.status is JobStatus.OK, first.reason
    shared.rename(aside)
    begin = time.monotonic()
    result = target.submit(world.measure(0.2, width=128)).result(WITHIN_S)
    told_s = time.monotonic() - begin
    lost, said = tried_again(world, target)
    aside.rename(shared)
    again, _ = tried_again(world, target)
    ok = result.transient and (lost, again) == ("TargetLostError", "ok") and str(shared) in said
    what = f"{result.status}; then {lost}; with the folder: {again}"
    return Came(what, result.transient, told_s, "this job", said, ok)


def cases() -> list[Case]:
    """Return the faults of hosts."""
    found: list[tuple[str, str, Callable[[World], Came]]] = [
        ("Ray's worker on the host is killed", _ACTOR.text, actor_killed),
        ("the host's node dies, and is back", _BACK.text, host_restarted),
        ("the host's node is gone for good", _GONE.text, host_gone),
        ("the host is silent (SIGSTOP)", _SILENT.text, host_silent),
        ("a host dies in mid-build, of two", _ELSEWHERE, builder_gone),
        ("the shared folder goes away", _FOLDER, folder_gone),
    ]
    return [Case("ray", fault, expected, run) for fault, expected, run in found]
