"""How a model's chat template is applied: turns become text, and where an answer ends.

Templates bear no mark of where the assistant's answer ends. It is found by rendering one: what the
template puts after the answer is its end, up to and including the first token that stands for
itself (``<|im_end|>``, ``<|eot_id|>``, ``</s>``): a newline after it is never generated, for
generation has stopped by then. A template that puts no such token there ends an answer with its
text, if it has any, and the tokenizer's end token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from paretune.core.errors import UsageError

# The tokenizer is a transformers PreTrainedTokenizerBase; named Any so that nothing is imported.
Tokenizer = Any
Message = Mapping[str, Any]

# Words that no template looks for, without space around them that a template could take away.
_QUESTION = "paretune-question"
_ANSWER = "paretune-answer"


class ChatTemplateError(UsageError):
    """A chat template is missing, or refuses the turns it was given."""


@dataclass(frozen=True)
class AnswerEnd:
    """How a model's answers end.

    Attributes:
        ids: Token ids that follow an answer's own; empty where there is neither a template's end
            nor an end token.
        text: The same as text, as the template has it; empty where the tokenizer's end token alone
            ends an answer.
        lead: What the template puts between the prompt and the answer, such as an empty thought.
            Generation does not start with it: prompts are rendered up to where it would begin.
        from_template: True if the template says where an answer ends.
    """

    ids: tuple[int, ...]
    text: str = ""
    lead: str = ""
    from_template: bool = False


def render(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    *,
    reply: bool = False,
    template: str | None = None,
) -> str:
    """Return turns as the text that the model's chat template makes of them.

    Args:
        tokenizer: A transformers tokenizer.
        messages: ``{"role": ..., "content": ...}`` each.
        reply: Go on to where the assistant's answer begins.
        template: Taken in place of the tokenizer's own.

    Raises:
        ChatTemplateError: There is no template, or it refuses these turns (its message inside).
    """
    if not tokenizer.chat_template:
        raise ChatTemplateError(
            "the model's tokenizer has no chat template",
            hint="Leave `chat: true` out, or add the template as chat_template.jinja to the "
            "model's folder.",
        )
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=reply,
            chat_template=template,
        )
    except Exception as error:  # a template is a program from elsewhere: it may raise anything
        roles = ", ".join(str(message.get("role")) for message in messages)
        raise ChatTemplateError(
            f"the model's chat template cannot be applied to the turns {roles}: {_told(error)}",
            hint="Give the turns that the template takes, or fix chat_template in the model's "
            "folder.",
        ) from error
    if not isinstance(text, str):
        raise ChatTemplateError(f"the model's chat template gives {type(text).__name__}, no text")
    return text


def answer_end(tokenizer: Tokenizer) -> AnswerEnd:
    """Return how the answers of a chat end, by the model's template; found once a tokenizer.

    Raises:
        ChatTemplateError: There is no template, or it refuses one user's turn.
    """
    known = _FOUND.get(tokenizer)
    if known is not None and known[0] == tokenizer.chat_template:
        return known[1]
    found = _find_end(tokenizer)
    _FOUND[tokenizer] = (tokenizer.chat_template, found)
    return found


_FOUND: WeakKeyDictionary[Any, tuple[Any, AnswerEnd]] = WeakKeyDictionary()


def plain_end(tokenizer: Tokenizer) -> AnswerEnd:
    """Return how answers end where no template is applied: with the end token, if there is one."""
    eos = tokenizer.eos_token_id
    return AnswerEnd(() if eos is None else (int(eos),))


def _find_end(tokenizer: Tokenizer) -> AnswerEnd:
    question = {"role": "user", "content": _QUESTION}
    prompt = render(tokenizer, [question], reply=True)
    try:
        whole = render(tokenizer, [question, {"role": "assistant", "content": _ANSWER}])
    except ChatTemplateError:  # for prompts only
        return plain_end(tokenizer)
    before, found, after = whole.rpartition(_ANSWER)
    if not found:  # answers are left out of what it renders
        return plain_end(tokenizer)
    lead = before.removeprefix(prompt) if before.startswith(prompt) else ""
    marked = _through_first_mark(tokenizer, after)
    if marked:
        text = str(tokenizer.decode(list(marked), skip_special_tokens=False))
        return AnswerEnd(marked, text, lead, True)
    # A template without a switch for it ends everything with the words that begin an answer.
    asks_always = prompt == render(tokenizer, [question])
    text = "" if asks_always else after.rstrip()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
    return AnswerEnd((*ids, *plain_end(tokenizer).ids), text, lead, bool(text))


def _through_first_mark(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Return a text's token ids up to the first that stands for itself; none if none does."""
    known = marks(tokenizer)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
    for place, token in enumerate(ids):
        if token in known:
            return tuple(ids[: place + 1])
    return ()


def marks(tokenizer: Tokenizer) -> frozenset[int]:
    """Return the ids of tokens that stand for themselves: special and added ones, but for blanks.

    Tokenizers add runs of spaces as tokens too; and what is unknown ends nothing, unless the same
    token ends texts, as GPT-2's does.
    """
    unknown = {tokenizer.unk_token_id} - {tokenizer.eos_token_id}
    added = {int(i) for token, i in tokenizer.get_added_vocab().items() if token.strip()}
    return frozenset({*map(int, tokenizer.all_special_ids), *added} - unknown)


def _told(error: Exception) -> str:
    """Return an error of a template in one line, with its kind where that says more."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else ""
    kind = type(error).__name__
    return text if kind == "TemplateError" and text else f"{kind}: {text}" if text else kind
