"""A device that was throttled: what it measured is measured again, and marked."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_search import FakeTarget, make_engine, measures, noop

from paretune.core.conditions import Conditions
from paretune.core.interference import Interference
from paretune.core.job import Job
from paretune.core.measurement import Measurement
from paretune.search.engine import Engine
from paretune.search.throttling import causes, repeated

HOT = Conditions(temperature_c=85.0, throttled=("board: throttled",), reports_throttling=True)
COLD = Conditions(temperature_c=50.0, reports_throttling=True)


class Warm(FakeTarget):
    """A device whose measurements are throttled as a list says; the last entry stays."""

    def __init__(self, hot: list[bool]) -> None:
        super().__init__()
        self.hot = hot

    def _value(self, job: Job, params: dict[str, Any]) -> Any:
        found = super()._value(job, params)
        if not measures(job, "generation"):
            return found
        hot = self.hot.pop(0) if len(self.hot) > 1 else self.hot[0]
        return [m.noting(conditions=HOT if hot else COLD) for m in found]


def engine_on(target: FakeTarget, folder: Path, candidates: int = 1) -> tuple[Engine, list[str]]:
    engine = make_engine(folder, [noop(x=x) for x in range(candidates)])
    notes: list[str] = []
    engine.target = target
    engine.watcher.note = notes.append  # type: ignore[method-assign]
    engine.throttling.cool_s = 0.0
    return engine, notes


def timed(engine: Engine) -> int:
    return sum(job.startswith("generation") for job in engine.target.jobs)  # type: ignore[attr-defined]


def conditions(engine: Engine, place: int = 0) -> Conditions:
    measured = engine.recorder.outcomes[place].measurements or {}
    found = measured["decode_ms_p50"].details.conditions
    assert found is not None
    return found


def test_what_was_throttled_once_is_measured_again_and_says_so(tmp_path: Path) -> None:
    """The rough measurement of two is throttled, and the full one is not."""
    engine, notes = engine_on(Warm([True, False]), tmp_path)
    engine.run()
    assert timed(engine) == 3
    assert conditions(engine) == COLD, "the last rung replaces the one before"
    assert notes == [
        "candidate 1: the device was throttled (board: throttled) while generation was measured; "
        "measured again 0 s later, like whatever else of it is"
    ]
    assert not engine.throttling.stays


def test_the_repeated_measurement_is_marked_as_one(tmp_path: Path) -> None:
    engine, _ = engine_on(Warm([False, True, False]), tmp_path)
    engine.run()
    assert timed(engine) == 3
    assert conditions(engine) == replace(COLD, repeated=True)


def test_a_device_that_stays_throttled_is_measured_once_and_marked(tmp_path: Path) -> None:
    engine, notes = engine_on(Warm([True]), tmp_path, candidates=3)
    engine.run()
    assert timed(engine) == 2 * 3 + 1, "only the first measurement was made twice"
    assert all(conditions(engine, place).throttled for place in range(3))
    assert len(notes) == 2
    assert "the second time, too (board: throttled)" in notes[1]
    assert engine.throttling.stays


def test_once_it_is_cool_it_is_measured_again_when_throttled(tmp_path: Path) -> None:
    # Rough of the first twice; full cool; rough of the second throttled: made again.
    engine, _ = engine_on(Warm([True, True, False, True, False]), tmp_path, candidates=2)
    engine.run()
    assert timed(engine) == 4 + 2
    assert not engine.throttling.stays


def test_the_device_may_cool_before(tmp_path: Path) -> None:
    engine, _ = engine_on(Warm([True, False]), tmp_path)
    waited: list[float] = []
    engine.throttling.cool_s = 10.0
    engine.pause = waited.append  # type: ignore[method-assign]
    engine.run()
    assert waited == [10.0]


@pytest.mark.parametrize(
    ("busy", "hot", "jobs", "others_stay", "stays"),
    [
        ([True, False], [False], 1 + 2, False, False),
        ([True, True, True], [True], 1 + 2, True, True),  # both causes, both times
        ([True, False], [False, True, False], 1 + 2, False, False),  # one after the other
    ],
)
def test_throttling_and_others_are_two_causes(
    tmp_path: Path, busy: list[bool], hot: list[bool], jobs: int, others_stay: bool, stays: bool
) -> None:
    """Each measurement is made at most twice, and each cause is remembered for itself."""
    left = list(busy)

    @contextmanager
    def beside_others() -> Any:
        others = 1.0 if (left.pop(0) if len(left) > 1 else left[0]) else 0.0
        yield SimpleNamespace(seen=Interference(others))

    engine, _ = engine_on(Warm(list(hot)), tmp_path)
    watching: Any = beside_others
    engine.watching = watching
    assert isinstance(beside_others(), AbstractContextManager)
    engine.run()
    assert timed(engine) == jobs
    assert engine.others_stay is others_stay
    assert engine.throttling.stays is stays


def test_causes_of_all_metrics_count_each_once() -> None:
    m = Measurement("decode_ms_p50", 1.0, "ms")
    other = replace(HOT, throttled=("GPU: temperature limit",))
    hot, hotter = m.noting(conditions=HOT), m.noting(conditions=other)
    assert causes([hot, hot, hotter, m]) == "board: throttled, GPU: temperature limit"
    assert causes([m, m.noting(conditions=COLD)]) == ""
    marked = repeated({"a": hot, "b": m})
    assert marked["b"] is m
    assert marked["a"].details.conditions == replace(HOT, repeated=True)
