"""What passes and evaluators keep to alike: how they declare parameters, and what they import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from pydantic import ValidationError

from paretune.core.params import Params

HEAVY = ("torch", "transformers", "peft", "onnx", "onnxruntime", "onnxruntime_genai", "datasets")
"""What the process that checks a configuration does not import."""


def follows(plugin: object, protocol: type, name: str) -> None:
    """Require that a plug-in has all members of a protocol, and the name it is registered by.

    Args:
        plugin: A pass, an evaluator, a target or a strategy.
        protocol: Its contract.
        name: As registered.
    """
    members = sorted({*protocol.__annotations__, *vars(protocol)})
    missing = [m for m in members if not m.startswith("_") and not hasattr(plugin, m)]
    assert not missing, f"{name} lacks {', '.join(missing)}, which a {protocol.__name__} has"
    named = getattr(plugin, "name", name)
    assert named == name, f"registered as {name!r}, but its name is {named!r}"


def declares(plugin: Any) -> None:
    """Require that a version, documentation and parameters are declared as both kinds have them."""
    kind = plugin if isinstance(plugin, type) else type(plugin)
    assert isinstance(plugin.version, int), "version is a whole number"
    assert plugin.version >= 1, "version begins with 1"
    assert (kind.__doc__ or "").strip(), "its class has a docstring: `paretune passes` shows it"
    assert issubclass(plugin.Params, Params), "Params is a subclass of paretune.core.params.Params"
    schema = plugin.Params.model_json_schema()
    json.dumps(schema, allow_nan=False)
    assert schema["additionalProperties"] is False, "unknown parameters are refused"
    for key, field in schema.get("properties", {}).items():
        search, said = field.get("search"), field.get("description", "")
        assert search in ("range", "choice", "none"), f"{key} is declared through `parameter`"
        assert said.endswith((".", ")", "`")), f"{key}: its description is a sentence, not {said!r}"
        assert search != "range" or _numeric(field), f"{key}: only numbers have a range"


def _numeric(field: dict[str, Any]) -> bool:
    options = [field, *field.get("anyOf", [])]
    kinds = {
        one.get("type") for one in (*options, *(i for o in options for i in o.get("anyOf", [])))
    }
    return bool(kinds & {"integer", "number"})


def keeps_parameters(params: Params) -> None:
    """Require that parameters survive JSON, never change, and refuse what they do not know."""
    again = type(params)(**json.loads(params.model_dump_json()))
    assert again == params, f"through JSON, {params!r} became {again!r}"
    for key in type(params).model_fields:
        try:
            setattr(params, key, None)
        except ValidationError:
            continue
        raise AssertionError(f"{key} can be changed: parameters are frozen")
    try:
        type(params)(**params.model_dump(), **{"no_such_parameter": 1})
    except ValidationError:
        return
    raise AssertionError("a parameter that does not exist is taken")


def imports_nothing_heavy(program: str) -> None:
    """Require that a program imports no library that takes seconds.

    Args:
        program: Python code, run in a process of its own that finds the modules of this one.
    """
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{program}\nimport sys\nprint(*sorted(set({HEAVY}) & {{*sys.modules}}))",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert ran.returncode == 0, ran.stderr
    assert not ran.stdout.strip(), f"imported outside of a function: {ran.stdout.strip()}"
