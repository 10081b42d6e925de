from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from paretune.cli.listing import FIRST
from paretune.config.json_schema import SCHEMA_FILE, schema, schema_text

ROOT = Path(__file__).resolve().parents[2]


def test_the_shipped_schema_is_current() -> None:
    told = "run: python -m paretune.config.json_schema"
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), told


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_the_examples_are_valid(file: Path) -> None:
    jsonschema.validate(yaml.safe_load(file.read_text()), schema())


def test_what_init_writes_is_valid() -> None:
    jsonschema.validate(yaml.safe_load(FIRST.format(name="x.yaml")), schema())


def valid() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "tone.yaml").read_text())
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"modell": "x"},
        {"passes": [{"loraa": {}}]},
        {"passes": [{"lora": {"train": "tone.train", "rr": 3}}]},
        {"passes": [{"lora": {"r": 3}}]},
        {"passes": [{"genai": {"precision": "int3"}}]},
        {"passes": [{"lora": {"train": {"low": 1, "high": 2}}}]},
        {"evaluate": ["clasification"]},
        {"target": {"thread": 1}},
        {"search": {"tme": "10m"}},
        {"objectives": {"maximise": "accuracy"}},
    ],
)
def test_mistakes_are_not(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**valid(), **change}, schema())
