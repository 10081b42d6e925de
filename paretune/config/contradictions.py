"""Rows that contradict each other: one text with several answers, of which at most one is right.

Nothing is refused: free answers may differ, and labels contain noise. But a model trained on such
rows learns neither answer, and a model measured on them cannot reach full accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from paretune.data.catalog import DataCatalog, Dataset, same_text
from paretune.data.rows import Example, rows_told
from paretune.data.templates import columns_of

_SHOWN = 40


def contradictions(
    catalog: DataCatalog, trained_on: Iterable[str], measured_on: Iterable[str], by_label: set[str]
) -> Iterator[str]:
    """Yield notes on texts with several answers, within data sets and between them.

    Args:
        catalog: The configuration's data sets.
        trained_on: References of the training data.
        measured_on: References of the test data.
        by_label: Those of them that are classified by their answers. Of conversations only these
            count, and those that share an answer with them: the same words may be answered freely.
    """
    trained_on, measured_on, by_text = (
        sorted(ref for ref in refs if not catalog.is_arrays(ref))
        for refs in (trained_on, measured_on, by_label)
    )
    labels = {label for ref in by_text for label in catalog.load(ref).labels}
    trained = [d for ref in trained_on if _counts(catalog, d := catalog.load(ref), labels)]
    measured = [d for ref in measured_on if _counts(catalog, d := catalog.load(ref), labels)]
    for data in {data.ref: data for data in (*trained, *measured)}.values():
        yield from _within(data)
    for train in trained:
        for test in measured:
            if test.ref != train.ref:
                yield from _between(train, test)


def _counts(catalog: DataCatalog, data: Dataset, labels: set[str]) -> bool:
    if data.form == "conversations":
        return not labels.isdisjoint(data.labels)
    # A prompt that is the same in every row is told of where the rows are read.
    return data.form == "pairs" and bool(columns_of(catalog.spec_of(data.ref).prompt or ""))


def _within(data: Dataset) -> Iterator[str]:
    by_text: dict[str, list[Example]] = {}
    for example in data.examples:
        by_text.setdefault(same_text(example.prompt), []).append(example)
    torn = [pair for rows in by_text.values() if (pair := _torn(rows)) is not None]
    if not torn:
        return
    one, other = torn[0]
    rows = sorted(example.row for pair in torn for example in by_text[same_text(pair[0].prompt)])
    texts = "one text" if len(torn) == 1 else f"{len(torn)} texts"
    yield (
        f"{data.ref}: {texts} with more than one answer: {rows_told(rows)} affected, such as row "
        f"{one.row + 1} ({_short(one.answer)}) and row {other.row + 1} ({_short(other.answer)}) "
        f"with the text {_short(one.prompt)}: at most one of them can be right"
    )


def _torn(rows: list[Example]) -> tuple[Example, Example] | None:
    for example in rows[1:]:
        if same_text(example.answer) != same_text(rows[0].answer):
            return rows[0], example
    return None


def _between(train: Dataset, test: Dataset) -> Iterator[str]:
    answers: dict[str, dict[str, Example]] = {}
    for example in train.examples:
        known = answers.setdefault(same_text(example.prompt), {})
        known.setdefault(same_text(example.answer), example)
    against = [
        (example, next(iter(there.values())))
        for example in test.examples
        if (there := answers.get(same_text(example.prompt)))
        and same_text(example.answer) not in there
    ]
    if not against:
        return
    example, trained = against[0]
    rows = rows_told([example.row for example, _ in against], ("has", "have"))
    yield (
        f"{test.ref}: {rows} a different answer than {train.ref} for the same text, such as row "
        f"{example.row + 1} ({_short(example.answer)}; {train.ref}: row {trained.row + 1}, "
        f"{_short(trained.answer)}) with the text {_short(example.prompt)}: a model that learns "
        f"the answer of {train.ref} is counted wrong"
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
