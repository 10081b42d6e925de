"""A data set goes to what reads its form, and each mistake is told at its key."""

from __future__ import annotations

from typing import Any

from paretune.config.data_forms import check_forms_of_passes, with_forms
from paretune.config.plan import EvaluatorChoice
from paretune.core.candidate import Step
from paretune.data.spec import DataSpec

DATA = {
    "rows": DataSpec(file="d.npz", inputs={"x": "x"}, split={"test": 0.5}),  # type: ignore[arg-type]
    "tone": DataSpec(file="d.jsonl", text="{t}"),
}


class Wrong(list[tuple[Any, ...]]):
    def __call__(self, *told: Any) -> None:
        self.append(told)


def test_an_evaluator_of_texts_refuses_arrays() -> None:
    wrong = Wrong()
    choices = [
        EvaluatorChoice("perplexity", {"data": "tone"}),
        EvaluatorChoice("perplexity", {"data": "rows.test"}),
    ]
    assert with_forms(choices, DATA, wrong) == tuple(choices)
    ((key, message, hint),) = wrong
    assert key == ("evaluate", 1, "perplexity")
    assert message == "perplexity reads data sets of texts, and 'rows.test' is one of arrays"
    assert "in place of `inputs:`" in hint


def test_a_pass_of_texts_refuses_arrays() -> None:
    wrong = Wrong()
    recipe = (Step("lora", {"train": "rows.train"}),)
    check_forms_of_passes((), [recipe, recipe, (Step("lora", {"train": "tone"}),)], DATA, wrong)
    ((key, message, _),) = wrong
    assert key == ("passes",)
    assert message == "lora reads data sets of texts, and 'rows.train' is one of arrays"
