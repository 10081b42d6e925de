"""Examples as token ids: in one way, for training, scoring and checks.

A prompt that is too long is cut in one way, too: the longest column's text loses its beginning, at
a word's border where one is near. What the template puts around it, the chat template's head, the
first token and the answer stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from paretune.core.errors import DataError
from paretune.data.conversation_tokens import ConversationEncoder, ConversationTokens
from paretune.data.conversations import ConversationError
from paretune.data.prompts import answer_ids, prompt_ids, prompt_text
from paretune.models.chat_template import ChatTemplateError

_NEAR = 24


class TooLongError(DataError):
    """An example does not fit, however much of its prompt is cut.

    Args:
        where: Which one.
        tokens: How many it has at least.
        room: How many there may be.
    """

    def __init__(self, where: str, tokens: int, room: int) -> None:
        super().__init__(
            f"{where} needs {tokens} tokens at least, and {room} fit",
            hint="Shorten the row, or leave it out; plain text to train on is cut by `corpus:`.",
        )
        self.tokens = tokens
        self.room = room


@dataclass(frozen=True)
class Tokens:
    """One example.

    Attributes:
        ids: All of its tokens.
        spans: Those that are learned from or scored, as (begin, end).
        cut: Whether something of it was left out.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    cut: bool = False


class ExampleEncoder:
    """Turns the examples of one data set into tokens.

    Args:
        tokenizer: A transformers tokenizer.
        chat: Whether prompts go through the chat template; conversations always do.
        ref: The data set, for messages: every error tells the row.

    Raises:
        DataError: By every method: the chat template is missing, or refuses an example.
    """

    def __init__(self, tokenizer: Any, chat: bool, ref: str) -> None:
        self.tokenizer = tokenizer
        self.chat = chat
        self._ref = ref

    @cached_property
    def _conversations(self) -> ConversationEncoder:
        return ConversationEncoder(self.tokenizer)

    @contextmanager
    def _telling(self, example: Any) -> Iterator[None]:
        """Say of what a template refuses which row it is."""
        try:
            yield
        except ConversationError as error:
            raise DataError(f"{self._where(example)}: {error.what}", hint=error.hint) from error
        except ChatTemplateError as error:
            raise DataError(f"{self._where(example)}: {error.message}", hint=error.hint) from error

    def _where(self, example: Any) -> str:
        return f"{self._ref}: row {example.row + 1}"

    def rendered(self, example: Any) -> tuple[str, bool]:
        """Return the text of the prompt that is tokenized, and whether a chat template made it."""
        with self._telling(example):
            if _turns(example):
                return self._conversations.prompt_text(_turns(example)[:-1]), True
            return prompt_text(self.tokenizer, example.prompt, self.chat), self.chat

    def prompt(self, example: Any) -> list[int]:
        """Return the tokens of the prompt: of a conversation, of all before its last turn."""
        with self._telling(example):
            if _turns(example):
                return self._conversations.prompt_ids(_turns(example)[:-1])
            return prompt_ids(self.tokenizer, example.prompt, self.chat)

    def answer(self, example: Any, text: str) -> list[int]:
        """Return the tokens of an answer to an example, with those that end it.

        Args:
            example: Whose answer it could be.
            text: The answer.
        """
        with self._telling(example):
            if _turns(example):
                return self._conversations.answer_ids(text)
            return answer_ids(self.tokenizer, text, self.chat)

    def fitted(self, example: Any, room: int | None) -> tuple[list[int], Any]:
        """Return the tokens of a prompt that fits, and the example that it is of.

        Args:
            example: As it is; what comes back is another one if its prompt was cut.
            room: Most tokens of the prompt; None: any number.

        Raises:
            TooLongError: Nothing would be left of what may be cut. A conversation's prompt never is
                cut.
        """
        ids = self.prompt(example)
        if room is None or len(ids) <= room:
            return ids, example
        begin, end = getattr(example, "span", (0, 0))
        if _turns(example) or end - begin < 2:
            raise TooLongError(self._where(example), len(ids), room)
        least = len(self.prompt(_without(example, end - 1)))
        if least > room:
            raise TooLongError(self._where(example), least, room)
        low, high = begin, end - 1  # what is cut at `low` is too long, at `high` it fits
        while high - low > 1:
            middle = (low + high) // 2
            if len(self.prompt(_without(example, middle))) <= room:
                high = middle
            else:
                low = middle
        space = example.prompt.find(" ", high, min(end - 1, high + _NEAR))
        for place in (space + 1, high) if space >= 0 else (high,):
            found = _without(example, place)
            ids = self.prompt(found)
            if len(ids) <= room:
                return ids, found
        raise TooLongError(self._where(example), len(ids), room)

    def tokens(self, example: Any, room: int | None) -> Tokens:
        """Return an example's tokens, prompt and answer; of a conversation, all turns.

        A conversation that is too long ends with the last answer that fits.

        Args:
            example: The example.
            room: Most tokens; None: any number.

        Raises:
            TooLongError: The answer does not fit beside the least of the prompt, or the first one
                of a conversation does not.
        """
        if _turns(example):
            with self._telling(example):
                found = self._conversations.encode(_turns(example))
            return _ended(found, room, self._where(example))
        answer = self.answer(example, example.answer)
        try:
            prompt, fitted = self.fitted(example, None if room is None else room - len(answer))
        except TooLongError as error:
            assert room is not None
            raise TooLongError(self._where(example), error.tokens + len(answer), room) from error
        ids = (*prompt, *answer)
        return Tokens(ids, ((len(prompt), len(ids)),), fitted is not example)


def _ended(found: ConversationTokens, room: int | None, where: str) -> Tokens:
    if room is None or len(found.ids) <= room:
        return Tokens(found.ids, found.spans)
    spans = tuple(span for span in found.spans if span[1] <= room)
    if not spans:
        raise TooLongError(where, found.spans[0][1], room)
    return Tokens(found.ids[: spans[-1][1]], spans, True)


def _without(example: Any, place: int) -> Any:
    """Return an example whose longest column's text begins at a place in the prompt only."""
    begin, end = example.span
    prompt = example.prompt[:begin] + example.prompt[place:]
    return replace(example, prompt=prompt, span=(begin, begin + end - place))


def _turns(example: Any) -> Any:
    return getattr(example, "turns", ())
