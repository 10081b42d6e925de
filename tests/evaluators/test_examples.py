"""What an evaluator that judges examples one by one is given for nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model, ModelKind
from paretune.core.params import Params, parameter
from paretune.data.context import Context
from paretune.evaluators.base import Budget, Evaluator, EvaluatorBase
from paretune.evaluators.examples import ExampleEvaluator, share, shuffled
from paretune.stats.intervals import wilson
from tests.pass_bench import FakeCatalog, tone_data


class LongParams(Params):
    data: str = parameter(..., "Data set.", search="none")
    rough_examples: int = parameter(8, "Examples of the rough rung.", search="none")


class Long(ExampleEvaluator[bool]):
    """Whether a prompt is long."""

    name = "long"
    Params = LongParams
    params: LongParams
    metrics = (MetricSpec("long", "fraction", "maximize", device=False),)
    judged: list[int]
    loads = 0

    def judge(
        self, model: Model, runtime: RuntimeSettings, dataset: Any, context: Context
    ) -> Callable[[Any], bool]:
        self.loads += 1
        self.judged = []

        def is_long(example: Any) -> bool:
            self.judged.append(example.row)
            return len(example.prompt) > 50

        return is_long


def measured(
    evaluator: Long, rung: Rung, folder: Path, previous: Any = None, budget: Budget = Budget()
) -> Measurement:
    catalog: Any = FakeCatalog({"tone.test": tone_data(40)})
    context = Context(out=folder, scratch=folder, data=catalog, previous=previous or {})
    model = Model(ModelKind.HF, folder, "")
    (found,) = evaluator.measure(model, RuntimeSettings("cpu", 1), rung, budget, context)
    return found


def test_the_full_rung_goes_on_where_the_rough_one_stopped(tmp_path: Path) -> None:
    evaluator = Long(LongParams(data="tone.test"))
    assert isinstance(evaluator, Evaluator)
    assert evaluator.data == ("tone.test",)
    rough = measured(evaluator, Rung.ROUGH, tmp_path)
    first = evaluator.judged
    assert rough.n == len(first) == 8
    full = measured(evaluator, Rung.FULL, tmp_path, {"long": rough})
    assert sorted(first + evaluator.judged) == list(range(40))
    assert full.details["rows"] == list(range(40))
    right = [len(example.prompt) > 50 for example in tone_data(40).examples]
    assert full.samples == tuple(map(float, right))
    assert (full.low, full.high) == wilson(sum(right), 40)
    assert full == measured(Long(evaluator.params), Rung.FULL, tmp_path), "as in one go"


def test_a_model_is_not_loaded_where_everything_is_judged(tmp_path: Path) -> None:
    evaluator = Long(LongParams(data="tone.test", rough_examples=64))
    rough = measured(evaluator, Rung.ROUGH, tmp_path)
    assert measured(evaluator, Rung.FULL, tmp_path, {"long": rough}) == rough
    assert evaluator.loads == 1


def test_a_budget_bounds_the_examples(tmp_path: Path) -> None:
    evaluator = Long(LongParams(data="tone.test"))
    assert measured(evaluator, Rung.FULL, tmp_path, budget=Budget(examples=5)).n == 5


def test_the_order_is_the_same_for_every_limit() -> None:
    whole = list(range(40))
    random.Random(0).shuffle(whole)
    assert shuffled(40) == shuffled(40, None) == shuffled(40, 50) == whole
    assert shuffled(40, 8, None) == shuffled(40, None, 8) == shuffled(40, 9, 8) == whole[:8]


def test_a_share_of_none() -> None:
    found = share("long", [False, False], {"rows": [0, 1]})
    assert found.value == 0
    assert found.samples == (0.0, 0.0)


def test_what_a_subclass_leaves_out_is_named() -> None:
    class Nothing(EvaluatorBase):
        """Lacks both."""

        name = "nothing"

    with pytest.raises(TypeError, match=r"measure.*metrics"):
        Nothing(None)  # type: ignore[abstract]
