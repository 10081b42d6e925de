from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import pytest

from paretune.core.measurement import Measurement
from paretune.core.model import Model, ModelKind
from paretune.models.handle import vocabulary_of
from paretune.targets.worker.measuring import finite, use_threads


def test_a_finite_measurement_stays_as_it_is() -> None:
    measured = Measurement("accuracy", 0.5, "fraction", 0.4, 0.6, 2, "wilson-1", (0.0, 1.0))
    assert finite(measured) is measured


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_no_value(value: float) -> None:
    measured = finite(
        Measurement("perplexity", value, "ratio", value, value, 3, "p-1", (1.0, value))
    )
    assert (measured.value, measured.low, measured.high) == (None, None, None)
    assert measured.reason == f"measured as {value}"
    assert measured.samples == (1.0,)
    assert measured.details == {"non_finite_samples": 1}
    json.dumps(measured.to_json(), allow_nan=False)


def test_an_open_interval_is_none() -> None:
    measured = finite(Measurement("load_s", 1.0, "s", 0.5, math.inf, 1))
    assert (measured.value, measured.low, measured.high) == (1.0, 0.5, None)
    assert measured.reason == "no finite interval"


def test_threads_are_set_without_importing_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Torch:
        threads = 0

        def set_num_threads(self, threads: int) -> None:
            self.threads = threads

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    torch = Torch()
    monkeypatch.setitem(sys.modules, "torch", torch)  # type: ignore[arg-type]
    use_threads(2)
    assert torch.threads == 2
    assert os.environ["OMP_NUM_THREADS"] == "2"
    monkeypatch.delitem(sys.modules, "torch")
    use_threads(3)
    assert "torch" not in sys.modules


def test_the_vocabulary_is_read_from_each_kind(tmp_path: Path) -> None:
    hf, genai = tmp_path / "hf", tmp_path / "genai"
    hf.mkdir()
    genai.mkdir()
    (hf / "config.json").write_text('{"vocab_size": 512}')
    (genai / "genai_config.json").write_text('{"model": {"vocab_size": 99}}')
    base = Model(ModelKind.HF, hf, "d")
    assert vocabulary_of(base) == 512
    assert vocabulary_of(Model(ModelKind.GENAI, genai, "d")) == 99
    assert vocabulary_of(Model(ModelKind.HF_ADAPTER, genai, "d", base)) == 512
