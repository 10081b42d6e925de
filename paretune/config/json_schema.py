"""The configuration's JSON Schema, generated from the classes that check it.

python -m paretune.config.json_schema      writes paretune/schemas/config.schema.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from paretune.config.runtimes import settings_model
from paretune.config.schema import ConfigFile
from paretune.registry import BUILTIN, find_evaluator, find_pass

SCHEMA_FILE = Path(__file__).resolve().parent.parent / "schemas" / "config.schema.json"

_NUMBER = {"anyOf": [{"type": "number"}, {"type": "string"}]}  # 5e-4 is text to YAML 1.1
_RANGE = {
    "type": "object",
    "properties": {
        "low": _NUMBER,
        "high": _NUMBER,
        "log": {"type": "boolean"},
        "step": _NUMBER,
        "points": {"type": "integer", "minimum": 1},
    },
    "required": ["low", "high"],
    "additionalProperties": False,
    "description": "A range, turned into a grid.",
}

_TOLERANCE = r"^ *\+?[0-9.]+([eE][-+]?[0-9]+)? *%? *$"
_METRICS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_OBJECTIVES = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"minimize": _METRICS, "maximize": _METRICS},
            "additionalProperties": False,
            "minProperties": 1,
        },
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "minimize": {"type": "string"},
                    "maximize": {"type": "string"},
                    "within": {
                        "anyOf": [
                            {"type": "number", "minimum": 0},
                            {"type": "string", "pattern": _TOLERANCE},
                        ],
                        "default": "1%",
                        "description": "How much worse than the best value a candidate may be and "
                        "still be considered for the next objective: in the metric's unit, or "
                        "relative, such as 1%.",
                    },
                },
                "additionalProperties": False,
            },
        },
    ]
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema, with every built-in pass and evaluator."""
    whole = ConfigFile.model_json_schema()
    definitions: dict[str, Any] = whole.setdefault("$defs", {})
    definitions["range"] = _RANGE
    passes = {name: _parameters(name, definitions) for name in sorted(BUILTIN["passes"])}
    evaluators = {}
    for name in sorted(BUILTIN["evaluators"]):
        kind = find_evaluator(name)
        found = kind.Params.model_json_schema()
        definitions.update(found.pop("$defs", {}))
        evaluators[name] = {**found, "description": _first_line(kind.__doc__)}
    runtimes = {
        name: _searched(settings_model(name), settings_model(name).__doc__, definitions)
        for name in sorted(BUILTIN["runtimes"])
    }
    optional = {
        "type": "boolean",
        "description": "Whether recipes without this pass are tried, too.",
    }
    definitions["entry"] = {
        "anyOf": [
            {"enum": sorted(passes)},
            *(_one_of(name, body, {"optional": optional}) for name, body in passes.items()),
            _one_of(
                "any",
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {"anyOf": [{"$ref": "#/$defs/entry"}, {"$ref": "#/$defs/recipe"}]},
                    "description": "Alternatives: each a pass, or a list of passes.",
                },
                {"optional": optional},
            ),
        ]
    }
    definitions["recipe"] = {"type": "array", "items": {"$ref": "#/$defs/entry"}}
    recipe = {"$ref": "#/$defs/recipe"}
    properties = whole["properties"]
    properties["passes"] = {**recipe, "description": properties["passes"]["description"]}
    properties["baseline"] = {**recipe, "description": properties["baseline"]["description"]}
    properties["try_first"]["items"] = {
        "anyOf": [
            recipe,
            {
                "type": "object",
                "properties": {
                    "recipe": recipe,
                    "runtime": {"type": "string"},
                    "provider": {"type": "string"},
                    "threads": {"type": "integer", "minimum": 1},
                    "graph_optimization": {"type": "string"},
                },
                "required": ["recipe"],
                "additionalProperties": False,
            },
        ]
    }
    told = {key: properties["objectives"][key] for key in ("description",)}
    properties["objectives"] = {**told, **_OBJECTIVES}
    properties["evaluate"]["items"] = {
        "anyOf": [
            {"enum": sorted(evaluators)},
            *(_one_of(name, body, {}) for name, body in evaluators.items()),
        ]
    }
    properties["runtimes"]["items"] = {
        "anyOf": [
            {"enum": sorted(runtimes)},
            *(_one_of(name, body, {}) for name, body in runtimes.items()),
        ]
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole}


def _one_of(name: str, body: dict[str, Any], beside: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: body, **beside},
        "required": [name],
        "additionalProperties": False,
    }


def _parameters(name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a pass's parameters."""
    pass_ = find_pass(name)
    return _searched(pass_.Params, type(pass_).__doc__, definitions)


def _searched(
    kind: type[BaseModel], doc: str | None, definitions: dict[str, Any]
) -> dict[str, Any]:
    """Return parameters: each a value, and a list or a range where it may be searched."""
    found = kind.model_json_schema()
    definitions.update(found.pop("$defs", {}))
    for key, field in found.get("properties", {}).items():
        told = {k: field.pop(k) for k in ("description", "default", "title", "unit") if k in field}
        search = field.pop("search", "choice")
        forms: list[dict[str, Any]] = [field]
        if any(f.get("type") in ("number", "integer") for f in field.get("anyOf", [field])):
            forms.append({"type": "string", "pattern": "^[-+0-9.eE]+$"})
        if search != "none":
            forms.append({"type": "array", "items": {"anyOf": list(forms)}, "minItems": 1})
        if search == "range":
            forms.append({"$ref": "#/$defs/range"})
        found["properties"][key] = {**told, "anyOf": forms}
    body = {**found, "description": _first_line(doc)}
    return {"anyOf": [body, {"type": "null"}]} if not found.get("required") else body


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if text else ""


def schema_text() -> str:
    """Return the schema as the file holds it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.parent.mkdir(exist_ok=True)
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
