"""A training that continues from a checkpoint gives exactly what an uninterrupted one gives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from paretune.core.estimate import DataSize
from paretune.core.jsontools import digest
from paretune.core.model import Model, ModelInfo
from paretune.passes.lora import rounding, trainer
from paretune.passes.lora.lora import Lora, LoraParams
from paretune.passes.lora.qlora import QLora, QLoraParams
from paretune.runtimes import matrix_products
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
# 22 examples: epochs of 6 batches, the last one not full.
WAYS: dict[str, dict[str, Any]] = {
    "plain": {"batching": "plain", **HELD_OUT, "lr_scheduler_type": "reduce_lr_on_plateau"},
    "padding_free": {"batching": "padding_free", "use_dora": True, "warmup_steps": 3},
    # Steps of 4 batches and of the 2 that are left; 5 steps in 2.5 epochs.
    "length_grouped": {
        "max_steps": None,
        "epochs": 2.5,
        "lr_scheduler_type": "cosine",
        "gradient_accumulation_steps": 4,
    },
    "rounded": {"quantize_for": {"bits": 4}, "dropout": 0.0, **HELD_OUT},
    "distilled": {
        "quantize_for": {"bits": 4},
        "distill": True,
        "dropout": 0.0,
        "gradient_checkpointing": "selective",
    },
    "best": {**HELD_OUT, "best_checkpoint": True, "gradient_checkpointing": "selective"},
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeCatalog({"tone.train": tone_data(22), "tone.test": tone_data(10)}))


@pytest.fixture(autouse=True)
def _one_kind_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which library is quicker is timed, and may come out differently on a busy machine."""
    monkeypatch.setattr(matrix_products, "one_dnn_gain", lambda: 1.0)


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
    stop = 2.0 if params["max_steps"] is None else 5
    asked = _kept(bench.root, ending=_Asked(3))
    with pytest.raises(InterruptedError):
        bench.run(Lora(), tiny, params, "interrupted", checkpoints=asked)
    assert _places(bench.root) == [3]
    first = _kept(bench.root)
    part = bench.run(Lora(), tiny, {**params, "stop_at": stop}, "part", checkpoints=first)
    first.finish()
    steps = _record(part)["steps"]
    assert first.resumed == pytest.approx(3 / steps)
    assert _places(bench.root) == [steps]
    second = _kept(bench.root)
    rest = bench.run(Lora(), tiny, params, "rest", checkpoints=second)
    assert second.resumed == pytest.approx(steps / _record(whole)["steps"])
    assert _output(rest) == _output(whole)
    assert "stopped" not in _record(whole)
    assert _record(part)["stopped"] == {
        "step": steps,
        "of": _record(whole)["steps"],
        "by": "stop_at",
    }
    assert _record(part)["losses"] == _record(whole)["losses"][:steps]


def test_a_quantized_base_continues_exactly(bench: Bench, tiny: Model) -> None:
    params = {**FAST, "max_steps": 4}
    whole = bench.run(QLora(), tiny, params, "whole")
    bench.run(QLora(), tiny, {**params, "stop_at": 2}, "part", checkpoints=_kept(bench.root))
    kept = _kept(bench.root)
    rest = bench.run(QLora(), tiny, params, "rest", checkpoints=kept)
    assert kept.resumed == 0.5
    assert _output(rest) == _output(whole)


def test_matrices_are_multiplied_as_at_the_beginning(
    bench: Bench, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    products: list[str] = []

    def by_one_dnn(*of: Any) -> Any:
        products.append("oneDNN")
        return own(*of)

    own = matrix_products._product
    monkeypatch.setattr(matrix_products, "_product", by_one_dnn)
    params = {**FAST, "max_steps": 4}
    bench.run(Lora(), tiny, params, "plain")
    assert not products
    with monkeypatch.context() as patch:
        patch.setattr(matrix_products, "one_dnn_gain", lambda: 9.0)
        whole = bench.run(Lora(), tiny, params, "whole")
        bench.run(Lora(), tiny, {**params, "stop_at": 2}, "part", checkpoints=_kept(bench.root))
    products.clear()
    rest = bench.run(Lora(), tiny, params, "rest", checkpoints=_kept(bench.root))
    assert products
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


class _BegunError(Exception):
    pass


@pytest.mark.parametrize("more", [{}, {"quantize_for": {"bits": 4}, "dropout": 0.0}], ids=str)
def test_a_checkpoint_is_looked_at_where_the_training_runs(
    bench: Bench, tiny: Model, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    """A state goes by the device; so does what is rounded before the Trainer moves anything."""
    steps: list[str] = []

    def to(module: Any, *where: Any, **_: Any) -> Any:
        steps.extend(["moved"] if where == ("cuda",) else [])
        return module

    def round_weights(*_: Any) -> None:
        steps.append("rounded")

    def train(*_: Any) -> None:
        steps.append("begun")
        raise _BegunError

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.nn.Module, "to", to)
    monkeypatch.setattr(rounding, "round_weights", round_weights)
    monkeypatch.setattr(trainer, "train", train)
    with pytest.raises(_BegunError):
        bench.run(Lora(), tiny, {**FAST, **more}, "on a GPU")
    assert steps == ["moved", *(["rounded"] if more else []), "begun"]


def test_nothing_is_pickled(bench: Bench, tiny: Model) -> None:
    bench.run(Lora(), tiny, {**FAST, "stop_at": 1}, "part", checkpoints=_kept(bench.root))
    (state,) = (bench.root / "store" / "checkpoints" / ("0" * 64)).iterdir()
    assert {file.name for file in state.iterdir()} == {
        "manifest.json",
        "state.json",
        "state.safetensors",
        "trainer_state.json",
    }


KEYS = (
    "sha256:28bd80b073bbd52bcf97adb2e9566d13ad83ecce750891ec58350692da018631",
    "sha256:d9ab120b26e3c03e9474d8e52373523c58df6c7409c30470d5791d5379524706",
)


def test_keys_of_trainings_without_a_stop_are_what_they_were() -> None:
    """The parameters as they are part of a key; the digests are those of before."""
    for kind, known in ((LoraParams, KEYS[0]), (QLoraParams, KEYS[1])):
        params = kind(train="tone.train")
        assert digest(params.model_dump(mode="json")) == known
        given = {"early_stopping_patience": None, "best_checkpoint": False}
        same = kind(train="tone.train", epochs=3, stop_at=3, **given)
        assert same.model_dump(mode="json") == kind(train="tone.train", epochs=3).model_dump()
        stopped = kind(train="tone.train", epochs=3, stop_at=1)
        assert stopped.model_dump(mode="json")["stop_at"] == 1
        assert kind(**json.loads(stopped.model_dump_json())) == stopped


def test_an_estimate_is_of_the_part_up_to_the_stop() -> None:
    model = ModelInfo(
        "hf", parameters=10**8, layers=10, hidden_size=512, vocab_size=1000, tied=True
    )
    target: Any = None
    for steps in ({"max_steps": 1000}, {"epochs": 10}):
        whole, half = (
            LoraParams(train="d", **steps, **more)
            for more in ({}, {"stop_at": next(iter(steps.values())) // 2})
        )
        times = [
            Lora().seconds_on(model, each, target, lambda ref: DataSize(100, 10_000))
            for each in (whole, half)
        ]
        assert times[0] is not None
        assert times[1] is not None
        assert times[1] - 1 == pytest.approx((times[0] - 1) / 2)
        assert Lora().resumable(half) == (whole, 0.5)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"max_steps": 10, "stop_at": 11}, "stop_at is 11 steps, and the training's whole"),
        ({"max_steps": 10, "stop_at": 2.5}, "2.5 is not a whole number"),
        ({"stop_at": 1.5}, "stop_at is 1.5 epochs, and the training's whole length is 1"),
        ({"stop_at": 0}, "greater than 0"),
        ({"best_checkpoint": True, "eval_data": "x"}, "best_checkpoint goes by the held-out loss"),
        ({"early_stopping_patience": 2}, "early_stopping_patience goes by the held-out loss"),
    ],
)
def test_what_cannot_be_is_refused(params: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LoraParams(train="tone.train", **params)
