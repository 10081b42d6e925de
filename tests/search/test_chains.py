"""The strategy `chains`: what it starts next, by what was seen and what is still to pay."""

from dataclasses import dataclass, field, replace

from paretune.core.candidate import Candidate
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.core.trial_forecast import TrialForecast
from paretune.search.constraints import Limit, Objective
from paretune.search.priors import Prior
from paretune.search.space import PassSlot, Space
from paretune.search.stop_rule import ExpectsGain
from paretune.search.strategies.base import Ended, PrefixCost, Start
from paretune.search.strategies.chains import ChainSearch
from paretune.testing.strategies import SimulatedSearch

SPACE = Space(
    (
        PassSlot("lora", {"r": (2, 4, 8, 16, 32), "rate": (1e-4, 3e-4, 1e-3)}),
        PassSlot("genai", {"precision": ("fp32", "int8", "int4")}),
    ),
)
OBJECTIVES = (Objective("accuracy", "maximize"), Objective("size_mb", "minimize"))
TRAINING_S, BUILD_S, MEASURING_S = 600.0, 10.0, 5.0


@dataclass
class Priced(SimulatedSearch):
    """A search in which trainings take ten minutes, and a store keeps what was built.

    Attributes:
        store: Prefixes that were built.
        spent: Seconds so far.
        fails: A precision whose builds fail.
        forecasts: What was expected of each candidate that was started.
    """

    store: set[tuple[object, ...]] = field(default_factory=set)
    spent: float = 0.0
    fails: str = ""
    forecasts: list[TrialForecast | None] = field(default_factory=list)

    def cost(self, candidate: Candidate) -> tuple[PrefixCost, ...]:
        recipe = candidate.recipe
        return tuple(
            PrefixCost(step.name, recipe[: n + 1] in self.store, seconds)
            for n, (step, seconds) in enumerate(zip(recipe, (TRAINING_S, BUILD_S), strict=True))
        )

    def step(self) -> bool:
        request = self.strategy.ask(self)
        if request is None:
            return False
        assert isinstance(request, Start)
        candidate = request.candidate
        self.forecasts.append(request.forecast)
        steps = []
        for cost, place in zip(self.cost(candidate), (1, 2), strict=True):
            steps.append(StepTime(cost.step, cost.estimated_s or 0.0, cost.built))
            self.store.add(candidate.recipe[:place])
        steps.append(StepTime("text:full", MEASURING_S, cached=False))
        self.spent += sum(step.s for step in steps if not step.cached)
        self.started.append(candidate)
        result = self._result(candidate, tuple(steps))
        self.done.append((candidate, result))
        self.strategy.tell(Ended(result, ()))
        return True

    def _result(self, candidate: Candidate, steps: tuple[StepTime, ...]) -> TrialResult:
        precision = candidate.recipe[1].params["precision"]
        if precision == self.fails:
            return TrialResult(
                len(self.started), candidate, OutcomeKind.FAILED, reason="no kernel", seconds=steps
            )
        accuracy, size = truth(candidate)
        return TrialResult(
            len(self.started),
            candidate,
            OutcomeKind.OK,
            measurements={
                "accuracy": Measurement("accuracy", accuracy, "fraction", accuracy, accuracy),
                "size_mb": Measurement("size_mb", size, "MB", protocol="exact-1"),
            },
            seconds=steps,
        )


def truth(candidate: Candidate) -> tuple[float, float]:
    """Return accuracy and size: the training and the build add up, and r = 8 is best."""
    lora, genai = (step.params for step in candidate.recipe)
    trained = (
        0.9 - 0.02 * abs((2, 4, 8, 16, 32).index(lora["r"]) - 2) - 10 * abs(lora["rate"] - 3e-4)
    )
    lost, size = {"fp32": (0.0, 500.0), "int8": (0.005, 130.0), "int4": (0.05, 80.0)}[
        genai["precision"]
    ]
    return trained - lost, size


def search(asks: int, **given: object) -> Priced:
    strategy = ChainSearch(SPACE, OBJECTIVES, seed=0)
    return Priced(strategy, SPACE, **given).run(asks)  # type: ignore[arg-type, return-value]


def test_what_a_training_allows_cheaply_comes_before_the_next_training() -> None:
    started = search(3).started
    assert len({candidate.recipe[0] for candidate in started}) == 1


def test_it_finds_the_front_with_half_of_the_trainings() -> None:
    found = search(24)
    tried = set(found.started)
    front = [c for c in SPACE if c.recipe[0].params == {"r": 8, "rate": 3e-4}]
    assert set(front) <= tried, "a candidate of the front was not tried"
    assert len({candidate.recipe[0] for candidate in tried}) <= 11


def test_a_limit_directs_it() -> None:
    limit = Limit("size_mb", "<=", 100.0, "size_mb <= 100")
    found = search(20, limits=(limit,))
    best = [c for c in found.started if c.recipe[1].params["precision"] == "int4"]
    assert max(best, key=lambda c: truth(c)[0]).recipe[0].params == {"r": 8, "rate": 3e-4}
    assert len(best) > len(search(20).started) / 3


def test_it_learns_what_fails() -> None:
    found = search(20, fails="int4")
    failing = sum(c.recipe[1].params["precision"] == "int4" for c in found.started[8:])
    assert failing <= 3


def test_what_it_expects_to_gain_falls_as_the_front_is_found() -> None:
    found = search(3)
    strategy = found.strategy
    assert isinstance(strategy, ExpectsGain)
    assert strategy.expected_gain(found) is None, "it expects something of three results"
    found.run(7)
    early = strategy.expected_gain(found)
    assert early == strategy.expected_gain(found)
    found.run(40)
    late = strategy.expected_gain(found)
    assert early is not None
    assert late is not None
    assert 0 <= late < early / 3
    assert found.run(45).strategy.ask(found) is None
    assert strategy.expected_gain(found) is None


def test_it_says_what_it_expects_once_its_models_decide() -> None:
    found = search(24, limits=(Limit("size_mb", "<=", 200.0, "size_mb <= 200"),))
    assert found.forecasts[:4] == [None] * 4
    told = [forecast for forecast in found.forecasts[4:] if forecast is not None]
    assert len(told) == 20
    inside = 0
    for candidate, forecast in zip(found.started[4:], told, strict=True):
        size = forecast.metrics["size_mb"]
        assert size.low is not None
        assert size.high is not None
        inside += size.low <= truth(candidate)[1] <= size.high
        assert set(forecast.metrics) == {"accuracy", "size_mb"}
        assert 0 <= forecast.metrics["accuracy"].value <= 1
        assert forecast.seconds is not None
        assert forecast.gain is not None
    assert inside >= 15, "the sizes are not what was expected"
    small = [c.recipe[1].params["precision"] != "fp32" for c in found.started[-10:]]
    chances = [forecast.feasible or 0.0 for forecast in told[-10:]]
    assert [chance > 0.5 for chance in chances] == small


def earlier(shift: float = 0.0, *, alike: bool = False, few: int = 45) -> Prior:
    """Return a study of this space on another device, where everything has another accuracy."""
    results = []
    for number, candidate in enumerate(list(SPACE)[:few], start=1):
        accuracy, size = truth(candidate)
        accuracy -= shift
        measured = {
            "accuracy": Measurement("accuracy", accuracy, "fraction", accuracy, accuracy),
            "size_mb": Measurement("size_mb", size, "MB", protocol="exact-1"),
        }
        steps = (StepTime("lora", 2 * TRAINING_S, False), StepTime("genai", 2 * BUILD_S, False))
        results.append(
            TrialResult(number, candidate, OutcomeKind.OK, measurements=measured, seconds=steps)
        )
    return Prior("elsewhere", alike, True, alike, alike, few, results, few)


def test_an_earlier_study_lets_it_begin_where_the_front_is() -> None:
    best = {c for c in SPACE if c.recipe[0].params == {"r": 8, "rate": 3e-4}}
    for shift in (0.0, 0.2):
        warm = search(6, priors=(earlier(shift),)).started
        assert best <= set(warm), f"with a shift of {shift}"
    assert not best <= set(search(6).started)


def test_an_earlier_study_that_misleads_costs_little() -> None:
    wrong = earlier()
    accuracies = [r.value("accuracy") for r in wrong.results]
    turned = [
        replace(
            r,
            measurements={
                **(r.measurements or {}),
                "accuracy": Measurement("accuracy", 1.5 - accuracy, "fraction"),
            },
        )
        for r, accuracy in zip(wrong.results, accuracies, strict=True)
        if accuracy is not None
    ]
    best = {c for c in SPACE if c.recipe[0].params == {"r": 8, "rate": 3e-4}}
    found = search(20, priors=(replace(wrong, results=turned),)).started
    assert len(best & set(found)) >= 2, "it has not turned away from the earlier study"


def test_no_value_of_an_earlier_study_is_what_a_trial_is_compared_with() -> None:
    """Nothing there is a result: the same search goes on to the end of the space."""
    found = search(60, priors=(earlier(),))
    assert len(found.started) == SPACE.size
    assert len(found.done) == SPACE.size


def test_a_search_with_priors_that_is_resumed_goes_on_alike() -> None:
    prior = (earlier(0.1),)
    whole = search(12, priors=prior)
    again = Priced(ChainSearch(SPACE, OBJECTIVES, seed=0), SPACE, priors=prior)
    again.store = set(search(8, priors=prior).store)
    for candidate, result in whole.done[:8]:
        again.started.append(candidate)
        again.strategy.tell(Ended(result, ()))
    assert again.run(12).started == whole.started
