"""Checks the labels of a classification before anything runs.

Labels that cannot be distinguished are refused. Labels that are probably meant to be the same are
reported in a note, because a model is counted wrong if it gives the other one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from paretune.core.errors import DataError
from paretune.data.catalog import DataCatalog, Dataset
from paretune.data.rows import rows_told

_MANY = 100
_MISSING = frozenset({"nan", "none", "null", "n/a", "<na>", "nat", "#n/a"})
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
_SHOWN = 20


def check_labels(
    catalog: DataCatalog, ref: str, trained_on: Sequence[str], given: Sequence[str] | None
) -> Iterator[str]:
    """Check the labels of a data set that is classified.

    Args:
        catalog: The configuration's data sets.
        ref: The test data.
        trained_on: References of the training data.
        given: The labels that the evaluator names; None: the answers in the data.

    Yields:
        Notes.

    Raises:
        DataError: Two labels cannot be distinguished, one is never trained on, an answer is not
            one of the given labels, or there is only one label.
    """
    data = catalog.load(ref)
    if data.form == "text":
        raise DataError(
            f"{ref} is plain text without answers, which classification needs",
            hint="Give the data set `prompt:` and `answer:`, or `messages:`.",
        )
    if given is not None:
        _check_given(data, given)
    labels = labels_of(catalog, ref, trained_on) if given is None else tuple(given)
    where = _places(catalog, ref, trained_on)
    if len(labels) < 2:
        raise DataError(
            f"{ref}: {labels[0]!r} is the only label, so every model has an accuracy of 1",
            hint="Expected two or more different answers in the data, or in `labels:`.",
        )
    _refuse_twins(ref, labels, where)
    yield from _likely_twins(ref, labels, where)
    for label in labels:
        if label.strip().casefold() in _MISSING:
            yield (
                f"{ref}: the label {label!r} ({where(label)}) looks like a missing value that was "
                "written as text"
            )
    if len(labels) > _MANY:
        yield (
            f"{ref}: {len(labels)} labels: each example is scored with each of them; for free "
            "answers use exact_match"
        )
    if given is None:
        yield from _one_sided(catalog, data, trained_on)


def labels_of(catalog: DataCatalog, ref: str, trained_on: Iterable[str]) -> tuple[str, ...]:
    """Return every label that an example of a data set may have, sorted.

    These are the answers of all its parts, and those of the training sets of the same task: the
    training sets that share an answer with the data.

    Args:
        catalog: The configuration's data sets.
        ref: The test data.
        trained_on: References of the training data.
    """
    found = set(catalog.labels(ref))
    for train in trained_on:
        data = catalog.load(train)
        if data.form != "text" and found.intersection(data.labels):
            found |= set(data.labels)
    return tuple(sorted(found))


def _check_given(data: Dataset, given: Sequence[str]) -> None:
    for label in given:
        if not label.strip():
            raise DataError(
                f"labels of {data.ref}: {label!r} is empty", hint="Remove it from `labels:`."
            )
        if list(given).count(label) > 1:
            raise DataError(
                f"labels of {data.ref}: {label!r} is given twice", hint="Remove one of them."
            )
    for example in data.examples:
        if example.answer not in given:
            raise DataError(
                f"{data.ref}: row {example.row + 1} has the answer {example.answer!r}, which is "
                f"not in `labels:` ({', '.join(map(repr, given[:_SHOWN]))})",
                hint="Add it to `labels:`, or remove `labels:`.",
            )


def _places(catalog: DataCatalog, ref: str, trained_on: Sequence[str]) -> Callable[[str], str]:
    """Return a function that returns the first place of a label."""
    first: dict[str, str] = {}
    for known in (ref, *trained_on):
        for example in catalog.load(known).examples:
            first.setdefault(example.answer, f"{known}: row {example.row + 1}")
    return lambda label: first.get(label, "another part or `labels:`")


def _refuse_twins(ref: str, labels: Sequence[str], where: Callable[[str], str]) -> None:
    for form, how in (
        (_spaced, "spaces or invisible characters"),
        (_composed, "their Unicode form"),
    ):
        for twins in _alike(labels, form):
            shown = ", ".join(f"{label!r} ({where(label)})" for label in twins)
            raise DataError(
                f"{ref}: the labels {shown} differ only in {how}: no model can distinguish them",
                hint="Write them in the same way in the data.",
            )


def _likely_twins(ref: str, labels: Sequence[str], where: Callable[[str], str]) -> Iterator[str]:
    for form, how in ((_folded, "except for case or Unicode form"), (_as_number, "as numbers")):
        for twins in _alike(labels, form):
            shown = " and ".join(f"{label!r} ({where(label)})" for label in twins)
            yield (
                f"{ref}: the labels {shown} are equal {how}, but count as different labels: a "
                "model that answers one instead of the other is counted wrong"
            )


def _alike(labels: Sequence[str], form: Callable[[str], str | None]) -> Iterator[list[str]]:
    groups: dict[str, list[str]] = {}
    for label in labels:
        key = form(label)
        if key is not None:
            groups.setdefault(key, []).append(label)
    yield from (group for group in groups.values() if len(group) > 1)


def _spaced(label: str) -> str:
    return " ".join(label.translate(_UNSEEN).split())


def _composed(label: str) -> str:
    return unicodedata.normalize("NFC", _spaced(label))


def _folded(label: str) -> str:
    return unicodedata.normalize("NFKC", _spaced(label)).casefold()


def _as_number(label: str) -> str | None:
    try:
        return repr(float(label))
    except ValueError:
        return None


def _one_sided(catalog: DataCatalog, data: Dataset, trained_on: Sequence[str]) -> Iterator[str]:
    """Compare the labels of the test data with those of the training data."""
    if len(data.labels) == 1:
        yield (
            f"{data.ref}: every row has the answer {data.labels[0]!r}, so a model that always "
            "gives this answer has an accuracy of 1"
        )
    mine = _rows_by_label(data)
    for train in trained_on:
        trained = catalog.load(train)
        if trained.form == "text":
            continue
        theirs = _rows_by_label(trained)
        if not mine.keys() & theirs.keys() and catalog.name_of(train) != catalog.name_of(data.ref):
            yield (
                f"{train} has no label of {data.ref} (its answers: "
                f"{_listed(sorted(theirs))}), so it is treated as data of another task"
            )
            continue
        unseen = sorted(mine.keys() - theirs.keys())
        if unseen:
            row = mine[unseen[0]][0]
            near = [label for label in theirs if _folded(label) == _folded(unseen[0])]
            told = f"It has {near[0]!r}. " if near else ""
            raise DataError(
                f"{data.ref}: row {row + 1} has the answer {unseen[0]!r}, which does not occur in "
                f"{train}",
                hint=f"{told}Answers in {train}: {_listed(sorted(theirs))}.",
            )
        for label in sorted(theirs.keys() - mine.keys())[:_SHOWN]:
            yield (
                f"{data.ref} has no row with the label {label!r} ({train}: "
                f"{rows_told(theirs[label], ('has it', 'have it'))}): a model can choose this "
                "label, but it is never right"
            )


def _rows_by_label(data: Dataset) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for example in data.examples:
        found.setdefault(example.answer, []).append(example.row)
    return found


def _listed(labels: Sequence[str]) -> str:
    more = ", ..." if len(labels) > _SHOWN else ""
    return ", ".join(map(repr, labels[:_SHOWN])) + more
