"""A conversation in a data file: turns as OpenAI or as ShareGPT write them, checked for shape.

The model's template says how turns become tokens; this module checks what needs no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from paretune.core.jsontools import parse_json
from paretune.data.values import NotTextError, text_of

ROLES = ("system", "user", "assistant", "tool")
_SHARE_GPT = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "observation": "tool",
}
OPENAI, SHARE_GPT = ("role", "content"), ("from", "value")
_CHANGES_WHAT_IS_LEARNED = ("tool_calls", "function_call", "weight")
_EXPECTED = (
    'Expected a list such as [{"role": "user", "content": "..."}, {"role": "assistant", "content": '
    '"..."}], or with "from" (human, gpt, system) and "value".'
)


class ConversationError(ValueError):
    """A row holds no conversation of the expected shape.

    Args:
        what: What is wrong, from the turn on.
        hint: What to do.
    """

    def __init__(self, what: str, hint: str = _EXPECTED) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


@dataclass(frozen=True)
class Turn:
    """One turn.

    Attributes:
        role: One of `ROLES`.
        content: Its text, not empty.
    """

    role: str
    content: str

    def to_json(self) -> dict[str, str]:
        """Return it as chat templates take it."""
        return {"role": self.role, "content": self.content}


class Conversation(NamedTuple):
    """A row's conversation.

    Attributes:
        turns: In order.
        unused: Keys of its turns that are not used.
        forms: How its turns are written: by which keys, as `OPENAI` and `SHARE_GPT` are.
    """

    turns: tuple[Turn, ...]
    unused: frozenset[str]
    forms: frozenset[tuple[str, str]]


def turns_of(value: Any) -> Conversation:
    """Return a row's conversation.

    Args:
        value: A list of turns, or the JSON text of one (as CSV files hold it).

    Raises:
        ConversationError: It is none, or one that nothing can be learned from.
    """
    if isinstance(value, str):
        try:
            value = parse_json(value, unique=True)
        except ValueError as error:
            raise ConversationError(f"is text that is not JSON: {error}") from error
    if not isinstance(value, (list, tuple)):
        raise ConversationError(f"is {type(value).__name__}, expected a list of turns")
    if not value:
        raise ConversationError("has no turns")
    unused: set[str] = set()
    forms: set[tuple[str, str]] = set()
    turns = tuple(_turn(turn, f"turn {n}", unused, forms) for n, turn in enumerate(value, start=1))
    _check_order(turns)
    return Conversation(turns, frozenset(unused), frozenset(forms))


def _turn(value: Any, where: str, unused: set[str], forms: set[tuple[str, str]]) -> Turn:
    if not isinstance(value, Mapping):
        raise ConversationError(f"{where} is {type(value).__name__}, expected an object")
    given = {key: inner for key, inner in value.items() if not _missing(inner)}
    share = "from" in given and "role" not in given
    form = role_key, content_key = SHARE_GPT if share else OPENAI
    for key in _CHANGES_WHAT_IS_LEARNED:
        if given.get(key) not in (None, [], {}, 1):
            raise ConversationError(
                f"{where} has {key!r}, which cannot be learned from or rendered here",
                "Write what the assistant says as text, or leave the conversation out.",
            )
    role = _role(given.get(role_key), where, role_key, share)
    if content_key not in given:
        raise ConversationError(f"{where} ({role}) has no {content_key!r}")
    content = _content(given[content_key], f"{where} ({role})", content_key)
    forms.add(form)
    unused |= given.keys() - {role_key, content_key, *_CHANGES_WHAT_IS_LEARNED}
    return Turn(role, content)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _role(value: Any, where: str, key: str, share: bool) -> str:
    known = _SHARE_GPT if share else {role: role for role in ROLES}
    if value is None:
        raise ConversationError(f"{where} has no {key!r}")
    if not isinstance(value, str) or value not in known:
        raise ConversationError(
            f"{where} has the {key} {str(value)[:40]!r}, expected one of {', '.join(known)}"
        )
    return known[value]


def _content(value: Any, where: str, key: str) -> str:
    parts = value if isinstance(value, (list, tuple)) else [value]
    texts = []
    for number, part in enumerate(parts, start=1):
        at = f"part {number} of the {key}" if parts is value else f"the {key}"
        if isinstance(part, Mapping):
            if parts is not value or part.get("type") != "text":
                raise ConversationError(
                    f"{where}: {at} is {part.get('type') or 'an object'!r}, expected text",
                    'Parts are {"type": "text", "text": "..."}; images and sounds are not used.',
                )
            part = part.get("text")
        if not isinstance(part, str):
            raise ConversationError(f"{where}: {at} is {type(part).__name__}, expected text")
        try:
            texts.append(text_of(part) or "")
        except NotTextError as error:
            raise ConversationError(f"{where}: {at} is {error.what}", error.hint) from error
    content = "".join(texts)
    if not content.strip():
        raise ConversationError(f"{where} is empty", "Give it text, or leave the turn out.")
    return content


def _check_order(turns: tuple[Turn, ...]) -> None:
    for number, turn in enumerate(turns, start=1):
        before = turns[number - 2].role if number > 1 else None
        if turn.role == "system" and number > 1:
            raise ConversationError(f"turn {number} is a system turn, expected it first")
        if turn.role == "assistant" and before in (None, "system"):
            raise ConversationError(
                f"turn {number} is the assistant's, with no turn of the user before it",
                "Expected user and assistant by turns, after at most one system turn.",
            )
        if turn.role == "assistant" == before:
            raise ConversationError(
                f"turns {number - 1} and {number} are both the assistant's",
                "Join them, or put the user's turn between them.",
            )
    if turns[-1].role != "assistant":
        raise ConversationError(
            f"the last turn ({turns[-1].role}) is not the assistant's",
            "Leave out what follows the assistant's last turn: nothing answers it.",
        )
