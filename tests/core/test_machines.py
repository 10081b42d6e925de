"""Who uses which machine: a measurement has it for itself."""

from __future__ import annotations

import json
import random
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from paretune.core.machine_lock import GivenUpError
from paretune.core.machines import Machines, Work


class Visitor:
    """Uses a machine in a thread of its own, from `begun` until it is let go.

    Args:
        machines: Grants the machines.
        machine: Which one.
        work: What for.
        order: Gets the name when it has begun.
        name: Its name.
    """

    def __init__(
        self, machines: Machines, machine: str, work: Work, order: list[str], name: str
    ) -> None:
        self.begun, self._leave, self.waited = threading.Event(), threading.Event(), -1.0

        def run() -> None:
            with machines.use(machine, name, work) as self.waited:
                order.append(name)
                self.begun.set()
                assert self._leave.wait(300)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(300)
        assert not self._thread.is_alive()


def waiting(machines: Machines, machine: str, count: int) -> None:
    """Wait until so many wait for a machine."""
    with machines._changed:
        assert machines._changed.wait_for(
            lambda: len(machines._waiting.get(machine, ())) == count, 300
        )


def test_a_measurement_is_alone_on_its_machine() -> None:
    machines, order = Machines(), list[str]()
    build = Visitor(machines, "a", Work.BUILD, order, "build")
    assert build.begun.wait(300)
    second = Visitor(machines, "a", Work.BUILD, order, "second")
    assert second.begun.wait(300), "builds run beside each other"
    measure = Visitor(machines, "a", Work.MEASURE, order, "measure")
    waiting(machines, "a", 1)
    elsewhere = Visitor(machines, "b", Work.MEASURE, order, "elsewhere")
    assert elsewhere.begun.wait(300), "another machine is free"
    build.leave()
    assert not measure.begun.is_set()
    second.leave()
    assert measure.begun.wait(300)
    assert measure.waited > 0
    assert elsewhere.waited == build.waited == 0.0
    measure.leave()
    elsewhere.leave()
    assert order == ["build", "second", "elsewhere", "measure"]


@pytest.mark.parametrize("work", [Work.BUILD, Work.CHOOSE])
def test_a_measurement_that_waits_goes_before_other_work(work: Work) -> None:
    machines, order = Machines(), list[str]()
    first = Visitor(machines, "a", Work.MEASURE, order, "first")
    assert first.begun.wait(300)
    other = Visitor(machines, "a", work, order, "other")
    waiting(machines, "a", 1)
    second = Visitor(machines, "a", Work.MEASURE, order, "second")
    waiting(machines, "a", 2)
    third = Visitor(machines, "a", Work.MEASURE, order, "third")
    waiting(machines, "a", 3)
    for visitor in (first, second, third, other):
        assert visitor.begun.wait(300)
        visitor.leave()
    assert order == ["first", "second", "third", "other"]


def test_files_that_move_are_not_kept_back_by_measurement_after_measurement() -> None:
    machines, order = Machines(), list[str]()
    first = Visitor(machines, "a", Work.MEASURE, order, "first")
    assert first.begun.wait(300)
    second = Visitor(machines, "a", Work.MEASURE, order, "second")
    waiting(machines, "a", 1)
    move = Visitor(machines, "a", Work.MOVE, order, "move")
    waiting(machines, "a", 2)
    third = Visitor(machines, "a", Work.MEASURE, order, "third")
    waiting(machines, "a", 3)
    build = Visitor(machines, "a", Work.BUILD, order, "build")
    waiting(machines, "a", 4)
    for visitor in (first, second, move, third, build):
        assert visitor.begun.wait(300)
        visitor.leave()
    assert order == ["first", "second", "move", "third", "build"]


def test_machines_that_are_not_known_are_taken_for_one() -> None:
    machines = Machines()
    with (
        machines.use("", "one", Work.MEASURE),
        pytest.raises(TimeoutError),
        machines.use("", "other", Work.MEASURE, seconds=0.0),
    ):
        pass


def test_who_gives_up_leaves_the_others_alone() -> None:
    machines, order, gone = Machines(), list[str](), threading.Event()
    first = Visitor(machines, "a", Work.MEASURE, order, "first")
    assert first.begun.wait(300)
    ended = threading.Event()

    def waits() -> None:
        with (
            pytest.raises(GivenUpError),
            machines.use("a", "gone", Work.MEASURE, given_up=gone.is_set),
        ):
            pass
        ended.set()

    threading.Thread(target=waits, daemon=True).start()
    waiting(machines, "a", 1)
    build = Visitor(machines, "a", Work.BUILD, order, "build")
    waiting(machines, "a", 2)
    gone.set()
    machines.look_again()
    assert ended.wait(300)
    first.leave()
    assert build.begun.wait(300)
    build.leave()


def test_a_use_that_fails_ends_like_any_other(tmp_path: Path) -> None:
    machines = Machines(tmp_path / "log")
    with pytest.raises(RuntimeError), machines.use("a", "x", Work.MEASURE):
        raise RuntimeError
    with machines.use("a", "y", Work.BUILD):
        pass
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["who"], line["kind"]) for line in lines] == [("x", "measure"), ("y", "build")]


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    machines = Machines(tmp_path / "nowhere" / "log")
    with machines.use("a", "x", Work.MEASURE):
        pass


def overlapping(lines: list[dict[str, object]]) -> list[tuple[object, object]]:
    """Return the pairs of uses of one machine that overlap, one of them a measurement."""
    return [
        (one, other)
        for i, one in enumerate(lines)
        for other in lines[i + 1 :]
        if one["machine"] == other["machine"]
        and "measure" in (one["kind"], other["kind"])
        and one["begin"] < other["end"]  # type: ignore[operator]
        and other["begin"] < one["end"]  # type: ignore[operator]
    ]


def test_nothing_overlaps_a_measurement_however_many_come(tmp_path: Path) -> None:
    machines, draw = Machines(tmp_path / "log"), random.Random(0)
    asked = [(draw.choice("ab"), draw.choice(list(Work))) for _ in range(200)]
    gate = threading.Event()

    def use(machine: str, work: Work) -> None:
        gate.wait(300)
        with ExitStack() as stack:
            stack.enter_context(machines.use(machine, "x", work))

    threads = [threading.Thread(target=use, args=each, daemon=True) for each in asked]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(300)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(lines) == 200
    assert not overlapping(lines)
