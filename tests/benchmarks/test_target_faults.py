"""The script of faults: it causes a real one, and tells what came as expected from what did not."""

from __future__ import annotations

from dataclasses import replace

import target_faults
from faulting import processes, world
from faulting.world import Came, CannotRunError, Case, World

from paretune.core.job import JobStatus

KILLED = Case("python", "the agent is killed", "", processes.agent_killed)


def test_a_fault_is_caused_and_what_came_of_it_is_judged() -> None:
    came, _ = target_faults.caused(KILLED)
    assert came is not None
    assert came.ok, came
    assert came.transient
    assert came.told_s is not None
    assert came.told_s < 30
    assert "was lost" in came.said


def test_what_is_not_as_expected_is_not_ok() -> None:
    wrong = replace(processes._CHANNEL, status=JobStatus.FAILED)

    def killed(place: World) -> Came:
        return world.interrupted(place, place.open(), lambda worker: worker.kill(), wrong)

    came, _ = target_faults.caused(replace(KILLED, run=killed))
    assert came is not None
    assert not came.ok
    assert came.what.startswith("crashed")


def test_what_cannot_be_caused_is_no_success_and_a_broken_script_is_wrong() -> None:
    def cannot(place: World) -> Came:
        raise CannotRunError("there is no root")

    def breaks(place: World) -> Came:
        raise AssertionError("no agent runs")

    assert target_faults.caused(replace(KILLED, run=cannot)) == (None, "there is no root")
    came, _ = target_faults.caused(replace(KILLED, run=breaks))
    assert came is not None
    assert not came.ok
    assert "no agent runs" in came.said


def test_each_fault_has_a_name_of_its_own() -> None:
    names = [(c.target, c.fault) for module in target_faults.MODULES for c in module.cases()]
    assert len(names) == len(set(names)) >= 60
    assert {target for target, _ in names} == set(target_faults.KINDS)
