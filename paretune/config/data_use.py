"""What a configuration does with its data: everything it refers to is loaded and looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import ValidationError

from paretune.config.plan import EvaluatorChoice
from paretune.config.yaml_source import Path as KeyPath
from paretune.data import DataCatalog
from paretune.errors import DataError, nearest
from paretune.registry import find_evaluator, find_pass
from paretune.search.candidate import Step
from paretune.search.space import Chain, Stage, slots_of


def check_data(
    catalog: DataCatalog,
    stages: tuple[Stage, ...],
    recipes: Iterable[tuple[Step, ...]],
    evaluators: tuple[EvaluatorChoice, ...],
    wrong: Callable[[KeyPath, str, str], None],
) -> tuple[str, ...]:
    """Load every data set that is referred to, for what is wrong with it.

    Args:
        catalog: The configuration's data sets.
        stages: The space.
        recipes: The baseline and what is tried first.
        evaluators: What is measured.
        wrong: Told of each reference that leads nowhere: key, message and hint.

    Returns:
        What is not wrong, but should be known: texts that are trained on and measured on.

    Raises:
        DataError: A data set is broken, empty, or holds a label that is never trained on.
    """
    trained_on = {ref for slot in slots_of(Chain(stages)) for ref in _data_of(slot.at(0)[0])}
    trained_on |= {ref for recipe in recipes for step in recipe for ref in _data_of(step)}
    measured_on = {}
    for choice in evaluators:
        kind = find_evaluator(choice.name)
        for ref in kind(kind.Params(**choice.params)).data:
            measured_on[ref] = choice.name
    missing = False
    for ref in sorted(trained_on | measured_on.keys()):
        name = ref.partition(".")[0]
        if ref not in catalog.references:
            where: KeyPath = ("passes",) if ref in trained_on else ("evaluate",)
            wrong(where, f"no data set {ref!r}", nearest(ref, catalog.references))
            missing = True
            continue
        try:
            catalog.check(ref)
        except DataError as error:
            raise DataError(f"data set {name!r}: {error.message}", hint=error.hint) from error
    if missing:
        return ()
    for ref, evaluator in measured_on.items():
        if evaluator == "classification":
            for train in sorted(trained_on):
                catalog.check_labels(train, ref)
    overlaps = (
        catalog.overlap(train, ref) for train in sorted(trained_on) for ref in sorted(measured_on)
    )
    return tuple(note for note in overlaps if note is not None)


def _data_of(step: Step) -> tuple[str, ...]:
    pass_ = find_pass(step.name)
    try:
        return pass_.data(pass_.Params(**step.params))
    except ValidationError:  # values that do not go together: the prechecks say so, candidate wise
        return ()
