import pytest

from paretune.core.errors import DataError
from paretune.core.measurement import Rung
from paretune.core.model import Model
from tests.model_fixtures import Measure
from tests.pass_bench import FakeDataset, FakeExample, tone_data

PARAMS = {"data": "tone.test", "rough_examples": 16}


def test_both_run_times_classify_alike(measure: Measure, tiny: Model, tiny_genai: Model) -> None:
    a = measure("classification", PARAMS, tiny)["accuracy"]
    b = measure("classification", PARAMS, tiny_genai)["accuracy"]
    assert a.samples == b.samples
    assert a.details["predictions"] == b.details["predictions"]
    assert b.details["tokenizer_mismatches"] == 0


def test_figures_fit_together(measure: Measure, tiny: Model) -> None:
    found = measure("classification", PARAMS, tiny)
    accuracy = found["accuracy"]
    confusion = accuracy.details["confusion"]
    assert accuracy.n == 40 == sum(map(sum, confusion))
    assert accuracy.value == sum(row[i] for i, row in enumerate(confusion)) / 40
    assert accuracy.value == sum(accuracy.samples) / 40
    assert accuracy.details["labels"] == ["fear", "joy"]
    assert accuracy.details["recall"]["fear"] == confusion[0][0] / sum(confusion[0])


def test_the_full_look_goes_on_from_the_rough_one(
    measure: Measure, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    import paretune.evaluators.text.classification as module

    rough = measure("classification", PARAMS, tiny, Rung.ROUGH)
    assert rough["accuracy"].n == 16
    asked = []
    plain = module.score_continuations

    def counted(*arguments: object) -> list[float]:
        asked.append(1)
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "score_continuations", counted)
    whole = measure("classification", PARAMS, tiny, Rung.FULL, rough)
    assert len(asked) == 24
    assert whole["accuracy"] == measure("classification", PARAMS, tiny)["accuracy"]


def test_macro_f1_is_the_mean_of_the_classes() -> None:
    from paretune.evaluators.classes import macro_f1

    # class 0: precision 1/2, recall 1/1 -> 2/3; class 1: precision 1/1, recall 1/2 -> 2/3
    value, low, high = macro_f1([0, 1, 1], [0, 0, 1], 2)
    assert value == pytest.approx(2 / 3)
    assert low <= value <= high


def test_an_answer_that_is_no_label_is_told(measure: Measure, tiny: Model) -> None:
    data = {"tone.test": FakeDataset((FakeExample("a", "anger", 0), *tone_data(4).examples))}
    with pytest.raises(DataError, match="'anger' is none of the labels fear, joy"):
        measure("classification", {**PARAMS, "labels": ["fear", "joy"]}, tiny, data=data)
