"""Every registered evaluator keeps the contract."""

import json
import subprocess
import sys
from typing import Any

import pytest

from paretune.core.measurement import Measurement, Rung
from paretune.core.model import Model
from paretune.evaluators.base import Evaluator
from paretune.registry import find_evaluator, names
from tests.model_fixtures import Measure

PARAMS: dict[str, dict[str, Any]] = {
    "classification": {"data": "tone.test", "rough_examples": 8},
    "exact_match": {"data": "tone.test", "max_new_tokens": 3, "rough_examples": 8},
    "perplexity": {"data": "wiki", "window": 16},
    "generation": {
        "prompt_tokens": [8, 16],
        "new_tokens": 4,
        "context": [0, 32],
        "cold_start": True,
    },
    "footprint": {"loads": 1},
    "custom": {"function": "tests.evaluators.test_conformance:half", "metric": "half"},
}
OURS = [name for name in names("evaluators") if name in PARAMS]


def half(session: Any, examples: list[Any]) -> float:
    return 0.5


def test_every_evaluator_is_looked_at() -> None:
    assert set(names("evaluators")) - {"readback"} == set(PARAMS)


@pytest.mark.parametrize("name", OURS)
def test_its_declarations(name: str) -> None:
    kind = find_evaluator(name)
    made = kind(kind.Params(**PARAMS[name]))
    assert isinstance(made, Evaluator)
    assert kind.name == name
    assert kind.rungs == tuple(sorted(kind.rungs, key=list(Rung).index))
    assert len({spec.name for spec in made.metrics}) == len(made.metrics) > 0
    for field in kind.Params.model_fields.values():
        assert field.description
        assert isinstance(field.json_schema_extra, dict)
        assert "search" in field.json_schema_extra
    json.dumps(kind.Params.model_json_schema())


@pytest.mark.parametrize("name", OURS)
def test_each_rung_yields_what_is_promised(name: str, measure: Measure, tiny_genai: Model) -> None:
    kind = find_evaluator(name)
    specs = {spec.name: spec for spec in kind(kind.Params(**PARAMS[name])).metrics}
    previous: dict[str, Measurement] = {}
    for rung in kind.rungs:
        found = measure(name, PARAMS[name], tiny_genai, rung, previous, trust_remote_code=True)
        assert found.keys() <= specs.keys()
        for metric, m in found.items():
            assert m.unit == specs[metric].unit
            assert m.protocol
            assert m.value is not None or m.reason
            if m.low is not None and m.value is not None and m.high is not None:
                assert m.low <= m.value <= m.high
            assert Measurement.from_json(json.loads(json.dumps(m.to_json(), allow_nan=False))) == m
        previous = {**previous, **found}
    assert previous.keys() == specs.keys()


def test_declaring_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom paretune.registry import BUILTIN, find_evaluator\n"
        "for name in BUILTIN['evaluators']: find_evaluator(name)\n"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'onnxruntime_genai', 'datasets'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
