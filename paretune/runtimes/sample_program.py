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

_GENAI = '''\
"""Runs the model in this folder: python sample.py "a prompt"."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the run-time is imported
import onnxruntime_genai as og

here = Path(__file__).resolve().parent
prompt = sys.argv[1] if len(sys.argv) > 1 else {prompt}
prompt = prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
model = og.Model(str(here))
tokenizer = og.Tokenizer(model)
note = here / "paretune_tokenizer.json"  # there if GenAI's tokenizer is known to give other tokens
note = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {{}}
try:  # the tokenizer that this model was measured with
    from transformers import AutoTokenizer
except ImportError:
    measured = None
else:
    measured = AutoTokenizer.from_pretrained(str(here), local_files_only=True)
if measured is None and (note.get("differs"){chat_differs}):
    sys.exit(
        "GenAI's tokenizer gives other tokens than this model was measured with; "
        "install transformers, whose tokenizer is used then: pip install transformers"
    )
{encode}
if not tokens:
    sys.exit("the prompt has no tokens: this tokenizer puts none before a text")
settings = json.loads((here / "genai_config.json").read_text(encoding="utf-8"))
room = settings["model"]["context_length"]
if len(tokens) >= room:
    sys.exit(f"the prompt has {{len(tokens)}} tokens, and the model's context holds {{room}}")
params = og.GeneratorParams(model)
params.set_search_options(max_length=min(len(tokens) + {new_tokens}, room), do_sample=False)
generator = og.Generator(model, params)
beside = here / "paretune_adapters.json"  # there if an adapter lies apart from its base
if beside.exists():
    listed = json.loads(beside.read_text(encoding="utf-8"))
    adapters = og.Adapters(model)
    for name, file in listed["adapters"].items():
        adapters.load(str(here / file), name)
    if listed["active"] is not None:
        generator.set_active_adapter(adapters, listed["active"])  # another name: another adapter
generator.append_tokens(tokens)
stream = tokenizer.create_stream()
while not generator.is_done():
    generator.generate_next_token()
    print(stream.decode(generator.get_next_tokens()[0]), end="", flush=True)
print()
'''
_GENAI_PLAIN = """\
if measured is not None:
    tokens = measured(prompt)["input_ids"]
else:
    tokens = [*note.get("prepend", []), *map(int, tokenizer.encode(prompt))]"""
_GENAI_CHAT = """\
turn = [{"role": "user", "content": prompt}]
if measured is not None:
    text = measured.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    tokens = measured(text, add_special_tokens=False)["input_ids"]
else:
    text = tokenizer.apply_chat_template(json.dumps(turn), add_generation_prompt=True)
    tokens = [*map(int, tokenizer.encode(text))]"""
_TORCH = '''\
"""Runs the model in this folder: python sample.py "a prompt"."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

here = Path(__file__).resolve().parent
prompt = sys.argv[1] if len(sys.argv) > 1 else {prompt}
prompt = prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
tokenizer = AutoTokenizer.from_pretrained(here, local_files_only=True)
{encode}
if not tokens:
    sys.exit("the prompt has no tokens: this tokenizer puts none before a text")
inputs = {{"input_ids": torch.tensor([tokens]), "attention_mask": torch.ones(1, len(tokens))}}
model = AutoModelForCausalLM.from_pretrained(here, local_files_only=True, dtype=torch.float32)
output = model.generate(**inputs, max_new_tokens={new_tokens}, do_sample=False)
print(tokenizer.decode(output[0, len(tokens) :], skip_special_tokens=True))
'''
_TORCH_PLAIN = 'tokens = tokenizer(prompt)["input_ids"]'
_TORCH_CHAT = """\
turn = [{"role": "user", "content": prompt}]
text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
tokens = tokenizer(text, add_special_tokens=False)["input_ids"]"""


_TURN = '[{"role": "user", "content": prompt}]'


def write_sample(
    out: Path,
    kind: str,
    prompt: str,
    chat: bool,
    max_new_tokens: int,
    before: Sequence[Mapping[str, str]] = (),
    role: str = "user",
) -> None:
    """Write the program that runs a package.

    Args:
        out: The file.
        kind: ``genai`` or ``hf``.
        prompt: What it is given when no prompt is named.
        chat: Whether prompts go through the model's chat template.
        max_new_tokens: How much it generates at most.
        before: Turns of a conversation before each prompt, such as the system's.
        role: Whose turn a prompt is.
    """
    genai = kind == "genai"
    plain, wrapped = (_GENAI_PLAIN, _GENAI_CHAT) if genai else (_TORCH_PLAIN, _TORCH_CHAT)
    if before or role != "user":
        turns = [*({"role": t["role"], "content": t["content"]} for t in before)]
        said = f'[*{turns!r}, {{"role": {role!r}, "content": prompt}}]'
        wrapped = wrapped.replace(_TURN, said)
    text = (_GENAI if genai else _TORCH).format(
        prompt=repr(prompt),
        encode=wrapped if chat else plain,
        new_tokens=max_new_tokens,
        chat_differs=' or note.get("chat_differs")' if chat else "",
    )
    out.write_text(text, encoding="utf-8")
