"""The models of `chains` never compute while something is timed, and within what they may cost."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_search import OBJECTIVES, make_engine, noop

from paretune.core.candidate import Candidate
from paretune.core.result import StepTime, TrialResult
from paretune.search.engine import Engine
from paretune.search.space import PassSlot, Space
from paretune.search.strategies.chains import ChainSearch
from paretune.search.surrogate.allowance import FEW, SHARE
from paretune.search.surrogate.process import ForecasterProcess
from paretune.testing.strategies import LARGE, SMALL, SimulatedSearch, result_of
from paretune.testing.strategies import OBJECTIVES as SIMULATED

SPACE = Space(
    (PassSlot("noop", {"x": (1, 2, 3, 4, 5), "ms": (5.0, 6.0, 9.0), "quality": (0.7, 0.9)}),),
    ("cpu",),
    (1,),
)


class Watched:
    """A watcher that notes what is timed, and what the models' process computes meanwhile."""

    def __init__(self, engine: Engine) -> None:
        self._inner = engine.watcher
        self.timed = 0
        self.on = False
        self.computed_s = 0.0
        self._before: dict[int, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def timing(self, on: bool) -> None:
        if on:
            self._before = computed()
        elif self.on:
            after = computed()
            self.computed_s += sum(after[id] - before for id, before in self._before.items())
            self.timed += bool(self._before)
        self.on = on


def computed() -> dict[int, float]:
    """Return the processor seconds of this process's forecasters."""
    children = psutil.Process().children()
    found = [child for child in children if "surrogate.process" in " ".join(child.cmdline())]
    return {child.pid: sum(child.cpu_times()[:2]) for child in found}


@pytest.mark.parametrize("apart", [False, True])
def test_nothing_is_forecast_while_something_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    base = noop(x=0)
    engine = make_engine(tmp_path, [base], trials=12, builds=2 if apart else 1)
    engine.space = SPACE
    engine.strategy = ChainSearch(SPACE, OBJECTIVES, seed=0, first=[base])
    engine.target.builds_apart = apart  # type: ignore[attr-defined]
    # Fake trials take no time: what choosing them may cost is not the matter here.
    monkeypatch.setattr("paretune.search.surrogate.allowance.SHARE", 1e9)
    watched = Watched(engine)
    engine.watcher = watched
    asked = []
    answer = ForecasterProcess.forecast

    def forecast(self: ForecasterProcess, codes: Any) -> Any:
        asked.append(watched.on)
        return answer(self, codes)

    monkeypatch.setattr(ForecasterProcess, "forecast", forecast)
    engine.run()
    assert len(engine.recorder.outcomes) == 12
    assert len(asked) >= 6
    assert not any(asked), "it was asked while something was timed"
    assert watched.timed >= 6
    # A process that waits uses no processor; it may still be leaving its last answer.
    assert watched.computed_s <= 0.1


def ticking(seconds: float) -> Any:
    """Return a clock that goes on whenever it is read."""
    count = itertools.count()
    return lambda: seconds * next(count)


class Timed(SimulatedSearch):
    """A simulated search in which choosing takes time, and so does a trial."""

    def __init__(self, space: Space, clock: Any, trial_s: float) -> None:
        def result(candidate: Candidate, id: int) -> TrialResult:
            steps = (StepTime("genai", trial_s, False),)
            return replace(result_of(candidate, id), seconds=steps)

        super().__init__(ChainSearch(space, SIMULATED, seed=0), space, result=result)
        self._clock = clock

    @property
    def clock(self) -> Any:
        return self._clock


def started(space: Space, tick_s: float, count: int, trial_s: float = 1.0) -> list[Candidate]:
    return Timed(space, ticking(tick_s), trial_s).run(count).started


def test_within_its_allowance_the_clock_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    told = noted(monkeypatch)
    assert started(SMALL, 0.0, 16) == started(SMALL, 0.01, 16, trial_s=100.0)
    assert all(told)


def test_beyond_it_nothing_is_fitted_and_everything_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = noted(monkeypatch)
    assert set(started(SMALL, 100.0, 1000)) == set(SMALL)
    assert told
    assert not any(told)


def test_a_large_space_is_searched_beyond_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    compare = ChainSearch._scored

    def scored(self: ChainSearch, pool: Any, *others: Any) -> Any:
        sizes.append(len(pool))
        return compare(self, pool, *others)

    monkeypatch.setattr(ChainSearch, "_scored", scored)
    assert len(set(started(LARGE, 0.0, 10))) == 10
    assert max(sizes) > FEW
    sizes.clear()
    assert len(set(started(LARGE, 100.0, 10))) == 10
    assert sizes
    assert max(sizes) <= FEW


def test_of_short_trials_choosing_takes_a_share_of_processor_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted here, in this process and the models' one; the trials' seconds are told only."""
    told, trials, trial_s = noted(monkeypatch), 80, 1.0
    models: list[psutil.Process] = []
    start = ForecasterProcess._start

    def started(self: ForecasterProcess) -> None:
        start(self)
        assert self._process is not None
        models.append(psutil.Process(self._process.pid))

    def clock() -> float:
        return time.process_time() + sum(sum(each.cpu_times()[:2]) for each in models)

    monkeypatch.setattr(ForecasterProcess, "_start", started)
    search = Timed(LARGE, clock, trial_s)
    ask, taken, asked = search.strategy.ask, list[float](), list[int]()

    def counted(view: Any) -> Any:
        before, questions = clock(), len(told)
        found = ask(view)
        taken.append(clock() - before)
        asked.append(len(told) - questions)
        return found

    monkeypatch.setattr(search.strategy, "ask", counted)
    assert len(set(search.run(trials).started)) == trials
    first = next(place for place, count in enumerate(asked) if count)  # it starts their process
    later = taken[first + 1 :]
    assert sum(later) <= SHARE * trial_s * trials + max(later)
    assert 0 in asked[first:], "it was taken from the last comparison"


def noted(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that gets, for each question, whether the models may be fitted."""
    told: list[bool] = []
    ask = ForecasterProcess._asked

    def asked(self: ForecasterProcess, question: Any) -> str:
        told.append(question["fits"])
        return ask(self, question)

    monkeypatch.setattr(ForecasterProcess, "_asked", asked)
    return told
