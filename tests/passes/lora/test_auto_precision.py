"""`dtype: auto` trains in one of two precisions, exactly as if that one had been given."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from paretune.core.device import TargetInfo
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.progress import Progress
from paretune.passes.lora import auto_precision
from paretune.passes.lora.auto_precision import Seen, decided
from paretune.passes.lora.lora import Lora, LoraParams
from paretune.passes.lora.precision import torch_dtype
from paretune.passes.lora.qlora import QLora, QLoraParams
from paretune.passes.lora.rows import Row
from paretune.runtimes import matrix_products
from paretune.store.artifacts import Store
from paretune.store.checkpoints import StoredCheckpoints
from tests.pass_bench import Bench, FakeCatalog, tone_data

# peft 0.21 asks for a property that transformers 5.23 renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

FAST = {"train": "tone.train", "r": 4, "batch_size": 4, "max_steps": 4, "learning_rate": 1e-2}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeCatalog({"tone.train": tone_data(22), "tone.test": tone_data(10)}))


@pytest.fixture(autouse=True)
def _one_kind_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_products, "one_dnn_gain", lambda: 1.0)


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how many times as fast bf16 is, in a product and in a step; the losses are real.

    They may differ by more than with a model that is not tiny.
    """
    measured = auto_precision._measured
    monkeypatch.setattr(auto_precision, "_SAME_LOSS", 0.1)

    def set_gain(gain: float) -> None:
        def seen(load: Any, dtype: Any, *more: Any) -> Seen:
            found = measured(load, dtype, *more)
            assert found.seconds > 0
            return Seen(1.0 if dtype == "fp32" else 1.0 / gain, found.loss)

        monkeypatch.setattr(auto_precision, "slowness", lambda *_: 1.0 / gain)
        monkeypatch.setattr(auto_precision, "_measured", seen)

    return set_gain


@pytest.mark.parametrize(
    ("fp32", "bf16", "dtype", "why"),
    [
        (Seen(1.0, 2.0), Seen(0.5, 2.009), "bf16", "faster"),
        (Seen(1.0, 2.0), Seen(0.5, 1.991), "bf16", "faster"),
        (Seen(1.0, 2.0), Seen(0.5, 2.011), "fp32", "changes the loss"),
        (Seen(1.0, 2.0), Seen(0.5, 1.98), "fp32", "changes the loss"),
        (Seen(1.0, 2.0), Seen(0.5, math.nan), "fp32", "changes the loss"),
        (Seen(1.0, 2.0), Seen(0.95, 2.0), "fp32", "not faster"),
        (Seen(1.0, 2.0), Seen(34.0, 2.0), "fp32", "not faster"),
    ],
)
def test_it_must_be_faster_and_the_same(fp32: Seen, bf16: Seen, dtype: str, why: str) -> None:
    found, reason = decided([(fp32, bf16)])
    assert found == dtype
    assert why in reason


@pytest.mark.parametrize(
    ("seconds", "dtype"),
    [
        ([(1.0, 0.5)], "bf16"),
        ([(1.0, 1.5)], "fp32"),
        ([(1.0, 0.95), (1.0, 0.6), (1.0, 0.7)], "bf16"),  # the machine was slow for a while
        ([(1.0, 0.85), (1.0, 0.95), (1.0, 0.98)], "fp32"),
    ],
    ids=str,
)
def test_times_that_are_near_each_other_are_measured_again_in_turns(
    monkeypatch: pytest.MonkeyPatch, seconds: list[tuple[float, float]], dtype: str
) -> None:
    asked: list[str] = []

    def seen(load: Any, precision: str, *_: Any) -> Seen:
        asked.append(precision)
        return Seen(seconds[(len(asked) - 1) // 2][precision == "bf16"], 2.0)

    monkeypatch.setattr(auto_precision, "slowness", lambda *_: 0.5)
    monkeypatch.setattr(auto_precision, "_measured", seen)
    found, _ = auto_precision.choose(pytest.fail, [Row((1, 2, 3), 1)], pytest.fail)
    assert found == dtype
    assert asked == ["fp32", "bf16"] * len(seconds)


@pytest.mark.parametrize(("gain", "dtype"), [(2.0, "bf16"), (1.0, "fp32")])
@pytest.mark.parametrize("made", [Lora, QLora])
def test_it_is_the_same_training_as_with_that_precision(
    bench: Bench,
    tiny: Model,
    faster: Callable[[float], None],
    made: Callable[[], Any],
    gain: float,
    dtype: str,
) -> None:
    faster(gain)
    told: list[Progress] = []
    auto = bench.run(made(), tiny, {**FAST, "dtype": "auto"}, "auto", progress=told.append)
    given = bench.run(made(), tiny, {**FAST, "dtype": dtype}, "given")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (auto / name).read_bytes() == (given / name).read_bytes()
    record, other = (json.loads((out / "training.json").read_text()) for out in (auto, given))
    assert record.pop("dtype") == dtype
    other.pop("precision_note"), record.pop("precision_note")
    assert record == other
    assert [p.note for p in told if (p.note or "").startswith(f"{dtype}: bf16 is ")]


def test_it_really_measures(bench: Bench, tiny: Model) -> None:
    out = bench.run(Lora(), tiny, {**FAST, "dtype": "auto"}, "auto")
    assert json.loads((out / "training.json").read_text())["dtype"] in ("fp32", "bf16")


def test_where_one_product_is_not_faster_no_network_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auto_precision, "slowness", lambda *_: 34.0)
    rows = [Row((1, 2, 3), 1)]
    dtype, why = auto_precision.choose(pytest.fail, rows, lambda network: pytest.fail("a batch"))
    assert (dtype, why) == ("fp32", "bf16 is not faster on this device")


def test_a_continued_training_keeps_the_precision(
    bench: Bench, tiny: Model, faster: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> StoredCheckpoints:
        return StoredCheckpoints(Store(bench.root / "store"), "0" * 64, {"pass": "lora"})

    params = {**FAST, "dtype": "auto"}
    faster(2.0)
    whole = bench.run(Lora(), tiny, params, "whole")
    bench.run(Lora(), tiny, {**params, "stop_at": 2}, "part", checkpoints=kept())
    monkeypatch.setattr(auto_precision, "choose", lambda *_: pytest.fail("measured again"))
    second = kept()
    rest = bench.run(Lora(), tiny, params, "rest", checkpoints=second)
    assert second.resumed == 0.5
    for path in whole.iterdir():
        assert (rest / path.name).read_bytes() == path.read_bytes(), path.name


def test_training_on_rounded_weights_is_in_fp32(
    bench: Bench, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_precision, "choose", lambda *_: pytest.fail("measured"))
    params = {**FAST, "quantize_for": {"bits": 4}}
    auto = bench.run(Lora(), tiny, {**params, "dtype": "auto"}, "auto")
    given = bench.run(Lora(), tiny, params, "given")
    file = "adapter_model.safetensors"
    assert (auto / file).read_bytes() == (given / file).read_bytes()
    assert json.loads((auto / "training.json").read_text())["dtype"] == "fp32"


@pytest.mark.parametrize("params", [LoraParams, QLoraParams])
def test_nothing_is_told_of_a_precision_that_is_only_taken_where_it_is_fast(params: Any) -> None:
    assert "bf16" not in params(train="tone.train", dtype="auto").precisions()
    assert "auto" not in params(train="tone.train", dtype="auto").precisions()


def test_memory_is_for_fp32_which_is_tried_first(tiny: Model) -> None:
    info = ModelInfo(
        kind=ModelKind.HF,
        parameters=135_000_000,
        layers=30,
        hidden_size=576,
        vocab_size=49152,
        tied=True,
        precision="fp32",
    )
    peaks = {
        dtype: Lora()
        .estimate(info, LoraParams(train="tone.train", dtype=dtype), TargetInfo(name="local"))
        .peak_memory
        for dtype in ("fp32", "auto", "bf16")
    }
    assert peaks["auto"] == peaks["fp32"]


@pytest.mark.parametrize(
    ("row", "learned"),
    [
        (Row(tuple(range(10)), 8), [(2, 4)]),  # an answer at the end
        (Row(tuple(range(10)), 1), [(1, 4)]),  # all of a text
        (Row(tuple(range(10)), 2, ((2, 4), (7, 9))), [(1, 3)]),  # turns, one of them cut away
        (Row(tuple(range(10)), 5, ((5, 7), (9, 10))), [(3, 4)]),  # one would begin at its start
        (Row((1, 2, 3), 1), [(1, 3)]),  # short enough
    ],
)
def test_long_rows_are_cut_in_front(row: Row, learned: Sequence[tuple[int, int]]) -> None:
    cut = auto_precision._end_of(row, 4)
    assert cut.ids == row.ids[-4:]
    assert list(cut.learned) == list(learned)
    before = {row.ids[place] for begin, end in row.learned for place in range(begin, end)}
    after = {cut.ids[place] for begin, end in cut.learned for place in range(begin, end)}
    assert after <= before


def test_some_rows_are_taken_from_everywhere() -> None:
    rows = [Row(tuple(range(n, n + 10)), 5) for n in range(100)]
    some = auto_precision._some(rows, 100)
    assert [row.ids[0] for row in some] == list(range(0, 100, 10))
    assert len(auto_precision._some(rows[:3], 1000)) == 3
    assert [len(row.ids) for row in auto_precision._some(rows, 4)] == [4]
    parts = auto_precision._parts(rows)
    assert sorted(row.ids for part in parts for row in part) == sorted(row.ids for row in rows)
    assert all(sum(len(row.ids) for row in part) <= 256 for part in parts)
    assert torch_dtype("bf16") is not None
