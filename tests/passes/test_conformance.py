"""What every pass in the registry keeps to, other packages' passes included."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from paretune.core.device import TargetInfo
from paretune.core.estimate import Estimate
from paretune.core.model import ModelInfo, ModelKind
from paretune.core.params import Params
from paretune.passes.base import Pass
from paretune.registry import find_pass, names

PASSES = names("passes")
TARGET = TargetInfo("local", cores=2, memory=16 << 30, memory_free=8 << 30)
# What a test fills in where a parameter has no default.
REQUIRED = {"train": "tone.train"}
# What the parent must not import to check a configuration.
HEAVY = ("torch", "transformers", "peft", "onnx", "onnxruntime", "onnxruntime_genai", "datasets")


def _params(pass_: Pass) -> Any:
    needed = pass_.Params.model_json_schema().get("required", [])
    return pass_.Params(**{name: REQUIRED[name] for name in needed})


def _info(kind: ModelKind) -> ModelInfo:
    return ModelInfo(
        kind,
        model_type="llama",
        bytes=538_000_000,
        parameters=134_515_008,
        hidden_size=576,
        layers=30,
        vocab_size=49152,
        head_dim=64,
        tied=True,
        modules=frozenset({"q_proj", "k_proj", "v_proj", "o_proj"}),
    )


@pytest.mark.parametrize("name", PASSES)
def test_declarations(name: str) -> None:
    pass_ = find_pass(name)
    assert isinstance(pass_, Pass)
    assert pass_.name == name
    assert pass_.version >= 1
    assert pass_.accepts
    assert all(isinstance(kind, ModelKind) for kind in (*pass_.accepts, pass_.produces))
    assert issubclass(pass_.Params, Params)
    assert all(isinstance(package, str) for package in pass_.packages)
    assert isinstance(pass_.provider_matters, bool)
    assert isinstance(pass_.trains, bool)
    assert (type(pass_).__doc__ or "").strip()


@pytest.mark.parametrize("name", PASSES)
def test_parameters_are_documented_and_json(name: str) -> None:
    pass_ = find_pass(name)
    schema = pass_.Params.model_json_schema()
    json.dumps(schema, allow_nan=False)
    assert schema["additionalProperties"] is False
    for key, field in schema.get("properties", {}).items():
        assert field.get("description", "").endswith((".", ")", "`")), key
        assert field.get("search") in ("range", "choice", "none"), key
        if field["search"] == "range":
            assert _numeric(field), f"{key}: only numbers have a range"


def _numeric(field: dict[str, Any]) -> bool:
    kinds = {field.get("type"), *(one.get("type") for one in field.get("anyOf", []))}
    return bool(kinds & {"integer", "number"})


@pytest.mark.parametrize("name", PASSES)
def test_parameters_survive_json_and_never_change(name: str) -> None:
    params = _params(find_pass(name))
    again = type(params)(**json.loads(params.model_dump_json()))
    assert again == params
    for key in type(params).model_fields:
        with pytest.raises(ValueError, match="frozen"):
            setattr(params, key, None)
    with pytest.raises(ValueError, match="no_such_parameter"):
        type(params)(**params.model_dump(), no_such_parameter=1)


@pytest.mark.parametrize("name", PASSES)
def test_defaults_can_run(name: str) -> None:
    pass_ = find_pass(name)
    params = _params(pass_)
    for kind in pass_.accepts:
        assert pass_.check(_info(kind), params, TARGET, "cpu") is None
        predicted = pass_.predict(_info(kind), params)
        assert predicted.kind is pass_.produces
        json.dumps(dict(predicted.built_with), allow_nan=False)


@pytest.mark.parametrize("name", PASSES)
def test_estimates(name: str) -> None:
    pass_ = find_pass(name)
    for kind in pass_.accepts:
        unknown = pass_.estimate(ModelInfo(kind), _params(pass_), TARGET)
        known = pass_.estimate(_info(kind), _params(pass_), TARGET)
        for estimate in (unknown, known):
            assert isinstance(estimate, Estimate)
            for figure in (estimate.bytes_out, estimate.peak_memory, estimate.seconds):
                assert figure is None or figure >= 0
        # SmolLM2 goes through every pass of ours with less than 8 GB.
        assert known.peak_memory is None or known.peak_memory < 8e9


@pytest.mark.parametrize("name", PASSES)
def test_parent_imports_nothing_heavy(name: str) -> None:
    program = f"""
import sys
from paretune.core.model import ModelInfo
from paretune.registry import find_pass
from paretune.core.device import TargetInfo
pass_ = find_pass({name!r})
needed = pass_.Params.model_json_schema().get("required", [])
params = pass_.Params(**{{name: {REQUIRED!r}[name] for name in needed}})
for kind in pass_.accepts:
    info = ModelInfo(kind, parameters=1000, hidden_size=64, layers=2)
    pass_.check(info, params, TargetInfo("local"), "cpu")
    pass_.estimate(info, params, TargetInfo("local"))
    pass_.predict(info, params)
print(sorted(set({HEAVY!r}) & sys.modules.keys()))
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", PASSES)
def test_data_that_is_read_is_declared(name: str) -> None:
    pass_ = find_pass(name)
    params = _params(pass_)
    train = getattr(params, "train", "")  # may be left out, as a fake pass does
    given = (train,) if train else ()
    assert pass_.data(params) == given
