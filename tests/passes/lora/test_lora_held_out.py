"""What is measured while an adapter is trained, and that measuring it changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paretune.core.errors import PassError
from paretune.core.model import Model
from paretune.core.progress import Progress
from paretune.data.corpus import CorpusSpec
from paretune.passes.lora.lora import Lora, LoraParams
from paretune.passes.lora.rows import Row, hold_out
from tests.pass_bench import Bench, FakeCatalog, FakeDataset, FakeExample, tone_data

# peft 0.21 asks for a property that transformers 5.23 renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

FAST = {"train": "tone.train", "r": 4, "max_steps": 4, "batch_size": 4, "learning_rate": 1e-2}


@pytest.fixture
def two_sets(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeCatalog({"tone.train": tone_data(), "tone.test": tone_data(10)}))


def _record(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return record


def _steps(losses: list[dict[str, Any]]) -> list[int]:
    return [entry["step"] for entry in losses]


@pytest.mark.parametrize(
    ("eval_steps", "measured"), [(None, [4]), (1, [1, 2, 3, 4]), (3, [3, 4]), (9, [4])]
)
def test_held_out_loss_is_measured_when_asked_and_at_the_end(
    two_sets: Bench, tiny: Model, eval_steps: int | None, measured: list[int]
) -> None:
    seen: list[Progress] = []
    params = {**FAST, "eval_data": "tone.test", "eval_steps": eval_steps}
    held_out = _record(two_sets.run(Lora(), tiny, params, "held", seen.append))["held_out"]
    assert held_out["examples"] == 10
    assert _steps(held_out["losses"]) == measured
    assert sum(p.note.startswith("held-out loss") for p in seen) == len(measured)


def test_measuring_changes_nothing(two_sets: Bench, tiny: Model) -> None:
    """Dropout draws random numbers; a measurement in between draws none."""
    params = {**FAST, "dropout": 0.2}
    plain = two_sets.run(Lora(), tiny, params, "plain")
    watched = two_sets.run(
        Lora(), tiny, {**params, "eval_data": "tone.test", "eval_steps": 1}, "watched"
    )
    file = "adapter_model.safetensors"
    assert (plain / file).read_bytes() == (watched / file).read_bytes()
    assert _record(plain)["held_out"] is None


@pytest.mark.parametrize("batching", ["plain", "padding_free"])
def test_held_out_loss_does_not_depend_on_its_batches(
    two_sets: Bench, tiny: Model, batching: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paretune.passes.lora import trainer as adapter_trainer

    sizes: list[int] = []
    plain = adapter_trainer.collator

    def watched(*args: Any) -> Any:
        collate = plain(*args)
        return lambda rows: (sizes.append(len(rows)), collate(rows))[1]

    monkeypatch.setattr(adapter_trainer, "collator", watched)
    params = {**FAST, "batching": batching, "eval_data": "tone.test", "loss_on": "all"}
    losses = []
    for size, batches in ((1, [1] * 10), (4, [4, 4, 2]), (None, [4, 4, 2]), (10, [10])):
        sizes.clear()
        out = two_sets.run(Lora(), tiny, {**params, "eval_batch_size": size}, f"by-{size}")
        assert sizes[-len(batches) :] == batches
        losses.append(_record(out)["held_out"]["losses"][0]["loss"])
    assert losses == pytest.approx([losses[0]] * 4, abs=2e-4)


def test_held_out_loss_is_the_mean_over_tokens(two_sets: Bench, tiny: Model) -> None:
    """Without a step that changes anything, it is the base's own loss."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from paretune.passes.lora.rows import encode

    params = {**FAST, "learning_rate": 1e-30, "max_steps": 1, "eval_data": "tone.test"}
    found = _record(two_sets.run(Lora(), tiny, params, "base"))["held_out"]
    network = AutoModelForCausalLM.from_pretrained(tiny.path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny.path)
    rows, _ = encode(tokenizer, tone_data(10), "t", LoraParams(train="t"))
    losses = []
    for row in rows:
        with torch.no_grad():
            scores = network(torch.tensor([row.ids])).logits[0].log_softmax(-1)
        losses += [-float(scores[i - 1, row.ids[i]]) for i in range(row.start, len(row.ids))]
    assert found["tokens"] == len(losses)
    assert found["losses"][0]["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)


@pytest.mark.parametrize(("size", "count"), [(0.25, 6), (0.3, 8), (5, 5)])
def test_rows_are_held_out_of_the_training_data(
    two_sets: Bench, tiny: Model, size: float, count: int
) -> None:
    record = _record(two_sets.run(Lora(), tiny, {**FAST, "eval_dataset_size": size}, "part"))
    assert record["held_out"]["examples"] == count
    assert record["examples"] == 24 - count


def test_which_rows_are_held_out_follows_the_seed() -> None:
    rows = [Row((i, i), 1) for i in range(20)]
    kept, taken = hold_out(rows, 0.3, 0)
    assert len(taken) == 6
    assert sorted((*kept, *taken), key=lambda row: row.ids) == rows
    assert kept == sorted(kept, key=lambda row: row.ids)
    assert hold_out(rows, 0.3, 0) == (kept, taken)
    assert hold_out(rows, 0.3, 1)[1] != taken


def test_holding_everything_out_is_refused() -> None:
    with pytest.raises(PassError, match="leaves none of 3 examples") as caught:
        hold_out([Row((1, 2), 1)] * 3, 3, 0)
    assert "at most 2" in str(caught.value)


def test_data_seed_is_the_seed_unless_it_is_given(two_sets: Bench, tiny: Model) -> None:
    def adapter(name: str, **params: Any) -> bytes:
        out = two_sets.run(Lora(), tiny, {**FAST, "eval_dataset_size": 0.5, **params}, name)
        return (out / "adapter_model.safetensors").read_bytes()

    assert adapter("one", seed=3) == adapter("two", seed=3, data_seed=3)
    assert adapter("three", seed=3, data_seed=4) != adapter("one-again", seed=3)


@pytest.mark.parametrize("batching", ["plain", "padding_free"])
def test_data_seed_orders_every_way_to_make_batches(
    two_sets: Bench, tiny: Model, batching: str
) -> None:
    first, second = (
        two_sets.run(Lora(), tiny, {**FAST, "batching": batching, "data_seed": seed}, f"of-{seed}")
        for seed in (1, 2)
    )
    assert _record(first)["losses"] != _record(second)["losses"]


def test_losses_are_told_by_steps_and_lose_none(two_sets: Bench, tiny: Model) -> None:
    seen: list[Progress] = []
    each = _record(two_sets.run(Lora(), tiny, FAST, "each"))["losses"]
    params = {**FAST, "logging_steps": 3}
    record = _record(two_sets.run(Lora(), tiny, params, "threes", seen.append))
    assert _steps(each) == [1, 2, 3, 4]
    assert _steps(record["losses"]) == [3, 4]
    mean = sum(entry["loss"] for entry in each[:3]) / 3
    assert record["losses"][0]["loss"] == pytest.approx(mean, abs=1e-4)
    assert record["losses"][1] == each[3]
    assert record["steps"] == 4
    assert [p.done for p in seen if p.note.startswith("loss")] == [3, 4]


def test_learning_rate_falls_on_a_plateau(tmp_path: Path, tiny: Model) -> None:
    """Of other answers the loss only rises; the Trainer waits for ten measurements without gain."""
    other = FakeDataset((FakeExample("### Text: sun\n", "%$#@&=_", 0),))
    bench = Bench(tmp_path, FakeCatalog({"tone.train": tone_data(), "tone.other": other}))
    params = {**FAST, "max_steps": 16, "eval_data": "tone.other", "eval_steps": 1}
    falling, constant = (
        bench.run(Lora(), tiny, {**params, "lr_scheduler_type": kind}, kind)
        for kind in ("reduce_lr_on_plateau", "constant")
    )
    first, second = (_record(folder)["held_out"]["losses"] for folder in (falling, constant))
    assert first[:11] == second[:11]
    assert first[-1] != second[-1]


def test_a_corpus_trains_on_whole_sequences(tmp_path: Path, tiny: Model) -> None:
    """Texts joined to as many tokens as the context holds, one a batch."""
    words = ("the quick brown fox", "a lovely day", "numbers 0123456789", "the dark house")
    examples = tuple(FakeExample("", " ".join(words[i % 4 :]), i) for i in range(80))
    corpus = CorpusSpec(strategy="join", max_length=256)
    catalog = FakeCatalog({"tone.train": FakeDataset(examples, corpus=corpus)})
    params = {
        "train": "tone.train",
        "r": 4,
        "batch_size": 1,
        "max_steps": 4,
        "learning_rate": 2e-2,
        "gradient_accumulation_steps": 2,
    }
    record = _record(Bench(tmp_path, catalog).run(Lora(), tiny, params, "corpus"))
    assert record["examples"] >= 4
    assert record["tokens"] == 256 * record["examples"]
    assert record["losses"][-1]["loss"] < record["losses"][0]["loss"]


def test_a_sequence_beyond_the_context_is_told(tmp_path: Path, tiny: Model) -> None:
    examples = tuple(FakeExample("", "some words again " * 20, i) for i in range(20))
    data = FakeDataset(examples, corpus=CorpusSpec(max_length=300))
    bench = Bench(tmp_path, FakeCatalog({"tone.train": data}))
    with pytest.raises(PassError, match="300 tokens, and the model's context holds 256"):
        bench.run(Lora(), tiny, FAST, "long")


def test_a_corpus_too_short_for_a_sequence_is_told(tmp_path: Path, tiny: Model) -> None:
    data = FakeDataset((FakeExample("", "short", 0),), corpus=CorpusSpec(max_length=2048))
    bench = Bench(tmp_path, FakeCatalog({"tone.train": data}))
    with pytest.raises(PassError, match=r"'tone.train' makes no sequence of 2048 tokens"):
        bench.run(Lora(), tiny, FAST, "short")


def test_both_data_sets_are_declared() -> None:
    params = LoraParams(train="a", eval_data="b")
    assert Lora().data(params) == ("a", "b")


def test_the_report_gets_the_learning_curves(two_sets: Bench, tiny: Model) -> None:
    params = {**FAST, "max_steps": 120, "eval_data": "tone.test", "eval_steps": 1}
    out = two_sets.run(Lora(), tiny, params, "curves")
    record = json.loads((out / "training.json").read_text())
    told = two_sets.contexts["curves"].details
    lines = told["curves"]["lines"]
    assert [step for step, _ in lines["training loss"]] == list(range(2, 121, 2))
    pairs = [record["losses"][n : n + 2] for n in range(0, 120, 2)]
    for (_, mean), pair in zip(lines["training loss"], pairs, strict=True):
        assert mean == pytest.approx(sum(entry["loss"] for entry in pair) / 2, abs=1e-4)
    assert lines["held-out loss"] == [
        [entry["step"], entry["loss"]] for entry in record["held_out"]["losses"][1::2]
    ]
    assert lines["held-out loss"][-1][0] == 120
    assert "120 steps on 24 examples" in told["summary"]
    assert f"held-out loss {record['held_out']['losses'][-1]['loss']:.4g}" in told["summary"]
