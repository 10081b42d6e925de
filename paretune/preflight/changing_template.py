"""Chat templates that do not write the same prompt each time: with the current date, or at random.

Whether a date gets into a prompt is found by rendering it with two different clocks: templates that
could write one often do so without a system turn only, or where they are asked to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from paretune.models.chat_template import ChatTemplateError, Message, render

_CLOCK = "strftime_now"
_FORMAT = re.compile(rf"{_CLOCK}\s*\(\s*(?:format\s*=\s*)?(['\"])(.*?)\1")
_MACRO = "{%%- macro strftime_now(format) -%%}%d{%%- endmacro -%%}"
_RANDOM = re.compile(r"\|\s*random\b|\blipsum\s*\(")


def what_changes(tokenizer: Any, prompts: Sequence[Sequence[Message]]) -> str | None:
    """Return a note if a template's prompts depend on the date or on chance, else None.

    Args:
        tokenizer: A transformers tokenizer with a chat template.
        prompts: Turns up to where an answer begins.
    """
    template = str(tokenizer.chat_template)
    if _CLOCK in template and any(_is_dated(tokenizer, turns) for turns in prompts):
        formats = dict.fromkeys(found[2] for found in _FORMAT.finditer(template))
        shown = ", ".join(f"{_CLOCK}({form!r})" for form in formats) or _CLOCK
        return (
            f"the model's chat template writes the current date into prompts ({shown}): the "
            "prompts are different on another day, so training and measuring cannot be repeated "
            "exactly, and the prompts of a package change every day. To avoid this, write a fixed "
            "date into the template in the model's folder"
        )
    if prompts and _RANDOM.search(template):
        return (
            "the model's chat template makes random choices: prompts are different each time, so "
            "training and measuring cannot be repeated exactly. To avoid this, remove the random "
            "choice from the template in the model's folder"
        )
    return None


def _is_dated(tokenizer: Any, turns: Sequence[Message]) -> bool:
    try:
        own = tokenizer.get_chat_template()
        texts = [
            render(tokenizer, turns, reply=True, template=_MACRO % number + own)
            for number in (11, 12)
        ]
    except (ChatTemplateError, ValueError):  # told where the row is encoded
        return False
    return texts[0] != texts[1]
