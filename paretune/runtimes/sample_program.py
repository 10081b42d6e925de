"""The program ``sample.py`` in a package: it feeds the tokens that the model was measured with.

Every figure was measured on the ids of the Hugging Face tokenizer in the package
(`paretune.data.prompts`). The tokenizer of ONNX Runtime GenAI may give others; what is known of
that stands in ``paretune_tokenizer.json``, and no finite comparison shows that it never does. So
the program takes the ids from transformers where that is installed. Where it is not, it takes
GenAI's if the two are known to agree, and else ends with a sentence: with other tokens another
model would run than was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from paretune.runtimes.base import SamplePrompt
from paretune.runtimes.serving import required_runtime

_TURN = '[{"role": "user", "content": prompt}]'


def program(template: str, plain: str, chat: str, sample: SamplePrompt, **more: str) -> str:
    """Return a program from its template.

    Args:
        template: With ``{prompt}``, ``{encode}`` and ``{new_tokens}``.
        plain: The lines for ``{encode}`` that make tokens of a text as it is.
        chat: Those that put it through the chat template, as the user's turn.
        sample: What it is given.
        more: What else the template names.
    """
    if sample.before or sample.role != "user":
        turns = [{"role": t["role"], "content": t["content"]} for t in sample.before]
        said = f'[*{turns!r}, {{"role": {sample.role!r}, "content": prompt}}]'
        chat = chat.replace(_TURN, said)
    return template.format(
        prompt=repr(sample.prompt),
        encode=chat if sample.chat else plain,
        new_tokens=sample.max_new_tokens,
        **more,
    )


def write_sample(
    out: Path,
    kind: str,
    prompt: str,
    chat: bool,
    max_new_tokens: int,
    before: Sequence[Mapping[str, str]] = (),
    role: str = "user",
    runtime: str = "",
) -> None:
    """Write the program that runs a package.

    Args:
        out: The file.
        kind: Of the model in the package.
        prompt: As of `SamplePrompt`, like the rest.
        chat: Likewise.
        max_new_tokens: Likewise.
        before: Likewise.
        role: Likewise.
        runtime: That runs it; empty: the default one of its kind.
    """
    sample = SamplePrompt(prompt, chat, max_new_tokens, before, role)
    text = required_runtime(kind, runtime).sample_program(sample)
    out.write_text(text, encoding="utf-8")
