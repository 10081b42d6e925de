"""What can be told of the labels of a classification before anything runs.

Labels that nobody can tell apart are refused; those that somebody might have meant to be one are
told, for a model is counted wrong where it gives the other.
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
    """Look at the labels that a data set is classified by.

    Args:
        catalog: The configuration's data sets.
        ref: What is measured on.
        trained_on: References of what is trained on.
        given: The labels that the evaluator names; None: the answers in the data.

    Yields:
        What is not wrong, but should be known.

    Raises:
        DataError: Two labels cannot be told apart, one is never trained on, an answer is none of
            those that are given, or there is only one.
    """
    data = catalog.load(ref)
    if data.form == "text":
        raise DataError(
            f"{ref} is plain text, and classification needs answers",
            hint="Give the data set `prompt:` and `answer:`, or `messages:`.",
        )
    if given is not None:
        _check_given(data, given)
    labels = labels_of(catalog, ref, trained_on) if given is None else tuple(given)
    where = _places(catalog, ref, trained_on)
    if len(labels) < 2:
        raise DataError(
            f"{ref}: {labels[0]!r} is the only label: every model would be right",
            hint="Expected two or more different answers in the data, or `labels:`.",
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
            f"{ref}: {len(labels)} labels: each example is scored against all of them; for free "
            "answers there is exact_match"
        )
    if given is None:
        yield from _one_sided(catalog, data, trained_on)


def labels_of(catalog: DataCatalog, ref: str, trained_on: Iterable[str]) -> tuple[str, ...]:
    """Return every label that an example of a data set may have, sorted.

    These are the answers of all its parts, and those of what is trained on for the same task: a
    training set that has answers, some of which the data has too.

    Args:
        catalog: The configuration's data sets.
        ref: What is measured on.
        trained_on: References of what is trained on.
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
                f"none of the labels {', '.join(map(repr, given[:_SHOWN]))}",
                hint="Add it to `labels:`, or leave `labels:` out.",
            )


def _places(catalog: DataCatalog, ref: str, trained_on: Sequence[str]) -> Callable[[str], str]:
    """Return a function that says where a label is seen first."""
    first: dict[str, str] = {}
    for known in (ref, *trained_on):
        for example in catalog.load(known).examples:
            first.setdefault(example.answer, f"{known}: row {example.row + 1}")
    return lambda label: first.get(label, "another part or `labels:`")


def _refuse_twins(ref: str, labels: Sequence[str], where: Callable[[str], str]) -> None:
    for form, how in ((_spaced, "spaces or unseen characters"), (_composed, "their Unicode form")):
        for twins in _alike(labels, form):
            shown = ", ".join(f"{label!r} ({where(label)})" for label in twins)
            raise DataError(
                f"{ref}: the labels {shown} differ in {how} only: no model can tell them apart",
                hint="Write them in one way in the data.",
            )


def _likely_twins(ref: str, labels: Sequence[str], where: Callable[[str], str]) -> Iterator[str]:
    for form, how in ((_folded, "but for case or form"), (_as_number, "as numbers")):
        for twins in _alike(labels, form):
            shown = " and ".join(f"{label!r} ({where(label)})" for label in twins)
            yield (
                f"{ref}: the labels {shown} are equal {how}: they count as different, so a model "
                "that gives one for the other is wrong"
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
    """Compare what is measured with what is trained on."""
    if len(data.labels) == 1:
        yield (
            f"{data.ref}: every row has the answer {data.labels[0]!r}: a model that always gives "
            "it is right"
        )
    mine = _rows_by_label(data)
    for train in trained_on:
        trained = catalog.load(train)
        if trained.form == "text":
            continue
        theirs = _rows_by_label(trained)
        if not mine.keys() & theirs.keys() and catalog.name_of(train) != catalog.name_of(data.ref):
            yield (
                f"{train} shows no label of {data.ref} (its answers: "
                f"{_listed(sorted(theirs))}): it is taken for another task's"
            )
            continue
        unseen = sorted(mine.keys() - theirs.keys())
        if unseen:
            row = mine[unseen[0]][0]
            near = [label for label in theirs if _folded(label) == _folded(unseen[0])]
            told = f"It shows {near[0]!r}. " if near else ""
            raise DataError(
                f"{data.ref}: row {row + 1} has the answer {unseen[0]!r}, which {train} never "
                "shows",
                hint=f"{told}Answers in {train}: {_listed(sorted(theirs))}.",
            )
        for label in sorted(theirs.keys() - mine.keys())[:_SHOWN]:
            yield (
                f"{data.ref} has no row with the label {label!r} ({train}: "
                f"{rows_told(theirs[label], ('has it', 'have it'))}): it can be chosen, and never "
                "is right"
            )


def _rows_by_label(data: Dataset) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for example in data.examples:
        found.setdefault(example.answer, []).append(example.row)
    return found


def _listed(labels: Sequence[str]) -> str:
    more = ", ..." if len(labels) > _SHOWN else ""
    return ", ".join(map(repr, labels[:_SHOWN])) + more
