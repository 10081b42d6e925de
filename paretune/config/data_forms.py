"""Data sets of texts and of arrays: each goes to the passes and evaluators that read its form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from paretune.config.plan import EvaluatorChoice
from paretune.config.yaml_source import Wrong
from paretune.core.candidate import Step
from paretune.data.references import references_of
from paretune.data.spec import ARRAYS, FORMS, TEXTS, DataSpec
from paretune.plugin_identity import data_read_by
from paretune.registry import find_evaluator, find_pass
from paretune.search.space import Chain, Stage, slots_of


def with_forms(
    evaluators: Sequence[EvaluatorChoice], data: Mapping[str, DataSpec], wrong: Wrong
) -> tuple[EvaluatorChoice, ...]:
    """Refuse evaluators that do not read what their data sets hold.

    Args:
        evaluators: As configured.
        data: The configuration's data sets.
        wrong: Called for each mistake with its key, message and hint.

    Returns:
        The evaluators; one that reads both forms gets its parameter `form`.
    """
    forms = _forms(data)
    found = []
    for i, choice in enumerate(evaluators):
        kind = find_evaluator(choice.name)
        reads = _read_by(kind)
        for ref in kind(kind.Params(**choice.params)).data:
            form = forms.get(ref)
            if form is None:
                continue  # that there is no such data set is said later
            if form not in reads:
                wrong(
                    ("evaluate", i, choice.name),
                    f"{choice.name} reads data sets of {' or '.join(sorted(reads))}, and {ref!r} "
                    f"is one of {form}",
                    _HINTS[form],
                )
            elif form == ARRAYS and "form" in kind.Params.model_fields:
                choice = replace(choice, params={**choice.params, "form": form})
        found.append(choice)
    return tuple(found)


def check_forms_of_passes(
    stages: tuple[Stage, ...],
    recipes: Iterable[tuple[Step, ...]],
    data: Mapping[str, DataSpec],
    wrong: Wrong,
) -> None:
    """Refuse passes that do not read what their data sets hold.

    Args:
        stages: The space.
        recipes: The baseline and the recipes of `try_first`.
        data: The configuration's data sets.
        wrong: Called for each mistake with its key, message and hint.
    """
    forms = _forms(data)
    steps = [slot.at(0)[0] for slot in slots_of(Chain(stages))]
    steps += [step for recipe in recipes for step in recipe]
    told = set()
    for step in steps:
        reads = _read_by(find_pass(step.name))
        for ref in data_read_by(step):
            form = forms.get(ref, TEXTS)
            if ref in forms and form not in reads and (step.name, ref) not in told:
                told.add((step.name, ref))
                wrong(
                    ("passes",),
                    f"{step.name} reads data sets of {' or '.join(sorted(reads))}, and {ref!r} is "
                    f"one of {form}",
                    _HINTS[form],
                )


_HINTS = {
    ARRAYS: "Texts have `text:`, `prompt:` or `messages:` in place of `inputs:`.",
    TEXTS: "Name the network's inputs under `inputs:`, see docs/onnx.md.",
}


def _forms(data: Mapping[str, DataSpec]) -> dict[str, str]:
    return {ref: spec.form for name, spec in data.items() for ref in references_of(name, spec)}


def _read_by(plugin: Any) -> frozenset[str]:
    """Return the forms that a pass or evaluator reads; texts where it does not say."""
    reads = frozenset(getattr(plugin, "reads", (TEXTS,)))
    assert reads <= FORMS, f"{plugin.name} reads unknown forms: {sorted(reads - FORMS)}"
    return reads
