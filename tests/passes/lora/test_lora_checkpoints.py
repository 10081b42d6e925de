"""A training that continues from a checkpoint gives exactly what an uninterrupted one gives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from paretune.core.model import Model
from paretune.passes.lora.lora import Lora, LoraParams
from paretune.passes.lora.qlora import QLora
from paretune.store.artifacts import Store
from paretune.store.checkpoints import StoredCheckpoints
from tests.pass_bench import Bench, FakeCatalog, tone_data

# peft 0.21 asks for a property that transformers 5.23 renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

FAST = {
    "train": "tone.train",
    "r": 4,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "dropout": 0.3,
    "max_steps": 8,
}
HELD_OUT = {"eval_data": "tone.test", "eval_steps": 2}
WAYS: dict[str, dict[str, Any]] = {
    "plain": {"batching": "plain"},
    "length_grouped": {"batching": "length_grouped"},
    "padding_free": {"batching": "padding_free"},
    # 22 examples: epochs of 6 batches, the last one not full; 2 steps each, the last of 2 batches.
    "accumulated": {"gradient_accumulation_steps": 4},
    "epochs": {"max_steps": None, "epochs": 2.5, "lr_scheduler_type": "cosine"},
    "held_out": {**HELD_OUT, "warmup_steps": 3},
    "plateau": {**HELD_OUT, "lr_scheduler_type": "reduce_lr_on_plateau", "use_dora": True},
    "best": {**HELD_OUT, "best_checkpoint": True, "learning_rate": 0.5},
    "selective": {"gradient_checkpointing": "selective", "seed": 3},
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeCatalog({"tone.train": tone_data(22), "tone.test": tone_data(10)}))


class _Asked:
    """Asks a training to end after so many steps, as the worker does for a signal."""

    def __init__(self, after: int) -> None:
        self._left = after

    @contextmanager
    def __call__(self) -> Iterator[Any]:
        yield self._count
        raise InterruptedError

    def _count(self) -> bool:
        self._left -= 1
        return self._left == 0


def _kept(root: Path, **more: Any) -> StoredCheckpoints:
    return StoredCheckpoints(Store(root / "store"), "0" * 64, {"pass": "lora"}, **more)


def _places(root: Path) -> list[int]:
    folder = root / "store" / "checkpoints" / ("0" * 64)
    return sorted(int(path.name) for path in folder.glob("*"))


def _output(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _record(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return record


@pytest.mark.parametrize("way", WAYS)
def test_rungs_and_interruptions_change_nothing(bench: Bench, tiny: Model, way: str) -> None:
    params = {**FAST, **WAYS[way]}
    whole = bench.run(Lora(), tiny, params, "whole")
    length = LoraParams(**params).length
    stop = 2.0 if params["max_steps"] is None else 5
    alone = bench.run(Lora(), tiny, {**params, "stop_at": stop}, "alone")
    asked = _kept(bench.root, ending=_Asked(3))
    with pytest.raises(InterruptedError):
        bench.run(Lora(), tiny, params, "interrupted", checkpoints=asked)
    assert _places(bench.root) == [3]
    first = _kept(bench.root)
    part = bench.run(Lora(), tiny, {**params, "stop_at": stop}, "part", checkpoints=first)
    first.finish()
    assert _output(part) == _output(alone)
    assert first.resumed == pytest.approx(3 / _record(part)["steps"])
    assert _places(bench.root) == [_record(part)["steps"]]
    second = _kept(bench.root)
    rest = bench.run(Lora(), tiny, {**params, "stop_at": length}, "rest", checkpoints=second)
    assert second.resumed == pytest.approx(_record(part)["steps"] / _record(whole)["steps"])
    assert _output(rest) == _output(whole)
    assert "stopped" not in _record(whole)
    assert _record(part)["stopped"]["of"] == _record(whole)["steps"]


def test_a_quantized_base_continues_exactly(bench: Bench, tiny: Model) -> None:
    params = {**FAST, "max_steps": 4}
    whole = bench.run(QLora(), tiny, params, "whole")
    bench.run(QLora(), tiny, {**params, "stop_at": 2}, "part", checkpoints=_kept(bench.root))
    kept = _kept(bench.root)
    rest = bench.run(QLora(), tiny, params, "rest", checkpoints=kept)
    assert kept.resumed == 0.5
    assert _output(rest) == _output(whole)


def test_states_of_the_other_stops_are_kept_in_passing(bench: Bench, tiny: Model) -> None:
    bench.run(Lora(), tiny, FAST, "whole", checkpoints=_kept(bench.root, stops=(2.0, 6.0, 8.0)))
    assert _places(bench.root) == [2, 6]
    alone = bench.run(Lora(), tiny, {**FAST, "stop_at": 6}, "alone")
    kept = _kept(bench.root)
    taken = bench.run(Lora(), tiny, {**FAST, "stop_at": 6}, "taken", checkpoints=kept)
    assert kept.resumed == 1.0
    assert _output(taken) == _output(alone)


def test_periodic_states_replace_each_other_and_go_at_the_end(
    bench: Bench, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paretune.store import checkpoints

    monkeypatch.setattr(checkpoints, "EVERY_S", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    kept = _kept(bench.root)
    bench.run(Lora(), tiny, FAST, "whole", checkpoints=kept)
    assert _places(bench.root) == [7]
    kept.finish()
    assert _places(bench.root) == []


DIVERGING = {**FAST, "eval_data": "tone.test", "eval_steps": 1, "learning_rate": 1.0}


def test_it_ends_early_and_takes_the_best(bench: Bench, tiny: Model) -> None:
    params = {**DIVERGING, "max_steps": 40, "early_stopping_patience": 2}
    last = bench.run(Lora(), tiny, params, "last")
    best = bench.run(Lora(), tiny, {**params, "best_checkpoint": True}, "best")
    record = _record(best)
    measured = {entry["step"]: entry["loss"] for entry in record["held_out"]["losses"]}
    lowest = min(measured, key=lambda step: measured[step])
    end = record["stopped"]["step"]
    assert record["stopped"] == {"step": end, "of": 40, "by": "early_stopping_patience"}
    assert end == max(measured) == lowest + 2 == record["steps"]
    assert record["best_checkpoint"] == {"step": lowest, "held_out_loss": measured[lowest]}
    alone = bench.run(Lora(), tiny, {**params, "stop_at": lowest}, "alone")
    file = "adapter_model.safetensors"
    assert (best / file).read_bytes() == (alone / file).read_bytes()
    assert (best / file).read_bytes() != (last / file).read_bytes()


def test_an_early_end_is_remembered(bench: Bench, tiny: Model) -> None:
    params = {
        **DIVERGING,
        "max_steps": 40,
        "early_stopping_patience": 2,
        "best_checkpoint": True,
    }
    first = bench.run(
        Lora(), tiny, {**params, "stop_at": 30}, "first", checkpoints=_kept(bench.root)
    )
    kept = _kept(bench.root)
    second = bench.run(Lora(), tiny, params, "second", checkpoints=kept)
    assert kept.resumed == _record(first)["steps"] / 40
    assert _output(first) == _output(second)


def _damage(root: Path, how: str) -> None:
    (state,) = (root / "store" / "checkpoints" / ("0" * 64)).iterdir()
    if how == "cut":
        file = state / "state.safetensors"
        file.write_bytes(file.read_bytes()[:-1])
    elif how == "changed":
        file = state / "state.json"
        file.write_text(file.read_text().replace('"step": 4', '"step": 3'))
    elif how == "missing":
        (state / "trainer_state.json").unlink()
    elif how == "moved":
        state.rename(state.with_name("5"))
    else:
        _foreign(state, how)


def _foreign(state: Path, how: str) -> None:
    """Make a checkpoint that is whole, and not of this training."""
    from paretune.store.checkpoints import _digest

    told = json.loads((state / "manifest.json").read_text())
    if how == "key":
        told["key"] = "1" * 64
    else:
        file = state / "state.json"
        rest = json.loads(file.read_text())
        file.write_text(json.dumps({**rest, "device": "cuda"}))
        told["files"]["state.json"] = _digest(file)
    (state / "manifest.json").write_text(json.dumps(told))


@pytest.mark.parametrize("how", ["cut", "changed", "missing", "moved", "key", "device"])
def test_what_is_damaged_or_foreign_is_not_used(bench: Bench, tiny: Model, how: str) -> None:
    params: Mapping[str, Any] = {**FAST, "max_steps": 6}
    whole = bench.run(Lora(), tiny, params, "whole")
    bench.run(Lora(), tiny, {**params, "stop_at": 4}, "part", checkpoints=_kept(bench.root))
    _damage(bench.root, how)
    store = Store(bench.root / "store")
    kept = StoredCheckpoints(store, "0" * 64, {"pass": "lora"})
    again = bench.run(Lora(), tiny, params, "again", checkpoints=kept)
    assert kept.resumed == 0.0
    assert _output(again) == _output(whole)
    assert len(store.faults) == 1
    assert "the checkpoint of lora at" in store.faults[0]
    assert _places(bench.root) == []


def test_an_adapter_of_other_shapes_is_not_used(bench: Bench, tiny: Model) -> None:
    """The store's key excludes it; what is read is checked nevertheless."""
    params: Mapping[str, Any] = {**FAST, "max_steps": 3}
    whole = bench.run(Lora(), tiny, params, "whole")
    other = {**params, "r": 8, "stop_at": 2}
    bench.run(Lora(), tiny, other, "other", checkpoints=_kept(bench.root))
    kept = _kept(bench.root)
    assert _output(bench.run(Lora(), tiny, params, "again", checkpoints=kept)) == _output(whole)
    assert kept.resumed == 0.0


def test_nothing_is_pickled(bench: Bench, tiny: Model) -> None:
    bench.run(Lora(), tiny, {**FAST, "stop_at": 1}, "part", checkpoints=_kept(bench.root))
    (state,) = (bench.root / "store" / "checkpoints" / ("0" * 64)).iterdir()
    assert {file.name for file in state.iterdir()} == {
        "manifest.json",
        "state.json",
        "state.safetensors",
        "trainer_state.json",
    }
