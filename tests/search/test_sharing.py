"""What one trial measured, another one of the same structure need not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_search import SLOTS, FakeTarget, Memory, make_engine, noop

from paretune.core.candidate import Candidate
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.engine import Engine
from paretune.search.evidence import processes_behind, relied_on
from paretune.search.jobs import EvaluatorSlot
from paretune.search.run import Shortcuts
from paretune.search.sharing import Sharing, taken_over
from paretune.search.strategies.base import Promote, Start

SPEED = "decode_ms_p50"


def run(folder: Path, candidates: list[Candidate], *limits: str, **settings: Any) -> Engine:
    """Search with finals, so that what is taken over is kept until the end."""
    settings.setdefault("finals_s", 20.0)
    engine = make_engine(folder, candidates, limits, **settings)
    engine.run()
    return engine


def jobs(engine: Engine) -> list[str]:
    assert isinstance(engine.target, FakeTarget)
    return engine.target.jobs


def taken(outcome: TrialResult) -> int | None:
    return (outcome.measurements or {})[SPEED].details.taken_from


def ends(m: Measurement) -> tuple[float, float]:
    assert m.low is not None
    assert m.high is not None
    return m.low, m.high


def worse(**params: Any) -> Candidate:
    """Return a candidate of the baseline's structure that is less accurate."""
    return noop(structure="s", quality=0.8, **params)


BASE = noop(structure="s", quality=0.9, x=0)


def test_a_speed_is_taken_over_with_its_source_and_a_wider_interval(tmp_path: Path) -> None:
    engine = run(tmp_path, [BASE, worse(x=1), worse(x=2)])
    first, second, third = engine.recorder.outcomes
    assert (taken(first), taken(second), taken(third)) == (None, 1, 1)  # no chains
    own, other = (first.measurements or {})[SPEED], (second.measurements or {})[SPEED]
    assert own.value == other.value
    (low, high), (lower, higher) = ends(own), ends(other)
    assert lower < low
    assert higher > high
    assert (other.samples, other.details.processes) == ((), None)
    assert jobs(engine).count("generation:full") == 1
    assert jobs(engine).count("classification:full") == 3
    assert [s.step for s in second.seconds if s.cached] == ["generation:rough", "generation:full"]
    assert engine.summary().feasible == {1, 2, 3}
    assert engine.summary().front == (1,)


@pytest.mark.parametrize(
    ("other", "settings"),
    [
        (noop(structure="other", quality=0.8, x=1), {}),
        (noop(quality=0.8, x=1), {}),
        (noop(structure="s", quality=0.8, x=1, threads=2), {}),
        (worse(x=1), {"shortcuts": Shortcuts(structures=False)}),
    ],
    ids=["structure", "unknown", "settings", "switch"],
)
def test_what_differs_or_is_unknown_is_measured(
    tmp_path: Path, other: Candidate, settings: dict[str, Any]
) -> None:
    engine = run(tmp_path, [BASE, other], **settings)
    assert taken(engine.recorder.outcomes[1]) is None


def test_the_baseline_takes_nothing_over(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [BASE, worse(x=1)], finals_s=20.0)
    engine.baseline = worse(x=1).digest
    engine.run()
    assert [taken(o) for o in engine.recorder.outcomes] == [None, None]


def test_a_limit_is_not_broken_by_what_was_taken_over(tmp_path: Path) -> None:
    candidates = [BASE, worse(x=1)]
    engine = run(tmp_path, candidates, f"{SPEED} <= 1")
    second = engine.recorder.outcomes[1]
    assert second.kind is OutcomeKind.INFEASIBLE
    assert taken(second) is None
    # As many processes of its own as any stop by a speed needs.
    assert sum(s.step == "generation:rough" and not s.cached for s in second.seconds) == 3


def test_a_trial_that_was_stopped_early_is_a_source_for_its_rung(tmp_path: Path) -> None:
    slow = noop(structure="slow", quality=0.5, ms=20.0, x=1)
    again = noop(structure="slow", quality=0.95, ms=20.0, x=2)
    engine = run(tmp_path, [BASE, slow, again])
    _, second, third = engine.recorder.outcomes
    assert second.kind is OutcomeKind.PRUNED
    cached = [s.step for s in third.seconds if s.cached]
    assert cached == ["generation:rough"]  # nobody had measured the full rung
    assert taken(third) is None


def test_a_paused_trial_is_a_source(tmp_path: Path) -> None:
    requests = [
        Start(BASE),
        Start(noop(structure="t", quality=0.95, ms=5.0, x=1), Rung.ROUGH),
        Start(noop(structure="t", quality=0.96, ms=5.0, x=2), Rung.ROUGH),
        Promote(3),
    ]

    class Pausing:
        def ask(self, view: Any) -> Any:
            return requests.pop(0) if requests else None

        def tell(self, event: Any) -> None: ...

    engine = make_engine(tmp_path, [BASE], finals_s=20.0, trials=3)
    engine.strategy = Pausing()
    engine.run()
    _, second, third = engine.recorder.outcomes
    assert second.not_promoted
    assert taken(second) is None
    assert "generation:rough" in [s.step for s in third.seconds if s.cached]


def speed(value: float = 10.0, **details: Any) -> Measurement:
    return Measurement(SPEED, value, "ms", value - 0.1, value + 0.1, 3, "device-2", details=details)


def test_no_stop_rests_on_it_but_a_suspicion() -> None:
    spec = MetricSpec(SPEED, "ms", "minimize", True)
    m = taken_over(speed(early=True), 1, 0.05)
    assert processes_behind(m) == []
    assert not m.details.early
    sure, suspected = relied_on(m, spec), relied_on(m, spec, enough=1)
    assert (sure.low, sure.high) == (None, None)
    assert ends(suspected)[0] < 10.0


MIXED = EvaluatorSlot(
    0,
    "footprint",
    {},
    (MetricSpec("size_mb", "MB", "minimize", False), MetricSpec("load_s", "s", "minimize", True)),
    (Rung.SMOKE, Rung.FULL),
)
SIZE = Measurement("size_mb", 2.0, "MB", 2.0, 2.0, 1, "exact-1")
LOAD = Measurement("load_s", 1.0, "s", 0.9, 1.1, 3, "fresh-process-2", (0.9, 1.0, 1.1))


def outcome(engine: Engine, slot: EvaluatorSlot, **measured: Measurement) -> TrialResult:
    from paretune.core.result import StepTime

    found = replace(engine.recorder.outcomes[0], id=7, measurements=measured)
    return replace(found, seconds=(StepTime(f"{slot.name}:full", 1.0, False),))


def test_what_no_device_matters_to_must_be_known_exactly_before(tmp_path: Path) -> None:
    engine = run(tmp_path, [BASE])
    engine.recorder.outcomes.append(outcome(engine, MIXED, size_mb=SIZE, load_s=LOAD))
    sharing = Sharing(engine, 2, worse(x=1))

    def known(**own: Measurement) -> dict[str, Measurement] | None:
        return sharing.known(MIXED, Rung.FULL, "sha256:1", "s", own)

    assert known() is None
    assert known(size_mb=replace(SIZE, protocol="estimate")) is None
    found = known(size_mb=SIZE)
    assert found is not None
    assert set(found) == {"load_s"}
    assert known(size_mb=SIZE, load_s=found["load_s"]) == found
    assert known(size_mb=SIZE, load_s=LOAD) is None  # it has measured that itself


def test_what_depends_on_weights_is_never_taken_over(tmp_path: Path) -> None:
    engine = run(tmp_path, [BASE])
    spec = MetricSpec("answer_s", "s", "minimize", True, weights=True)
    slot = replace(MIXED, metrics=(spec,), rungs=(Rung.FULL,))
    measured = replace(LOAD, metric="answer_s")
    engine.recorder.outcomes.append(outcome(engine, slot, answer_s=measured))
    assert Sharing(engine, 2, worse(x=1)).known(slot, Rung.FULL, None, "s", {}) is None


def test_pairs_that_differ_widen_what_is_taken_next(tmp_path: Path) -> None:
    engine = run(tmp_path, [BASE])
    sharing = Sharing(engine, 99, worse(x=9))

    def width() -> float:
        found = sharing.known(SLOTS[1], Rung.FULL, None, "s", {})
        assert found is not None
        low, high = ends(found[SPEED])
        return high - low

    before = width()
    base = engine.recorder.outcomes[0]
    assert isinstance(engine.recorder, Memory)
    for id, ms in enumerate((9.0, 11.0, 12.5), start=2):
        own = {**(base.measurements or {}), SPEED: speed(ms)}
        engine.recorder.outcomes.append(replace(base, id=id, measurements=own))
    assert width() > before


def test_a_value_that_was_taken_over_survives_its_files() -> None:
    m = taken_over(speed(), 3, 0.05)
    assert Measurement.from_json(m.to_json()) == m
    assert m.summary()["taken_from"] == 3
    again = Measurement.from_json({"metric": SPEED, **m.summary()})
    assert again.details.taken_from == 3
    assert "taken_from" not in speed().summary()


def test_what_is_taken_over_is_expected_to_take_no_time(tmp_path: Path) -> None:
    from paretune.core.candidate import RuntimeSettings, Step
    from paretune.core.result import StepTime
    from paretune.search.forecast import Forecast
    from paretune.search.prechecks import Foresight

    def trained(lr: float, last: str = "int4", *, cached: bool = False) -> TrialResult:
        recipe = (Step("lora", {"lr": lr}), Step("genai", {"precision": last}))
        seconds = [StepTime("lora", 9.0, False), StepTime("genai", 5.0, False)]
        seconds += [StepTime("generation:full", 0.0 if cached else 4.0, cached)]
        seconds += [StepTime("classification:full", 2.0, False)]
        candidate = Candidate(recipe, RuntimeSettings("cpu", 1))
        return TrialResult(1, candidate, OutcomeKind.OK, seconds=tuple(seconds))

    forecast = Forecast(lambda candidate: Foresight(None), SLOTS)
    forecast.learn(trained(0.1))
    assert forecast.measuring_s(trained(0.2).candidate) == 6.0
    for _ in range(20):
        forecast.learn(trained(0.2, cached=True))
    assert forecast.measuring_s(trained(0.3).candidate) == 2.0
    assert forecast.measuring_s(trained(0.3, "int8").candidate) == 6.0
