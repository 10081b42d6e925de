"""Rows become examples: every value that is used is text, or the error names its row and column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from paretune.core.errors import DataError, nearest
from paretune.data.conversations import ConversationError, Turn, turns_of
from paretune.data.files import Row
from paretune.data.spec import DataSpec
from paretune.data.templates import columns_of, fill
from paretune.data.values import NotTextError, kind_of, text_of

MAX_ROWS = 5_000_000
MAX_CHARACTERS = 1 << 30
"""What is kept of one file: a small one may describe far more than any memory holds."""


@dataclass(frozen=True)
class Example:
    """A prompt and the answer that is right.

    Attributes:
        prompt: The filled-in template; empty for plain text. Of a conversation, all turns but the
            last as plain text, which tell it from others: what a model is given is rendered from
            `turns`.
        answer: The filled-in answer, or the text; of a conversation, its last turn.
        row: 0-based row in its file.
        turns: The conversation, if it is one; the last turn is the assistant's.
        span: Where the longest column's text lies in `prompt`: it is what may be cut.
    """

    prompt: str
    answer: str
    row: int
    turns: tuple[Turn, ...] = ()
    span: tuple[int, int] = field(default=(0, 0), compare=False, repr=False)


@dataclass(frozen=True)
class ReadData:
    """What a file holds, by one specification.

    Attributes:
        examples: In file order.
        groups: Of each, the text that a split goes by.
        notes: What is not wrong, but should be known.
    """

    examples: tuple[Example, ...]
    groups: tuple[str, ...]
    notes: tuple[str, ...]


def read_examples(spec: DataSpec, rows: Iterable[Row], file: str) -> ReadData:
    """Turn rows into examples.

    Args:
        spec: How.
        rows: As they were read.
        file: Where from, for messages.

    Raises:
        DataError: A column is missing, a value is not text, an answer is empty, a conversation has
            another shape, or there is more than can be held.
    """
    reader = _Reader(spec, file)
    for number, row in enumerate(rows, start=spec.skip):
        reader.add(number, row)
    return ReadData(tuple(reader.examples), tuple(reader.groups), tuple(reader.notes()))


class _Reader:
    def __init__(self, spec: DataSpec, file: str) -> None:
        self.spec, self.file = spec, file
        self.examples: list[Example] = []
        self.groups: list[str] = []
        self._prompt = spec.prompt or ""
        self._answer = (spec.answer if spec.text is None else spec.text) or ""
        self._of_prompt = columns_of(self._prompt)
        self._columns = tuple(dict.fromkeys((*self._of_prompt, *columns_of(self._answer))))
        self._blank: list[int] = []
        self._empty: list[int] = []
        self._kinds: dict[str, dict[str, int]] = {column: {} for column in self._columns}
        self._unused: dict[str, int] = {}
        self._forms: dict[tuple[str, str], list[int]] = {}
        self._characters = 0

    def add(self, number: int, row: Row) -> None:
        example = self._conversation(number, row) if self.spec.messages else self._pair(number, row)
        if example is None:
            self._blank.append(number)
            return
        self._characters += len(example.prompt) + len(example.answer)
        if number >= MAX_ROWS or self._characters > MAX_CHARACTERS:
            raise DataError(
                f"{self.file}: more than {MAX_ROWS:,} rows or {MAX_CHARACTERS:,} characters "
                f"(reached at row {number + 1})",
                hint="Say `limit:` to use its first rows only, or make a smaller file.",
            )
        self.examples.append(example)
        self.groups.append(self._group(example, row))

    def _pair(self, number: int, row: Row) -> Example | None:
        values = {column: self._value(row, column, number) for column in self._columns}
        if self._columns and not any(value.strip() for value in values.values()):
            return None
        prompt, answer = fill(self._prompt, values), fill(self._answer, values).text
        if not answer.strip():
            if self.spec.text is not None:
                return None
            raise DataError(
                f"{self.file}: row {number + 1} has no answer (template {self._answer!r} is empty)",
                hint="Every row needs one: remove the row, or give it its answer.",
            )
        if self._of_prompt and not any(values[column].strip() for column in self._of_prompt):
            self._empty.append(number)
        return Example(prompt.text, answer, number, span=prompt.span)

    def _value(self, row: Row, column: str, number: int) -> str:
        if column not in row:
            raise self._lacks(row, column, number, "the template names")
        value = row[column]
        try:
            text = text_of(value)
        except NotTextError as error:
            raise DataError(
                f"{self.file}: row {number + 1}, column {column!r}: {error.what}, expected text, a "
                "number or a boolean",
                hint=error.hint,
            ) from error
        if text is not None:
            self._kinds[column].setdefault(kind_of(value), number)
        return text or ""

    def _lacks(self, row: Row, column: str, number: int, who: str) -> DataError:
        hint = nearest(column, row)
        if len(row) == 1:
            (only,) = row
            sign = next((s for s in ";\t|" if s in only), None)
            if sign is not None:
                hint = f"Its header is one column, {only!r}: expected a comma between columns" + (
                    ", or `format: tsv`." if sign == "\t" else "."
                )
        return DataError(
            f"{self.file}: row {number + 1} has no column {column!r}, which {who}", hint=hint
        )

    def _conversation(self, number: int, row: Row) -> Example | None:
        column = self.spec.messages or ""
        if column not in row:
            raise self._lacks(row, column, number, "`messages` names")
        value = row[column]
        if value is None or value != value or (isinstance(value, str) and not value.strip()):
            return None
        try:
            turns, unused, forms = turns_of(value)
        except ConversationError as error:
            raise DataError(
                f"{self.file}: row {number + 1}, column {column!r}: {error.what}", hint=error.hint
            ) from error
        for form in forms:
            self._forms.setdefault(form, []).append(number)
        for key in unused:
            self._unused[key] = self._unused.get(key, 0) + 1
        before = "\n".join(f"{turn.role}: {turn.content}" for turn in turns[:-1])
        return Example(before, turns[-1].content, number, turns)

    def _group(self, example: Example, row: Row) -> str:
        split = self.spec.split
        if split is None:
            return ""
        if split.group is None and example.turns:
            # One conversation may be there several times, up to each of its answers.
            return next(turn.content for turn in example.turns if turn.role != "system")
        if split.group is None:
            return example.prompt or example.answer
        if split.group not in row:
            raise self._lacks(row, split.group, example.row, "the split groups by")
        try:
            return str(text_of(row[split.group]))
        except NotTextError as error:
            raise DataError(
                f"{self.file}: row {example.row + 1}, column {split.group!r}: {error.what}, "
                "expected text to group by",
                hint=error.hint,
            ) from error

    def notes(self) -> Iterator[str]:
        if self._blank:
            yield f"{self.file}: {rows_told(self._blank)} blank, passed over"
        if self._empty:
            columns = " and ".join(map(repr, dict.fromkeys(self._of_prompt)))
            yield (
                f"{self.file}: {rows_told(self._empty, ('has', 'have'))} nothing in {columns}: the "
                "prompt is the template's own text"
            )
        for column, kinds in self._kinds.items():
            if len(kinds) > 1:
                found = " and ".join(f"{kind} (row {n + 1})" for kind, n in kinds.items())
                yield f"{self.file}: column {column!r} holds {found}; each is used as it is written"
        if len(self._forms) > 1:
            # The rarer way first: most likely it is the one that nobody knew of.
            ways = sorted(self._forms.items(), key=lambda way: (len(way[1]), way[0]))
            told = "; ".join(
                f"{rows_told(rows, ('has', 'have'))} {role!r} and {content!r}"
                for (role, content), rows in ways
            )
            yield f"{self.file}: turns are written in two ways, and both are read: {told}"
        if self._unused:
            keys = ", ".join(f"{key!r}" for key in sorted(self._unused))
            yield f"{self.file}: of the turns the keys {keys} are not used"
        for name, template in (("prompt", self._prompt), ("answer", self._answer)):
            if template and not columns_of(template) and len(self.examples) > 1:
                yield (
                    f"{self.file}: the {name} {template[:60]!r} names no column: it is the same in "
                    "every row"
                )


def rows_told(rows: Sequence[int], verb: tuple[str, str] = ("is", "are")) -> str:
    """Return 0-based rows as text: ``row 3 is``, or ``12 rows (3, 7, 9, ...) are``.

    Args:
        rows: At least one.
        verb: What follows one row, and what follows several.
    """
    if len(rows) == 1:
        return f"row {rows[0] + 1} {verb[0]}"
    shown = ", ".join(str(row + 1) for row in rows[:3])
    return f"{len(rows)} rows ({shown}{', ...' if len(rows) > 3 else ''}) {verb[1]}"
