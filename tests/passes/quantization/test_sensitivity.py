"""The pass `sensitivity`: a copy of the model, and what each matrix's rounding costs beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from paretune.core.candidate import Step
from paretune.core.errors import PassError
from paretune.core.model import Model, ModelKind
from paretune.models.handle import inspect
from paretune.passes.quantization.sensitivity import SensitivityParams, SensitivityPass
from paretune.passes.quantization.sensitivity_file import FILE, Sensitivity, measured_grid
from paretune.testing.passes import TARGET, check_pass, example
from tests.pass_bench import Bench, FakeCatalog, FakeDataset


def test_it_is_a_copy_with_a_file_more(bench: Bench, tiny: Model) -> None:
    out = bench.run(SensitivityPass(), tiny, {}, "own")
    before = {file.name: file.read_bytes() for file in tiny.path.iterdir()}
    after = {file.name: file.read_bytes() for file in out.iterdir()}
    found = Sensitivity.read(out)
    assert after.pop(FILE)
    assert after == before
    assert (out / "model.safetensors").stat().st_nlink == 1
    details = bench.contexts["own"].details
    assert details["tokens"] == found.tokens > 1000
    assert "all of 16 matrices at 4 bits" in details["summary"]
    assert inspect(out).parameters == inspect(tiny.path).parameters


def test_texts_and_grid_count_and_the_same_input_gives_the_same(bench: Bench, tiny: Model) -> None:
    texts = {"data": "tone.train", "examples": 3, "max_length": 12}
    runs: dict[str, dict[str, Any]] = {
        "one": texts,
        "two": texts,
        "grid": {**texts, "rounded_to": {"block_size": 16}},
        "fewer": {**texts, "examples": 2},
    }
    found = {n: Sensitivity.read(bench.run(SensitivityPass(), tiny, p, n)) for n, p in runs.items()}
    assert found["one"] == found["two"]
    assert found["one"].tokens == 3 * 11
    assert found["fewer"].tokens == 2 * 11
    assert found["grid"].block_size == 16
    assert found["grid"].derivatives != found["one"].derivatives


def test_texts_without_two_tokens_are_refused(tmp_path: Path, tiny: Model) -> None:
    empty = Bench(tmp_path, FakeCatalog({"tone.train": FakeDataset(())}))
    with pytest.raises(PassError, match=r"sensitivity: no text of 'tone\.train' has two tokens"):
        empty.run(SensitivityPass(), tiny, {"data": "tone.train"}, "none")


def test_next_is_the_grid_of_the_genai_that_follows() -> None:
    ahead = SensitivityPass().look_ahead
    step = Step("genai", {"precision": "int4", "block_size": 64, "is_symmetric": False})
    found = ahead({"rounded_to": "next"}, [step])
    default = {"algorithm": "default"}
    assert found == {"rounded_to": {"block_size": 64, "is_symmetric": False, **default}}
    gptq = Step("genai", {"precision": "int4", "algorithm": "gptq"})
    assert ahead({"rounded_to": "next"}, [gptq]) == {
        "rounded_to": {"block_size": 32, "is_symmetric": True, "algorithm": "gptq"}
    }
    assert ahead({"rounded_to": "next"}, [Step("genai", {"precision": "fp32"})]) == {
        "rounded_to": {"block_size": 32, "is_symmetric": True, **default}
    }
    assert ahead({"examples": 3}, [step]) == {"examples": 3}
    assert ahead({"rounded_to": "next"}, [Step("merge", {}), step]) == (
        "rounded_to: next: expected `genai` as the next pass, found merge"
    )
    assert "found none" in str(ahead({"rounded_to": "next"}, []))
    assert "are refused" in str(ahead({"rounded_to": "next"}, [Step("genai", {"r": 1})]))


def test_next_alone_is_refused(bench: Bench, tiny: Model) -> None:
    with pytest.raises(PassError, match="there is no recipe"):
        bench.run(SensitivityPass(), tiny, {"rounded_to": "next"}, "next")


def test_what_it_cannot_measure_is_refused() -> None:
    model, params = example(ModelKind.HF), SensitivityParams()
    check = SensitivityPass().check
    assert check(model, params, TARGET, "cpu") is None
    other = replace(model, model_type="gemma2")
    assert "'gemma2'" in str(check(other, params, TARGET, "cpu"))
    assert check(replace(model, quantized="gptq"), params, TARGET, "cpu") is not None
    with pytest.raises(ValidationError):
        SensitivityParams(rounded_to={"block_size": 33})


def test_genai_can_tell_what_was_measured() -> None:
    model = example(ModelKind.HF)
    assert measured_grid(model) is None
    found = SensitivityPass().predict(model, SensitivityParams())
    assert measured_grid(found) == {
        "block_size": 32,
        "is_symmetric": True,
        "algorithm": "default",
    }


def test_it_keeps_what_passes_promise(tiny: Model) -> None:
    check_pass("sensitivity", {"max_length": 16}, model=tiny.path)
