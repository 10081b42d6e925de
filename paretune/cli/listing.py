"""What there is to choose from: the passes with their parameters, and a first configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json
from paretune.registry import find_pass, names

FIRST = """\
# A first configuration. Edit the lines marked with (*), then check it before you run it:
#   paretune search {name} --dry-run
#   paretune search {name}

model: models/my-model            # (*) a Hugging Face folder with config.json and *.safetensors

data:
  task:                           # (*) a name of yours; task.train and task.test are its splits
    file: data.jsonl              # (*) .jsonl, .json, .csv or .parquet
    prompt: "Text: {{text}}\\nLabel: "   # (*) columns in braces
    answer: "{{label}}"             # (*)
    split: {{test: 0.3, seed: 0}}   # the same prompt is never on both sides

passes:                           # `paretune passes` lists them, `paretune passes lora` shows one
  - lora: {{train: task.train, r: [8, 16], epochs: 1}}     # a list is a choice
    optional: true                # also try without it
  - merge:
    optional: true
  - genai: {{precision: [fp32, int8, int4]}}

evaluate:
  - classification: {{data: task.test}}
  - generation: {{prompt_tokens: 64, new_tokens: 32}}
  - footprint

target: {{providers: [cpu], threads: [1, 2]}}
objectives: {{maximize: accuracy, minimize: decode_ms_p50}}
constraints:                      # `baseline` is the unchanged model, unless you name another
  - accuracy >= 0.8
search: {{time: 30m, seed: 0}}
"""


def all_passes() -> dict[str, Json]:
    """Return each pass's first sentence and the kinds of model it accepts and produces."""
    return {
        name: {
            "does": (type(found).__doc__ or "").strip().splitlines()[0],
            "accepts": sorted(map(str, found.accepts)),
            "produces": str(found.produces),
        }
        for name, found in ((name, find_pass(name)) for name in names("passes"))
    }


def one_pass(name: str) -> dict[str, Json]:
    """Return a pass with every parameter's meaning, default, unit and what it is searched over.

    Raises:
        UsageError: There is no such pass.
    """
    found = find_pass(name)
    schema: dict[str, Any] = found.Params.model_json_schema()
    parameters = {
        key: {
            "meaning": field.get("description", ""),
            "default": field.get("default"),
            "required": key in schema.get("required", []),
            "unit": field.get("unit"),
            "search": field.get("search", "choice"),
        }
        for key, field in schema.get("properties", {}).items()
    }
    return {"name": name, **all_passes()[name], "parameters": parameters}


def render_passes(listed: dict[str, Json]) -> str:
    """Return the list of passes as text."""
    width = max(len(name) for name in listed)
    return "\n".join(
        f"{name:<{width}}  {' or '.join(p['accepts'])} -> {p['produces']}: {p['does']}"
        for name, p in listed.items()
    )


def render_one(shown: dict[str, Json]) -> str:
    """Return one pass as text."""
    lines = [
        f"{shown['name']}: {shown['does']}",
        f"takes {' or '.join(shown['accepts'])}, produces {shown['produces']}",
    ]
    how = {"range": "value, list or range", "choice": "value or list", "none": "one value"}
    for key, p in shown["parameters"].items():
        default = "required" if p["required"] else f"default {p['default']}"
        unit = f", in {p['unit']}" if p["unit"] else ""
        lines.append(f"  {key} ({default}{unit}; {how[p['search']]})\n      {p['meaning']}")
    return "\n".join(lines)


def write_first_configuration(file: Path) -> None:
    """Write a commented configuration.

    Raises:
        UsageError: The file exists already, or its folder does not exist.
    """
    if file.exists():
        raise UsageError(f"{file} already exists", hint="Name another file, or remove it.")
    if not file.parent.is_dir():
        raise UsageError(f"no folder {file.parent}", hint="Create it, or name another file.")
    file.write_text(FIRST.format(name=file.name), encoding="utf-8")
