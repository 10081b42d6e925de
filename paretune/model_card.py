"""What lies beside a package: its model card with measured figures, and a program that runs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from paretune.jsontools import Json, canonical

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~&])")

_SAMPLE_GENAI = '''\
"""Runs the model in this folder: python sample.py "a prompt"."""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the run-time is imported
import onnxruntime_genai as og

here = Path(__file__).resolve().parent
prompt = sys.argv[1] if len(sys.argv) > 1 else {prompt}
model = og.Model(str(here))
tokenizer = og.Tokenizer(model)
{encode}
params = og.GeneratorParams(model)
params.set_search_options(max_length=len(tokens) + {new_tokens}, do_sample=False)
generator = og.Generator(model, params)
beside = here / "paretune_adapters.json"  # there if an adapter lies apart from its base
if beside.exists():
    listed = json.loads(beside.read_text())
    adapters = og.Adapters(model)
    for name, file in listed["adapters"].items():
        adapters.load(str(here / file), name)
    generator.set_active_adapter(adapters, listed["active"])  # another name: another adapter
generator.append_tokens(tokens)
stream = tokenizer.create_stream()
while not generator.is_done():
    generator.generate_next_token()
    print(stream.decode(generator.get_next_tokens()[0]), end="", flush=True)
print()
'''
_PLAIN = """\
note = here / "paretune_tokenizer.json"  # there if a prompt needs tokens that GenAI leaves out
before = json.loads(note.read_text()).get("prepend", []) if note.exists() else []
tokens = [*before, *tokenizer.encode(prompt)]"""
_CHAT = """\
turn = json.dumps([{"role": "user", "content": prompt}])
tokens = tokenizer.encode(tokenizer.apply_chat_template(turn, add_generation_prompt=True))"""
_SAMPLE_TORCH = '''\
"""Runs the model in this folder: python sample.py "a prompt"."""

import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

here = Path(__file__).resolve().parent
prompt = sys.argv[1] if len(sys.argv) > 1 else {prompt}
tokenizer = AutoTokenizer.from_pretrained(here)
model = AutoModelForCausalLM.from_pretrained(here)
{encode}
output = model.generate(**inputs, max_new_tokens={new_tokens}, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
'''
_TORCH_PLAIN = 'inputs = tokenizer(prompt, return_tensors="pt")'
_TORCH_CHAT = """\
turn = [{"role": "user", "content": prompt}]
inputs = tokenizer.apply_chat_template(
    turn, add_generation_prompt=True, return_tensors="pt", return_dict=True
)"""


def write_sample(out: Path, kind: str, prompt: str, chat: bool, max_new_tokens: int) -> None:
    """Write the program that runs a package.

    Args:
        out: The file.
        kind: ``genai`` or ``hf``.
        prompt: What it is given when no prompt is named.
        chat: Whether prompts go through the model's chat template.
        max_new_tokens: How much it generates at most.
    """
    genai = kind == "genai"
    template = _SAMPLE_GENAI if genai else _SAMPLE_TORCH
    encode = (_CHAT if chat else _PLAIN) if genai else (_TORCH_CHAT if chat else _TORCH_PLAIN)
    text = template.format(prompt=repr(prompt), encode=encode, new_tokens=max_new_tokens)
    out.write_text(text, encoding="utf-8")


def escaped(text: str) -> str:
    """Return text that comes from elsewhere as plain Markdown: no markup, no control characters."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return _SPECIAL.sub(r"\\\1", printable)


def write_model_card(
    results: Mapping[str, Json],
    candidate: Mapping[str, Json],
    out: Path,
    model_name: str,
    kind: str,
) -> None:
    """Write a model card with the figures that were measured.

    Args:
        results: The study's results document.
        candidate: The candidate's entry in it.
        out: The file.
        model_name: Name of the input model.
        kind: ``genai`` or ``hf``.
    """
    device, provider = results["device"], escaped(candidate["runtime"]["provider"])
    lines = [
        f"# {escaped(model_name)}, as chosen by paretune",
        "",
        f"Candidate {candidate['id']} of the study *{escaped(results['study'])}*. Run it: "
        '`python sample.py "a prompt"`'
        + (" (needs `onnxruntime-genai`)." if kind == "genai" else " (needs `transformers`)."),
        "",
        "## Measured",
        "On " + escaped(str(device.get("processor", ""))) + f", {device.get('cores')} cores, "
        f"{escaped(str(device.get('os', '')))}; provider {provider}, "
        f"{candidate['runtime']['threads']} threads. Speeds hold for this device only.",
        "",
        "| metric | value | 95 % interval | samples |",
        "|---|---|---|---|",
    ]
    for name, m in candidate["metrics"].items():
        value = "-" if m["value"] is None else f"{m['value']:.4g} {m['unit']}".strip()
        interval = "-" if m["low"] is None else f"{m['low']:.4g} to {m['high']:.4g}"
        lines.append(f"| {escaped(name)} | {escaped(value)} | {interval} | {m['n']} |")
    lines += ["", "## How it was made", ""]
    for number, step in enumerate(candidate["recipe"], start=1):
        params = ", ".join(f"{k}={_shown(v)}" for k, v in step["params"].items())
        lines.append(f"{number}. **{escaped(step['pass'])}** {escaped(params)}".rstrip())
    if not candidate["recipe"]:
        lines.append("The input model, unchanged.")
    lines += ["", "`paretune run recipe.yaml` builds and measures it again.", ""]
    if results["constraints"]:
        lines += ["## Constraints it was held to", ""]
        lines += [f"- {escaped(c['text'])}" for c in results["constraints"]]
        lines.append("")
    lines += [
        "## Limits",
        "Its accuracy was measured on the data named in `recipe.yaml` and on nothing else. Its "
        "licence is that of the model it was made from, and of the data it was trained on.",
        "",
        "Versions: "
        + ", ".join(f"{escaped(k)} {escaped(v)}" for k, v in results["versions"].items()),
        "",
    ]
    out.write_text("\n".join(lines), encoding="utf-8")


def _shown(value: Json) -> str:
    return value if isinstance(value, str) else canonical(value)
