"""Kinds of model along a recipe: what each pass accepts and produces, and what can be measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from paretune.config.measurable import Need, misfits, need_of
from paretune.config.plan import EvaluatorChoice
from paretune.config.runtimes import check_provided
from paretune.config.space_building import fitting_kinds
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Wrong
from paretune.core.candidate import Candidate, Step
from paretune.core.errors import UsageError
from paretune.core.model import ModelKind
from paretune.models.handle import detect_kind
from paretune.search.space import PassSlot, Space, Stage

_FIRST = {
    ModelKind.HF_ADAPTER: "The input model is an adapter: put `merge` first, to merge it into its "
    "base.",
    ModelKind.HF_ENCODER: "The input model is an encoder or a vision model, by `architectures` in "
    "its config.json: put `onnx_export` first, then passes that take onnx.",
    ModelKind.MODULE: "The input model is a PyTorch module: put `onnx_export` first.",
    ModelKind.PT2: "The input model is an exported PyTorch program: put `onnx_export` first.",
}
"""What to do where no pass takes a kind of input model."""


def check_kinds(
    model: Path,
    space: Space,
    baseline: tuple[Step, ...] | None,
    try_first: Sequence[Candidate],
    evaluators: Sequence[EvaluatorChoice],
    wrong: Wrong,
) -> None:
    """Refuse a chain of passes that no model goes through, or whose results cannot be measured.

    Where some of the results can be measured, the other candidates are skipped one by one
    (`paretune.preflight.prepared`).

    Args:
        model: The input model.
        space: With the runtimes of each kind.
        baseline: Its recipe, if one is named.
        try_first: Candidates to try first.
        evaluators: What is measured.
        wrong: Called for each mistake with its key, message and hint.
    """
    begin = frozenset({detect_kind(model)})
    needs = _needs(evaluators, wrong)
    chains: list[tuple[KeyPath, tuple[Stage, ...]]] = [(("passes",), space.stages)]
    if baseline is not None:
        chains.append((("baseline",), _slots(baseline)))
    chains += [(("try_first", i), _slots(c.recipe)) for i, c in enumerate(try_first)]
    for key, chain in chains:
        out, why = fitting_kinds(chain, begin, "the input model")
        if why is not None:
            hint = next((_FIRST[kind] for kind in begin if kind in _FIRST), None)
            wrong(key, f"these passes do not fit together: {why}", hint)
            continue
        check_provided(sorted(out), space, wrong)
        what = "the resulting model" if chain else "the input model"
        found = [
            misfits(kind, needs, what, name)
            for kind in sorted(out)
            for name in dict.fromkeys(grid.name for grid in space.runtimes_of(kind).grids)
        ]
        if not all(found):
            continue
        for misfit in (misfit for each in found for misfit in each):
            if misfit.position is not None:
                name = needs[misfit.position].evaluator
                wrong(("evaluate", misfit.position, name), misfit.message, misfit.hint)
            else:
                at = ("model",) if key == ("passes",) and not chain else key
                wrong(at, misfit.message, misfit.hint)


def _needs(evaluators: Iterable[EvaluatorChoice], wrong: Wrong) -> list[Need]:
    """Return what the evaluators need of a session; unknown needs are reported as mistakes."""
    found = []
    for i, choice in enumerate(evaluators):
        try:
            found.append(need_of(choice.name, choice.params))
        except UsageError as error:
            wrong(("evaluate", i, choice.name), error.message, error.hint)
            found.append(Need(choice.name, None))
    return found


def _slots(recipe: tuple[Step, ...]) -> tuple[Stage, ...]:
    return tuple(PassSlot(step.name) for step in recipe)
