"""Texts that contain the model's own control tokens, such as ``<|im_end|>`` within a user's turn.

A tokenizer converts these characters to the control token wherever they are in a text: a turn then
ends early, and the rest is read as another turn. In the input of a model this is reported in a
note, because it may be intended. In an answer that is trained on it is refused: the model would
learn to continue after the end of its answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paretune.core.errors import DataError
from paretune.data.catalog import DataCatalog, Dataset
from paretune.data.rows import Example, rows_told
from paretune.data.templates import columns_of, pieces_of
from paretune.data.values import NotTextError, text_of
from paretune.models.chat_template import ChatTemplateError, answer_end, marks, render

_ANSWERS = ("assistant", "answer")
_PROBES: tuple[tuple[str, ...], ...] = (("user",), ("user", "assistant", "user"))


@dataclass(frozen=True)
class Control:
    """One control token in a text.

    Attributes:
        row: 0-based row in its file.
        turn: The turn of a conversation, counted from 1; else 0.
        role: The role of the turn; for a pair ``prompt`` or ``answer``.
        token: Its text.
    """

    row: int
    turn: int
    role: str
    token: str


class ControlTokens:
    """Finds control tokens in texts.

    Args:
        tokenizer: A transformers tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        known = {*marks(tokenizer)}
        unknown = str(tokenizer.unk_token or "")
        if "unk" not in unknown.lower():  # GPT-2's, say, is the end of a text at the same time
            known.add(tokenizer.unk_token_id)
        special = {
            token.content: int(number)
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        special |= dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        template = str(tokenizer.chat_template or "")
        named = {t: int(i) for t, i in tokenizer.get_added_vocab().items() if t in template}
        self._given = {t: i for t, i in (special | named).items() if i in known}
        # Others belong into answers: calls of tools, places in a picture, thoughts.
        around = self._around_turns()
        self._answered = {t: i for t, i in special.items() if i in known & around}
        end = tokenizer.eos_token
        self._end = {} if end is None else {str(end): int(tokenizer.eos_token_id)}

    def _around_turns(self) -> frozenset[int]:
        """Return the tokens that the template puts around turns, and those that end a text."""
        found = {self._tokenizer.eos_token_id, self._tokenizer.bos_token_id}
        try:
            found.update(answer_end(self._tokenizer).ids)
            for roles in _PROBES:
                turns = [{"role": role, "content": "paretune"} for role in roles]
                found |= self._ids(render(self._tokenizer, turns, reply=True))
        except ChatTemplateError:  # none, or for a question and its answer only
            pass
        return frozenset(i for i in found if i is not None)

    def find(self, dataset: Dataset) -> Iterator[Control]:
        """Yield every control token in a text, once per turn.

        If no chat template is applied, only the end token in an answer counts.
        """
        chat = dataset.chat or dataset.form == "conversations"
        given = _Signs(self._given if chat else {})
        answered = _Signs(self._answered if chat else self._end)
        for example in dataset.examples:
            for turn, role, text in _texts(example):
                signs = answered if role in _ANSWERS else given
                held = signs.in_text(text)
                ids = self._ids(text) if held else set()
                for token in held:
                    if signs.ids[token] in ids:
                        yield Control(example.row, turn, role, token)

    def _ids(self, text: str) -> set[int]:
        return set(self._tokenizer(text, add_special_tokens=False)["input_ids"])


class _Signs:
    def __init__(self, ids: Mapping[str, int]) -> None:
        self.ids = ids
        longest_first = sorted(ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if ids else None

    def in_text(self, text: str) -> list[str]:
        return [] if self._pattern is None else list(dict.fromkeys(self._pattern.findall(text)))


def _texts(example: Example) -> Iterator[tuple[int, str, str]]:
    if example.turns:
        for number, turn in enumerate(example.turns, start=1):
            yield number, turn.role, turn.content
    else:
        yield 0, "prompt", example.prompt
        yield 0, "answer", example.answer


def control_notes(
    tokens: ControlTokens, catalog: DataCatalog, ref: str, *, trained: bool
) -> Iterator[str]:
    """Yield a note for each kind of control token in a data set.

    Args:
        tokens: Finds them.
        catalog: The configuration's data sets.
        ref: Which one.
        trained: Whether its answers are trained on.

    Raises:
        DataError: An answer of a chat that is trained on contains one.
    """
    dataset = catalog.load(ref)
    if dataset.form == "text":
        return
    found = list(tokens.find(dataset))
    given = [control for control in found if control.role not in _ANSWERS]
    answers = [control for control in found if control.role in _ANSWERS]
    if given:
        yield (
            f"{ref}: {_rows(given)} the model's own special tokens in the input, such as "
            f"{_place(catalog, ref, given[0])}: the tokenizer reads them as special tokens, not as "
            "text, so a turn ends or begins there"
        )
    if not answers:
        return
    chat = dataset.chat or dataset.form == "conversations"
    first = _place(catalog, ref, answers[0])
    if chat and trained:
        rows = dict.fromkeys(control.row for control in answers)
        more = "" if len(rows) == 1 else f"; this concerns {len(rows)} rows ({_shown(list(rows))})"
        raise DataError(
            f"{ref}: {first}: the answer contains the model's own special token, expected text: "
            f"the model would be trained to continue after the end of its turn{more}",
            hint="Remove the token: the chat template ends each answer itself. If it is meant as "
            "text, write it in another way.",
        )
    if chat:
        yield (
            f"{ref}: {_rows(answers)} the model's own special tokens in an answer, such as "
            f"{first}: a model ends its answer at this token, so its answer never matches"
        )
    else:
        yield (
            f"{ref}: {_rows(answers)} the end token in an answer, such as {first}: the end token "
            "is added to each answer automatically, so it is trained and scored twice"
        )


def _rows(found: Sequence[Control]) -> str:
    return rows_told(list(dict.fromkeys(c.row for c in found)), ("contains", "contain"))


def _shown(rows: Sequence[int]) -> str:
    return ", ".join(str(row + 1) for row in rows[:3]) + (", ..." if len(rows) > 3 else "")


def _place(catalog: DataCatalog, ref: str, control: Control) -> str:
    """Return the place of a token: the row, its column and the turn."""
    spec = catalog.spec_of(ref)
    place = f"row {control.row + 1}"
    if control.turn:
        column = f"column {spec.messages!r}, turn {control.turn} ({control.role})"
        return f"{place}, {column}: {control.token!r}"
    template = (spec.prompt if control.role == "prompt" else spec.answer) or ""
    if any(control.token in piece.text for piece in pieces_of(template) if not piece.column):
        return f"{place}, the template of the {control.role} itself: {control.token!r}"
    row = catalog.row(ref, control.row)
    for column in columns_of(template):
        if control.token in _text(row.get(column)):
            return f"{place}, column {column!r}: {control.token!r}"
    return f"{place}, {control.role}: {control.token!r}"


def _text(value: Any) -> str:
    try:
        return text_of(value) or ""
    except NotTextError:
        return ""
