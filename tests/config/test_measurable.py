"""What evaluators need is set against what runtimes offer."""

from __future__ import annotations

import re
from itertools import chain, combinations

import pytest
from paretune_fakes import ReadBack

from paretune.config.measurable import Need, misfits, need_of
from paretune.core.errors import UsageError
from paretune.core.model import ModelKind
from paretune.core.plugins import names
from paretune.runtimes.base import CAPABILITIES
from paretune.runtimes.serving import all_runtimes, runtime_of

PARAMS = {
    "classification": {"data": "t"},
    "exact_match": {"data": "t"},
    "perplexity": {"data": "t"},
}
SUBSETS = [
    frozenset(words)
    for words in chain.from_iterable(
        combinations(CAPABILITIES, n) for n in range(len(CAPABILITIES) + 1)
    )
]


@pytest.mark.parametrize("kind", sorted(names("kinds")))
@pytest.mark.parametrize("wanted", [None, *SUBSETS])
def test_a_model_is_measured_where_its_runtime_offers_what_is_needed(
    kind: str, wanted: frozenset[str] | None
) -> None:
    runtime = runtime_of(kind)
    found = misfits(kind, [Need("other", None), Need("mine", wanted)])
    if runtime is not None and (wanted or frozenset()) <= runtime.offers:
        assert found == []
        return
    (misfit,) = found
    assert "mine" in misfit.message
    assert kind in misfit.message
    assert misfit.hint.endswith(".")
    if runtime is None:
        assert misfit.position is None
        assert all(run in misfit.message for each in all_runtimes() for run in each.kinds)
    else:
        assert misfit.position == 1
        assert f"the runtime {runtime.name} runs" in misfit.message
        assert "other" not in misfit.message


@pytest.mark.parametrize(
    ("kind", "wanted", "told"),
    [
        (ModelKind.HF_ADAPTER, "scores", "Put `merge` or `genai_adapter` after it."),
        (ModelKind.ONNX, "scores", "Give what it was made from: .* Hugging Face folder"),
    ],
)
def test_the_hint_is_what_leads_to_a_model_that_can_be_measured(
    kind: ModelKind, wanted: str, told: str
) -> None:
    (misfit,) = misfits(kind, [Need("mine", frozenset({wanted}))])
    assert re.search(told, misfit.hint)


def test_the_hint_names_passes_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paretune.runtimes.torch.TorchRuntime.kinds", frozenset())
    (misfit,) = misfits(ModelKind.HF, [Need("mine", None)])
    assert misfit.hint == "Put `genai` after it."
    monkeypatch.setattr("paretune.passes.lora.merge.Merge.accepts", frozenset())
    monkeypatch.setattr("paretune.passes.genai.adapter.GenaiAdapter.accepts", frozenset())
    (misfit,) = misfits(ModelKind.HF_ADAPTER, [Need("mine", None)])
    assert "No pass makes one" in misfit.hint


def test_what_no_runtime_offers_together() -> None:
    needs = [Need("a", frozenset({"scores"})), Need("b", frozenset({"runs"}))]
    (misfit,) = misfits(ModelKind.HF, needs)
    assert misfit.position == 1
    assert "takes and gives named arrays (runs)" in misfit.message
    assert misfit.hint.startswith("Leave an evaluator out")


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("classification", {"scores"}),
        ("perplexity", {"scores"}),
        ("generation", {"scores"}),
        ("exact_match", {"generates"}),
        ("footprint", set()),
    ],
)
def test_what_ours_need(name: str, needed: set[str]) -> None:
    assert need_of(name, PARAMS.get(name, {})) == Need(name, frozenset(needed))


def test_an_evaluator_that_does_not_say_is_not_checked() -> None:
    assert need_of("readback", {}).capabilities is None


@pytest.mark.parametrize(
    ("needs", "read"),
    [
        ("runs", {"runs"}),
        (["scores", "runs"], {"scores", "runs"}),
        ((), set()),
        (frozenset(), set()),
    ],
)
def test_how_needs_may_be_written(
    monkeypatch: pytest.MonkeyPatch, needs: object, read: set[str]
) -> None:
    monkeypatch.setattr(ReadBack, "needs", needs, raising=False)
    assert need_of("readback", {}).capabilities == frozenset(read)


def test_needs_may_depend_on_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    by_data = property(lambda self: ("scores",) if self.params.data else ())
    monkeypatch.setattr(ReadBack, "needs", by_data, raising=False)
    assert need_of("readback", {}).capabilities == frozenset()
    assert need_of("readback", {"data": "t"}).capabilities == frozenset({"scores"})


@pytest.mark.parametrize("needs", ["score", ["scores", "logits"], 3, [None], ""])
def test_needs_that_no_session_has_are_refused(
    monkeypatch: pytest.MonkeyPatch, needs: object
) -> None:
    monkeypatch.setattr(ReadBack, "needs", needs, raising=False)
    with pytest.raises(UsageError, match=r"readback needs .* expected some of generates, scores"):
        need_of("readback", {})
