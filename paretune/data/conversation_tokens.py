"""A conversation as tokens: the model's template renders it, and only the assistant's turns count.

**Templates with marks.** Where a template says itself what the assistant generates
(``{% generation %}``), its marks are followed.

**Templates without.** An assistant's turn is generated after one certain prompt: everything before
it, rendered up to where the answer begins. What is learned is the answer's text and the tokens that
end it (`paretune.models.chat_template.answer_end`), after exactly that prompt. So that one sequence
can hold all turns, the tokens of each prompt must begin with those of the prompt and the answer
before. Templates that write earlier turns otherwise once others follow (that strip thoughts, say)
do not nest; a conversation that meets this is refused, with the turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from paretune.data.conversations import ConversationError, Turn
from paretune.models.chat_template import AnswerEnd, ChatTemplateError, answer_end, render

_MARK = re.compile(r"\{%-?\s*generation\b")
_PROBE = (
    Turn("user", "paretune-question"),
    Turn("assistant", "paretune-answer"),
    Turn("user", "paretune-question"),
    Turn("assistant", "paretune-answer"),
)
_TWO_ROWS = (
    "Give such turns as rows of their own: each with the turns before it, thoughts left out."
)


@dataclass(frozen=True)
class ConversationTokens:
    """One conversation.

    Attributes:
        ids: All tokens.
        spans: Where the assistant's answers lie in them, as (begin, end).
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Form:
    """How a template writes an answer between its prompt and what ends it.

    Attributes:
        lead: Text before it, that belongs to it.
        stripped: Whether space around it is taken away.
        ended: Whether the tokens that end it stand in the middle of a conversation, too.
    """

    lead: str = ""
    stripped: bool = False
    ended: bool = True

    def ids(self, tokenizer: Any, answer: str, end: AnswerEnd) -> list[int]:
        text = self.lead + (answer.strip() if self.stripped else answer)
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*found, *end.ids] if self.ended else found


class ConversationEncoder:
    """Turns conversations into tokens, for one tokenizer.

    Args:
        tokenizer: A transformers tokenizer with a chat template.

    Raises:
        ChatTemplateError: It has none, or it refuses one user's turn.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._end = answer_end(tokenizer)
        self._marked = bool(_MARK.search(str(tokenizer.chat_template)))
        self._usual = self._usual_form()

    def prompt_text(self, turns: Sequence[Turn]) -> str:
        """Return turns as text, up to where the assistant's answer begins.

        Raises:
            ChatTemplateError: The template refuses them.
        """
        return render(self._tokenizer, [turn.to_json() for turn in turns], reply=True)

    def prompt_ids(self, turns: Sequence[Turn]) -> list[int]:
        """Return the tokens of `prompt_text`; the template brings its own special ones."""
        text = self.prompt_text(turns)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def answer_ids(self, answer: str) -> list[int]:
        """Return a last answer's tokens, with those that end it."""
        form = _Form(self._usual.lead, self._usual.stripped)
        return form.ids(self._tokenizer, answer, self._end)

    def encode(self, turns: Sequence[Turn]) -> ConversationTokens:
        """Return a conversation's tokens, and where the assistant's answers lie.

        Raises:
            ChatTemplateError: The template refuses the turns.
            ConversationError: The assistant's turns cannot be found in what it renders.
        """
        return self._by_marks(turns) if self._marked else self._by_prompts(turns)

    def _by_marks(self, turns: Sequence[Turn]) -> ConversationTokens:
        messages = [turn.to_json() for turn in turns]
        render(self._tokenizer, messages)  # for its errors
        found = self._tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = found["input_ids"], found["assistant_masks"]
        spans = tuple(_runs(mask))
        if not spans or spans[0][0] == 0:
            raise ConversationError(
                "the template's {% generation %} marks no token of the assistant's turns",
                "Fix chat_template in the model's folder: the marks go around what the assistant "
                "generates.",
            )
        return ConversationTokens(tuple(ids), spans)

    def _by_prompts(self, turns: Sequence[Turn]) -> ConversationTokens:
        places = [i for i, turn in enumerate(turns) if turn.role == "assistant"]
        spans = []
        ids = self.prompt_ids(turns[: places[0]])
        for place, following in pairwise(places):
            after = self.prompt_ids(turns[:following])
            begin = len(ids)
            ends = self._end_in(ids, turns[place].content, after)
            if ends is None:
                raise ConversationError(*self._why_not(turns, place, following))
            spans.append((begin, ends))
            ids = after
        answer = self.answer_ids(turns[places[-1]].content)
        spans.append((len(ids), len(ids) + len(answer)))
        return ConversationTokens((*ids, *answer), tuple(spans))

    def _end_in(self, prompt: list[int], answer: str, after: list[int]) -> int | None:
        """Return where an answer ends in the next prompt's tokens; None: they do not nest."""
        for form in (self._usual, *self._forms()):
            whole = [*prompt, *form.ids(self._tokenizer, answer, self._end)]
            if after[: len(whole)] == whole:
                return len(whole)
        return None

    def _forms(self) -> Iterator[_Form]:
        for ended in (True,) if self._end.from_template else (True, False):
            for lead in dict.fromkeys(("", self._end.lead)):
                yield from (_Form(lead, stripped, ended) for stripped in (False, True))

    def _usual_form(self) -> _Form:
        """Return how the template writes an answer in a conversation without anything odd."""
        self._usual = _Form()
        try:
            prompt, after = self.prompt_ids(_PROBE[:1]), self.prompt_ids(_PROBE[:3])
        except ChatTemplateError:  # for one question and one answer only
            return _Form()
        for form in self._forms():
            whole = [*prompt, *form.ids(self._tokenizer, _PROBE[1].content, self._end)]
            if after[: len(whole)] == whole:
                return form
        return _Form()

    def _why_not(self, turns: Sequence[Turn], place: int, following: int) -> tuple[str, str]:
        before, after = self.prompt_text(turns[:place]), self.prompt_text(turns[:following])
        number = place + 1
        if not after.startswith(before):
            why = "the chat template writes what stands before it otherwise once more turns follow"
        elif turns[place].content.strip() not in after[len(before) :]:
            why = (
                "the chat template changes it once more turns follow (it takes thoughts away, say)"
            )
        else:
            why = "its tokens run into what the chat template puts around it"
        return (
            f"turn {number} (assistant) cannot be learned in the middle of a conversation: {why}",
            _TWO_ROWS,
        )


def _runs(mask: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of each run of ones."""
    begin: int | None = None
    for place, marked in enumerate([*mask, 0]):
        if marked and begin is None:
            begin = place
        elif not marked and begin is not None:
            yield begin, place
            begin = None
