from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from safetensors import safe_open

from paretune.core.device import TargetInfo
from paretune.core.errors import PassError
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.progress import Progress
from paretune.data.catalog import Example
from paretune.models.handle import inspect
from paretune.passes.lora.lora import Lora, LoraParams
from paretune.passes.lora.rows import (
    IGNORED,
    LengthGrouped,
    Row,
    encode,
    joined,
    left_padded,
)
from tests.pass_bench import Bench, FakeCatalog, tone_data

# peft 0.21 asks for a property that transformers 5.23 renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

TARGET = TargetInfo("local")
FAST = {"train": "tone.train", "r": 4, "max_steps": 2, "batch_size": 4}


def _network(model: Model) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32).eval()


ROWS = (
    Row((1, 40, 41, 42, 43, 7, 8, 2), 5),
    Row((1, 50, 9, 2), 2),
    Row((1, 60, 61, 62, 63, 64, 65, 66, 67, 10, 2), 9),
)


def _reference_loss(network: Any, rows: tuple[Row, ...]) -> float:
    """One row at a time, every logit, nothing padded: what the loss means."""
    import torch

    total, count = 0.0, 0
    for row in rows:
        with torch.no_grad():
            logits = network(torch.tensor([row.ids])).logits[0].double()
        scores = logits.log_softmax(-1)
        for i in range(row.start, len(row.ids)):
            total -= float(scores[i - 1, row.ids[i]])
            count += 1
    return total / count


@pytest.mark.parametrize("collate", [lambda rows: left_padded(rows, 2), joined])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("start", [None, 1])
def test_loss_is_that_of_each_row_alone(
    tiny: Model, collate: Any, attention: str, start: int | None
) -> None:
    import torch

    rows = ROWS if start is None else tuple(replace(row, start=start) for row in ROWS)
    network = _network(tiny)
    network.set_attn_implementation(attention)
    batch = collate(rows)
    with torch.no_grad():
        loss = network(**batch).loss
    assert float(loss) == pytest.approx(_reference_loss(network, rows), abs=2e-5)
    assert int((batch["shift_labels"] != IGNORED).sum()) == sum(
        len(row.ids) - row.start for row in rows
    )


def test_logits_are_computed_where_the_loss_needs_them_only(tiny: Model) -> None:
    network = _network(tiny)
    assert network(**left_padded(ROWS, 2)).logits.shape[:2] == (3, 3)
    assert network(**joined(ROWS)).logits.shape[:2] == (1, 7)


def test_joined_rows_do_not_see_each_other(tiny: Model) -> None:
    network = _network(tiny)
    other = (Row((1, 99, 98, 97, 96, 95, 94, 93), 5), *ROWS[1:])
    first, second = (network(**joined(rows)).logits[0].detach() for rows in (ROWS, other))
    assert (first[3:] - second[3:]).abs().max() < 1e-5
    assert (first[:3] - second[:3]).abs().max() > 1e-2


def test_length_grouped_batches() -> None:
    lengths = [10, 20, 30] * 9
    sampler = LengthGrouped(lengths, 4, seed=0)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == list(range(27))
    assert first != second
    assert first == list(LengthGrouped(lengths, 4, seed=0))
    spread = [
        max(lengths[i] for i in batch) - min(lengths[i] for i in batch)
        for batch in (first[i : i + 4] for i in range(0, 24, 4))
    ]
    assert spread.count(0) >= 4
    means = [sum(lengths[i] for i in first[j : j + 4]) for j in range(0, 24, 4)]
    assert means not in (sorted(means), sorted(means, reverse=True))


@pytest.mark.parametrize(("count", "size"), [(7, 4), (10, 3), (9, 3), (5, 8)])
def test_each_example_has_the_same_chance_of_each_batch(count: int, size: int) -> None:
    """Of all examples, however long, so that none is trained on less than another."""
    import torch

    epochs = 4000
    seen = torch.zeros(count, -(-count // size))
    sampler = LengthGrouped([10 * (i + 1) for i in range(count)], size, seed=1)
    for _ in range(epochs):
        order = list(sampler)
        assert sorted(order) == list(range(count))
        for place, index in enumerate(order):
            seen[index, place // size] += 1
    sizes = torch.tensor([min(size, count - b * size) for b in range(seen.shape[1])])
    expected = epochs * sizes / count
    error = (expected * (1 - sizes / count)).clamp(min=1e-9).sqrt()
    assert ((seen - expected).abs() <= 5 * error).all(), seen


class WordTokenizer:
    """A token a character; ends with 0."""

    eos_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [1] * add_special_tokens + [ord(c) for c in text]}


def _encode(prompt: str, answer: str, **params: Any) -> tuple[list[Row], int]:
    example = Example(prompt, answer, 7, span=(0, len(prompt)))
    data = SimpleNamespace(corpus=None, examples=(example,), chat=False)
    return encode(WordTokenizer(), data, "t.train", LoraParams(train="t.train", **params))


def test_long_prompt_loses_its_beginning_and_keeps_the_first_token_and_the_answer() -> None:
    rows, cut = _encode("abcdef", "yes", max_length=7)
    assert cut == 1
    assert rows[0].ids == (1, ord("e"), ord("f"), ord("y"), ord("e"), ord("s"), 0)
    assert rows[0].start == 3


def test_cut_prompts_are_reported(bench: Bench, tiny: Model) -> None:
    seen: list[Progress] = []
    out = bench.run(Lora(), tiny, {**FAST, "max_length": 24}, "cut", seen.append)
    cut = json.loads((out / "training.json").read_text())["prompts_cut"]
    assert 0 < cut <= 24
    assert f"{cut} examples cut" in seen[0].note


def test_loss_on_all_starts_after_the_first_token() -> None:
    assert _encode("ab", "y", loss_on="all")[0][0].start == 1
    assert _encode("ab", "y")[0][0].start == 3


def test_answer_that_does_not_fit_is_refused() -> None:
    with pytest.raises(PassError, match="row 8 needs 7 tokens at least, and 5 fit"):
        _encode("ab", "long", max_length=5)


def test_row_without_anything_to_learn_is_refused() -> None:
    class NoStart(WordTokenizer):
        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            return super().__call__(text, False)

    data = SimpleNamespace(corpus=None, examples=(Example("", "", 3),), chat=False)
    with pytest.raises(PassError, match=r"row 4 .* no token"):
        encode(NoStart(), data, "t", LoraParams(train="t"))


def test_learns_and_reports(bench: Bench, tiny: Model) -> None:
    seen: list[Progress] = []
    out = bench.run(
        Lora(),
        tiny,
        {"train": "tone.train", "r": 8, "learning_rate": 1e-2, "epochs": 6, "batch_size": 4},
        "learns",
        seen.append,
    )
    note = json.loads((out / "training.json").read_text())
    assert note["first_loss"] > 3
    assert note["final_loss"] < 0.7 * note["first_loss"]
    assert note["answers"] == 2
    assert "joy" not in json.dumps(note), "what the data says stays with the data"
    assert note["steps"] == 36
    assert seen[0].note == "24 examples"
    assert seen[-1].done == seen[-1].total == 36
    assert seen[-1].note.startswith("loss ")
    assert not list((out.parent / "scratch").rglob("*.safetensors"))


def test_same_seed_same_bytes_and_nothing_of_this_machine(bench: Bench, tiny: Model) -> None:
    params = {**FAST, "dropout": 0.1}
    one, two = (bench.run(Lora(), tiny, params, name) for name in ("one", "two"))
    other = bench.run(Lora(), tiny, {**params, "seed": 1}, "other")
    assert sorted(p.name for p in one.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "training.json",
    ]
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes()
        assert str(tiny.path).encode() not in file.read_bytes()
    weights = "adapter_model.safetensors"
    assert (one / weights).read_bytes() != (other / weights).read_bytes()
    assert json.loads((one / "adapter_config.json").read_text())["base_model_name_or_path"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"r": 2},
        {"alpha": 16},
        {"dropout": 0.3},
        {"target_modules": ["q_proj"]},
        {"use_dora": True},
        {"use_rslora": True},
        {"learning_rate": 1e-3},
        {"lr_scheduler_type": "cosine"},
        {"warmup_ratio": 0.5},
        {"warmup_steps": 2},
        {"weight_decay": 0.5},
        {"max_steps": None, "epochs": 1},
        {"batch_size": 2},
        {"gradient_accumulation_steps": 2},
        {"max_length": 26},
        {"max_grad_norm": 0.01},
        {"loss_on": "all"},
        {"batching": "plain"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_parameter_changes_the_adapter(
    bench: Bench, tiny: Model, change: dict[str, Any], plain_adapter: bytes
) -> None:
    out = bench.run(Lora(), tiny, {**FAST, "max_steps": 3, **change}, "changed")
    assert (out / "adapter_model.safetensors").read_bytes() != plain_adapter


@pytest.fixture(scope="module")
def plain_adapter(tmp_path_factory: pytest.TempPathFactory, tiny: Model) -> bytes:
    bench = Bench(tmp_path_factory.mktemp("plain"), FakeCatalog({"tone.train": tone_data()}))
    out = bench.run(Lora(), tiny, {**FAST, "max_steps": 3}, "plain")
    return (out / "adapter_model.safetensors").read_bytes()


def test_same_adapter_however_it_is_computed(bench: Bench, tiny: Model, tmp_path: Path) -> None:
    """Padding-free, plain and checkpointed training differ in speed and memory only."""
    base = {**FAST, "batching": "plain"}
    folders = [
        bench.run(Lora(), tiny, base, "plain"),
        bench.run(Lora(), tiny, {**FAST, "batching": "padding_free"}, "joined"),
        bench.run(Lora(), tiny, {**base, "gradient_checkpointing": True}, "checkpointed"),
        bench.run(Lora(), tiny, {**base, "gradient_checkpointing": "selective"}, "selective"),
    ]
    opened = [safe_open(f / "adapter_model.safetensors", "pt") for f in folders]
    for name in opened[0].keys():  # noqa: SIM118  (safe_open has no __iter__)
        first = opened[0].get_tensor(name)
        for other in opened[1:]:
            assert (other.get_tensor(name) - first).abs().max() < 2e-5


def test_what_libraries_say_of_every_training_stays_out_of_the_log(
    tmp_path: Path, tiny: Model
) -> None:
    """In a process of its own: bitsandbytes speaks when PEFT first imports it."""
    program = f"""
from pathlib import Path
from paretune.models.handle import open_model
from paretune.passes.lora.lora import Lora
from tests.pass_bench import Bench, FakeCatalog, tone_data
bench = Bench(Path({str(tmp_path)!r}), FakeCatalog({{"tone.train": tone_data()}}))
bench.run(Lora(), open_model(Path({str(tiny.path)!r})), {FAST!r}, "quiet")
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path)},
    )
    assert "bitsandbytes" not in run.stderr
    assert "gemm_4bit" not in run.stderr


def test_chat_prompts_go_through_the_models_template(tmp_path: Path, tiny: Model) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny.path)
    rows, _ = encode(tokenizer, tone_data(1, chat=True), "t", LoraParams(train="t"))
    text = tokenizer.decode(rows[0].ids)
    assert text.startswith("<|im_start|>user\n### Text: sun")
    assert text.endswith("<|im_start|>assistant\njoy<|im_end|>")


def test_infinite_loss_ends_it(bench: Bench, tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from paretune.passes import hugging_face

    plain = hugging_face.load_causal_lm

    def broken(*args: Any, **how: Any) -> Any:
        network = plain(*args, **how)
        network.model.norm.weight.data.fill_(math.inf)
        return network

    monkeypatch.setattr(hugging_face, "load_causal_lm", broken)
    with pytest.raises(PassError, match="loss became nan at step 1"):
        bench.run(Lora(), tiny, FAST, "nan")


def test_module_that_matches_nothing(bench: Bench, tiny: Model) -> None:
    params = {**FAST, "target_modules": ["q_proj", "qkv_proj"]}
    why = Lora().check(inspect(tiny.path), LoraParams(**params), TARGET, "cpu")
    assert why is not None
    assert "'qkv_proj'" in why
    with pytest.raises(PassError, match="'qkv_proj' matches no module") as caught:
        bench.run(Lora(), tiny, params, "none")
    assert "k_proj" in str(caught.value)


def test_tied_head_is_refused(tiny: Model) -> None:
    params = LoraParams(train="t", target_modules=["lm_head"])
    assert "share" in (Lora().check(inspect(tiny.path), params, TARGET, "cpu") or "")


def test_check_takes_what_works(tiny: Model) -> None:
    info = inspect(tiny.path)
    for targets in ("all-linear", ["q_proj"], ["self_attn.v_proj", "down_proj"]):
        params = LoraParams(train="t", target_modules=targets)
        assert Lora().check(info, params, TARGET, "cpu") is None


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epochs": 1, "max_steps": 3}, "epochs or max_steps"),
        ({"warmup_ratio": 0.1, "warmup_steps": 3}, "warmup_ratio or warmup_steps"),
        ({"lr_scheduler_type": "constant", "warmup_steps": 3}, "has no warm-up"),
        ({"target_modules": []}, "names no module"),
        ({"lora_alpha": 3}, "Extra inputs"),
    ],
)
def test_parameters_that_do_not_go_together(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LoraParams(train="t", **params)


def test_memory_estimate_is_near_what_was_measured() -> None:
    """SmolLM2, batches of 16 phrases of 30 tokens: 2.97 GB."""
    smollm2 = ModelInfo(
        ModelKind.HF,
        parameters=134_515_008,
        hidden_size=576,
        layers=30,
        vocab_size=49152,
        tied=True,
    )
    guess = Lora().estimate(smollm2, LoraParams(train="t"), TARGET)
    assert guess.peak_memory == pytest.approx(2.97e9, rel=0.15)
    assert guess.bytes_out == pytest.approx(19.6e6, rel=0.05)


def test_estimate_is_near_the_file(bench: Bench, tiny: Model) -> None:
    guess = Lora().estimate(inspect(tiny.path), LoraParams(**FAST), TARGET)
    size = (bench.run(Lora(), tiny, FAST, "size") / "adapter_model.safetensors").stat().st_size
    assert guess.bytes_out == pytest.approx(size, rel=0.5)


def test_of_several_gpus_one_trains(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stand-in says that there are two: no such machine is here.

    With more than one the Trainer wraps the model in DataParallel, which cuts the positions that
    the loss is computed at into as many pieces.
    """
    from transformers import TrainingArguments

    from paretune.passes.lora import trainer_arguments as made

    class TwoGpus(TrainingArguments):  # type: ignore[misc]
        def __init__(self, **own: Any) -> None:
            super().__init__(**own)
            self._n_gpu = 2

    monkeypatch.setattr(made, "TrainingArguments", TwoGpus)
    arguments = made.trainer_arguments(LoraParams(train="t"), tmp_path, gpu=False)
    assert isinstance(arguments, TwoGpus)
    assert arguments.n_gpu == 1
