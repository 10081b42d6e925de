"""Loads and checks every data set that a configuration refers to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from paretune.config.contradictions import contradictions
from paretune.config.labels import check_labels, labels_of
from paretune.config.plan import EvaluatorChoice
from paretune.config.yaml_source import Path as KeyPath
from paretune.core.candidate import Step
from paretune.core.errors import DataError, nearest
from paretune.data.catalog import DataCatalog
from paretune.plugin_identity import data_read_by
from paretune.registry import find_evaluator
from paretune.search.space import Chain, Stage, slots_of


def check_data(
    catalog: DataCatalog,
    stages: tuple[Stage, ...],
    recipes: Iterable[tuple[Step, ...]],
    evaluators: tuple[EvaluatorChoice, ...],
    wrong: Callable[[KeyPath, str, str], None],
    builder_reads_azure: bool = False,
) -> tuple[tuple[str, ...], tuple[EvaluatorChoice, ...], frozenset[str]]:
    """Load and check every data set that is referred to.

    Args:
        catalog: The configuration's data sets.
        stages: The space.
        recipes: The baseline and the recipes of `try_first`.
        evaluators: The configured evaluators.
        wrong: Called with each reference to a missing data set: key, message and hint.
        builder_reads_azure: Whether builds run where files in Azure can be read in place.

    Returns:
        Notes; the evaluators, in which `classification` also has the labels that do not occur
        in the test part of its data set; and what only the builder reads, which was not loaded.

    Raises:
        DataError: A data set is broken, empty, or has a label that is never trained on.
    """
    trained_on = {ref for slot in slots_of(Chain(stages)) for ref in data_read_by(slot.at(0)[0])}
    trained_on |= {ref for recipe in recipes for step in recipe for ref in data_read_by(step)}
    measured_on = set()
    for choice in evaluators:
        kind = find_evaluator(choice.name)
        measured_on |= set(kind(kind.Params(**choice.params)).data)
    missing = False
    far = _far(catalog, trained_on, measured_on) if builder_reads_azure else frozenset()
    trained_on -= far
    for ref in sorted(trained_on | measured_on):
        if ref not in catalog.references:
            where: KeyPath = ("passes",) if ref in trained_on else ("evaluate",)
            wrong(where, f"no data set {ref!r}", nearest(ref, catalog.references))
            missing = True
            continue
        with _named(catalog.name_of(ref)):
            catalog.check(ref)
        aside = catalog.kept_aside(ref)
        if aside is not None and ref in (aside, catalog.name_of(ref)):
            wrong(
                ("passes",) if ref in trained_on else ("evaluate",),
                f"{ref!r} contains the data that `split: {{confirm}}` holds out: it may not be "
                "used for training or measuring before the choice",
                f"Name {aside.removesuffix('confirm')}train or "
                f"{aside.removesuffix('confirm')}test, or leave `confirm` out.",
            )
            missing = True
    if missing:
        return (), evaluators, far
    notes = list(catalog.notes(sorted(trained_on | measured_on)))
    chosen = []
    for choice in evaluators:
        if choice.name == "classification" and not catalog.is_arrays(choice.params["data"]):
            ref = choice.params["data"]
            with _named(catalog.name_of(ref)):
                notes += check_labels(
                    catalog, ref, sorted(trained_on), choice.params.get("labels") or None
                )
                choice = _with_labels(catalog, ref, sorted(trained_on), choice)
        chosen.append(choice)
        _check_rows(catalog, choice)
    kept, more = _kept_aside(catalog, trained_on | measured_on, measured_on)
    notes += more
    overlaps = (
        catalog.overlap(train, ref)
        for used, seen in ((trained_on, measured_on | kept), (measured_on, kept))
        for train in sorted(used)
        for ref in sorted(seen)
    )
    by_label = {c.params["data"] for c in evaluators if c.name == "classification"}
    told = (
        *notes,
        *(note for note in overlaps if note is not None),
        *contradictions(catalog, trained_on, measured_on | kept, by_label),
    )
    return tuple(dict.fromkeys(told)), tuple(chosen), far


def _far(catalog: DataCatalog, trained_on: set[str], measured_on: set[str]) -> frozenset[str]:
    """Return what only passes read, of data sets all of whose files are in Azure."""
    measured = {catalog.name_of(ref) for ref in measured_on}
    return frozenset(
        ref
        for ref in trained_on & set(catalog.references)
        if catalog.name_of(ref) not in measured and catalog.spec_of(ref).in_azure
    )


def _kept_aside(
    catalog: DataCatalog, used: set[str], measured_on: set[str]
) -> tuple[set[str], list[str]]:
    """Return the parts that are held out for the pick, and notes on them."""
    found, notes = set(), []
    for ref in sorted(used):
        aside = catalog.kept_aside(ref)
        if aside is None or aside in found:
            continue
        with _named(catalog.name_of(ref)):
            catalog.check(aside)
        found.add(aside)
        test = f"{catalog.name_of(ref)}.test"
        if test not in measured_on:
            notes.append(
                f"{aside} is held out, but no evaluator measures on {test}, so the pick is not "
                f"measured on {aside} either"
            )
    return found, notes


def _with_labels(
    catalog: DataCatalog, ref: str, trained_on: list[str], choice: EvaluatorChoice
) -> EvaluatorChoice:
    """Return an evaluator with all labels written out, if some do not occur in its own data."""
    labels = labels_of(catalog, ref, trained_on)
    if choice.params.get("labels") or labels == catalog.load(ref).labels:
        return choice
    return replace(choice, params={**choice.params, "labels": list(labels)})


def _check_rows(catalog: DataCatalog, choice: EvaluatorChoice) -> None:
    """Check the data of an evaluator of arrays, before anything runs."""
    kind = find_evaluator(choice.name)
    evaluator = kind(kind.Params(**choice.params))
    check = getattr(evaluator, "check_rows", None)
    for ref in evaluator.data:
        if check is not None and catalog.is_arrays(ref):
            with _named(catalog.name_of(ref)):
                check(catalog.arrays(ref))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Add the name of the data set to errors."""
    try:
        yield
    except DataError as error:
        raise DataError(f"data set {name!r}: {error.message}", hint=error.hint) from error
