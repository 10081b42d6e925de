"""LoRA, QLoRA, DoRA, the merge and the model builder, parameter by parameter."""

from __future__ import annotations

from typing import Any

import pytest

from paretune.config.olive import Status
from paretune.passes.lora.params import LoraParams
from tests.config.olive.olive_files import (
    build_only,
    entry,
    flat,
    nested,
    refused,
    translation,
    whole,
)
from tests.config.olive.vocabulary import unknown_names


def lora(training: Any = None, form: Any = nested, **parameters: Any) -> dict[str, Any]:
    """Return a configuration that trains with those arguments and parameters."""
    value: dict[str, Any] = form()
    settings = (
        value["passes"]["l"].setdefault("config", {}) if form is nested else (value["passes"]["l"])
    )
    settings |= parameters
    if training is not None:
        settings["training_args"] = training
    return value


def params(value: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of the first pass, of which every part has to be supported."""
    (found,) = whole(value)["passes"][0].values()
    assert isinstance(found, dict)
    return found


NESTED = "passes.l.config."
ARGS = f"{NESTED}training_args."

TRANSLATED: list[tuple[str, Any, str, Any]] = [
    ("seed", 7, "seed", 7),
    ("data_seed", 8, "data_seed", 8),
    ("per_device_train_batch_size", 4, "batch_size", 4),
    ("gradient_accumulation_steps", 2, "gradient_accumulation_steps", 2),
    ("gradient_checkpointing", False, "gradient_checkpointing", False),
    ("learning_rate", 1e-4, "learning_rate", 1e-4),
    ("learning_rate", "1e-4", "learning_rate", 1e-4),
    ("weight_decay", 0.1, "weight_decay", 0.1),
    ("max_grad_norm", 0.3, "max_grad_norm", 0.3),
    ("adam_beta1", 0.8, "adam_beta1", 0.8),
    ("adam_beta2", 0.99, "adam_beta2", 0.99),
    ("adam_epsilon", 1e-7, "adam_epsilon", 1e-7),
    ("group_by_length", True, "batching", "length_grouped"),
    ("group_by_length", False, "batching", "plain"),
    ("logging_steps", 50.0, "logging_steps", 50),
    ("lr_scheduler_type", "cosine", "lr_scheduler_type", "cosine"),
    ("max_steps", 5, "max_steps", 5),
]


@pytest.mark.parametrize(("olives", "given", "ours", "value"), TRANSLATED)
@pytest.mark.parametrize("form", [nested, flat])
def test_a_training_argument_by_todays_name(
    form: Any, olives: str, given: Any, ours: str, value: Any
) -> None:
    config = lora({olives: given}, form)
    assert params(config)[ours] == value
    key = f"{ARGS if form is nested else 'passes.l.training_args.'}{olives}"
    told = entry(config, key)
    assert (told.status, told.into) == (Status.TRANSLATED, f"passes[0].lora.{ours}")


def test_the_old_and_the_new_names_of_the_adapters_own_parameters() -> None:
    old = params(lora(lora_r=8, lora_alpha=16.0, lora_dropout=0.1, torch_dtype="float32"))
    new = params(lora(form=flat, r=8, alpha=16, lora_dropout=0.1, torch_dtype="float32"))
    for found in (old, new):
        assert [found[name] for name in ("r", "alpha", "dropout", "dtype")] == [8, 16, 0.1, "fp32"]
    assert refused(lora(r=8, lora_r=8)) == {
        f"{NESTED}lora_r": "given twice, under another name too"
    }


# What Olive fills in: read in olive/passes/pytorch/lora.py of 0.5, 0.6 and 0.13, and, for what it
# leaves to the Trainer, in transformers' TrainingArguments.
OLIVES = {
    nested: {
        "r": 64,
        "alpha": 16,
        "dropout": 0.0,
        "seed": 42,
        "data_seed": 42,
        "batch_size": 1,
        "gradient_accumulation_steps": 16,
        "max_steps": 10000,
        "weight_decay": 0.0,
        "learning_rate": 2e-4,
        "gradient_checkpointing": True,
        "lr_scheduler_type": "constant",
        "batching": "length_grouped",
        "max_grad_norm": 1.0,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "warmup_ratio": None,
        "warmup_steps": None,
        "epochs": None,
    },
    flat: {
        "r": 64,
        "alpha": 16,
        "dropout": 0.05,
        "seed": 42,
        "data_seed": None,
        "batch_size": 8,
        "gradient_accumulation_steps": 1,
        "max_steps": None,
        "epochs": 3,
        "weight_decay": 0.0,
        "learning_rate": 2e-4,
        "gradient_checkpointing": True,
        "lr_scheduler_type": "constant",
        "batching": "plain",
        "max_grad_norm": 1.0,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "warmup_ratio": None,
        "warmup_steps": None,
    },
}


@pytest.mark.parametrize("form", [nested, flat])
def test_olives_defaults_of_each_generation_hold(form: Any) -> None:
    config = lora(form=form)
    read = LoraParams(**params(config))
    assert {name: getattr(read, name) for name in OLIVES[form]} == OLIVES[form]
    told = {e.into: e for e in translation(config).of(Status.ADDED)}
    written = params(config).keys() - {"train", "target_modules", "dtype"}
    assert {f"passes[0].lora.{name}" for name in written} <= told.keys()


@pytest.mark.parametrize("form", [nested, flat])
def test_an_absent_type_is_fp32_and_says_so_and_an_explicit_one_is_kept(form: Any) -> None:
    assert params(lora(form=form))["dtype"] == "fp32"
    (told,) = [
        e
        for e in translation(lora(form=form)).of(Status.APPROXIMATED)
        if e.key.endswith("torch_dtype")
    ]
    assert "bfloat16 is many times slower" in str(told.why)
    for olives, ours in (("bfloat16", "bf16"), ("float16", "fp16"), ("float32", "fp32")):
        assert params(lora(form=form, torch_dtype=olives))["dtype"] == ours
    assert "float8" in refused(lora(torch_dtype="float8"))[f"{NESTED}torch_dtype"]


def test_steps_come_before_epochs() -> None:
    both = lora({"max_steps": 10, "num_train_epochs": 3})
    assert params(both)["max_steps"] == 10
    assert "epochs" not in params(both)
    assert entry(both, f"{ARGS}num_train_epochs").status is Status.NO_EFFECT
    # The older Olive's own default, 10000 steps, comes before epochs too.
    assert params(lora({"num_train_epochs": 3}))["max_steps"] == 10000
    assert params(lora({"num_train_epochs": 2}, flat))["epochs"] == 2
    assert params(lora({"num_train_epochs": 2, "max_steps": -1}))["epochs"] == 2
    assert params(lora({"max_steps": -1}))["epochs"] == 3


def test_a_constant_schedule_has_no_warm_up() -> None:
    constant = lora({"warmup_ratio": 0.1})
    assert "warmup_ratio" not in params(constant)
    assert entry(constant, f"{ARGS}warmup_ratio").status is Status.NO_EFFECT
    assert params(lora({"lr_scheduler_type": "linear"}))["warmup_ratio"] == 0.03
    given = lora({"lr_scheduler_type": "linear", "warmup_ratio": 0.2, "warmup_steps": 0})
    assert params(given)["warmup_ratio"] == 0.2
    steps = lora({"lr_scheduler_type": "linear", "warmup_ratio": 0.2, "warmup_steps": 5})
    assert params(steps)["warmup_steps"] == 5
    assert "warmup_ratio" not in params(steps)


EVALUATION: list[tuple[Any, Any, dict[str, Any], dict[str, Any]]] = [
    (nested, {}, {"eval_dataset_size": 0.3}, {"eval_dataset_size": 0.3}),
    (
        nested,
        {"evaluation_strategy": "no", "eval_steps": 5},
        {"eval_dataset_size": 0.3},
        {"eval_dataset_size": 0.3},
    ),
    (
        nested,
        {"evaluation_strategy": "steps"},
        {"eval_dataset_size": 100.0},
        {"eval_dataset_size": 100, "eval_steps": 10},
    ),
    (
        nested,
        {"evaluation_strategy": "steps", "logging_steps": 7},
        {"eval_dataset_size": 0.3},
        {"eval_dataset_size": 0.3, "eval_steps": 7},
    ),
    (
        nested,
        {"evaluation_strategy": "steps", "eval_steps": 5, "per_device_eval_batch_size": 2},
        {"eval_data_config": "tone", "eval_dataset_size": 0.3},
        {"eval_data": "tone", "eval_steps": 5, "eval_batch_size": 2},
    ),
    (
        nested,
        {"evaluation_strategy": "steps", "eval_steps": 5, "per_device_eval_batch_size": 2},
        {},
        {},
    ),
    (flat, {}, {"eval_data_config": "tone"}, {"eval_data": "tone", "eval_steps": 500}),
    (
        flat,
        {"eval_strategy": "no", "eval_steps": 9},
        {"eval_data_config": "tone"},
        {"eval_data": "tone", "eval_steps": 9},
    ),
    (flat, {}, {"eval_dataset_size": 0.3}, {}),
]


@pytest.mark.parametrize(("form", "training", "given", "expected"), EVALUATION)
def test_what_is_held_out_and_when_it_is_looked_at(
    form: Any, training: Any, given: Any, expected: Any
) -> None:
    found = params(lora(training, form, **given))
    assert {name: value for name, value in found.items() if name.startswith("eval_")} == expected


NO_EFFECT = [
    ("double_quant", True),
    ("quant_type", "nf4"),
    ("compute_dtype", "bfloat16"),
    ("save_quant_config", True),
    ("bias", "none"),
    ("modules_to_save", []),
    ("use_ort_trainer", False),
    ("ephemeral_gpu_offload", False),
    ("r", None),
    ("alpha", "DEFAULT_VALUE"),
]


@pytest.mark.parametrize(("name", "value"), NO_EFFECT)
def test_what_has_no_effect_in_olive_either_is_listed_as_such(name: str, value: Any) -> None:
    told = entry(lora(**{name: value}), f"{NESTED}{name}")
    assert told.status is Status.NO_EFFECT
    assert told.why
    assert params(lora(**{name: value})) == params(lora())


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"lora_rr": 8}, {}, "lora_rr", "Did you mean 'lora_r'?"),
    ({"lora_r": -1}, {}, "lora_r", "greater than or equal to 1"),
    ({"lora_alpha": 0.5}, {}, "lora_alpha", "whole number"),
    ({"lora_r": [8, 16]}, {}, "lora_r", "without a search strategy"),
    ({"modules_to_save": ["lm_head"]}, {}, "modules_to_save", "only the adapter"),
    ({"bias": "all"}, {}, "bias", "no biases"),
    ({"eval_dataset_size": -1}, {}, "eval_dataset_size", "share below 1"),
    ({"train_data_config": "tones"}, {}, "train_data_config", "Did you mean 'tone'?"),
    ({}, {"learning_rat": 1}, "training_args.learning_rat", "Did you mean 'learning_rate'?"),
    ({}, {"learning_rate": "fast"}, "training_args.learning_rate", "expected a number"),
    ({}, {"max_steps": 1.5}, "training_args.max_steps", "whole number"),
    ({}, {"optim": "adafactor"}, "training_args.optim", "AdamW"),
    ({}, {"report_to": "wandb"}, "training_args.report_to", "no other service"),
    ({}, {"bf16": True}, "training_args.bf16", "torch_dtype: bfloat16"),
    ({}, {"deepspeed": True}, "training_args.deepspeed", "one device"),
    ({}, {"lr_scheduler_type": "greedy"}, "training_args.lr_scheduler_type", "expected linear"),
    (
        {"eval_dataset_size": 0.3},
        {"evaluation_strategy": "epoch"},
        "training_args.evaluation_strategy",
        "by steps",
    ),
]


@pytest.mark.parametrize(("given", "training", "key", "told"), REFUSED)
def test_what_cannot_be_honoured_is_an_error(
    given: Any, training: Any, key: str, told: str
) -> None:
    found = refused(lora(training or None, **given))
    assert found.keys() == {f"{NESTED}{key}"}
    assert told in found[f"{NESTED}{key}"]


@pytest.mark.parametrize(
    ("training", "status"),
    [
        ({"load_best_model_at_end": True}, Status.APPROXIMATED),
        ({"load_best_model_at_end": False}, Status.NO_EFFECT),
        ({"output_dir": "checkpoints"}, Status.APPROXIMATED),
    ],
)
def test_what_paretune_does_in_its_own_way_is_a_note(training: Any, status: Status) -> None:
    (key,) = training
    assert refused(lora(training)) == {}
    told = entry(lora(training), f"{NESTED}training_args.{key}")
    assert told.status is status
    assert told.why


def test_the_best_checkpoint_is_taken_where_the_held_out_loss_is_measured() -> None:
    measured = {"evaluation_strategy": "steps", "eval_steps": 5, "load_best_model_at_end": True}
    found = params(lora(measured, eval_dataset_size=0.2))
    assert (found["best_checkpoint"], found["eval_steps"]) == (True, 5)
    assert "best_checkpoint" not in params(lora({"load_best_model_at_end": True}))


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = refused(lora({"optim": "sgd", "max_steps": "x"}, lora_r=-1, bias="all", foo=1))
    assert set(found) == {
        f"{NESTED}{key}"
        for key in ("training_args.optim", "training_args.max_steps", "lora_r", "bias", "foo")
    }


def test_without_target_modules_every_linear_layer_is_trained_and_that_is_said() -> None:
    config = lora(target_modules=None)
    assert params(config)["target_modules"] == "all-linear"
    del config["passes"]["l"]["config"]["target_modules"]
    (told,) = [e for e in translation(config).of(Status.APPROXIMATED) if "target_mod" in e.key]
    assert "PEFT" in str(told.why)


def qlora(**parameters: Any) -> dict[str, Any]:
    value = lora(form=flat, **parameters)
    value["passes"]["l"]["type"] = "qlora"
    return value


def test_qlora_has_loras_parameters_and_its_own() -> None:
    found = translation(qlora(quant_type="fp4", double_quant=True, torch_dtype="bfloat16"))
    (written,) = found.config["passes"][0].values()
    assert found.config["passes"][0].keys() == {"qlora"}
    assert unknown_names(found.config) == []
    assert (written["quant_type"], written["double_quant"]) == ("fp4", True)
    assert (written["dtype"], written["compute_dtype"]) == ("bf16", "bf16")
    # Olive's QLoRA trains every quantized layer: what we train where nothing is said.
    assert "target_modules" not in written
    assert entry(found, "passes.l.target_modules").status is Status.NO_EFFECT
    found.require_whole()


def test_dora_is_our_lora_with_its_switch() -> None:
    value = lora(form=flat)
    value["passes"]["l"]["type"] = "DoRA"
    assert params(value) == params(lora(form=flat)) | {"use_dora": True}


def test_an_adapter_that_is_not_merged_stays_apart_or_is_merged_at_the_end() -> None:
    value = flat()
    del value["passes"]["m"]
    assert [*whole(value)["passes"][1]] == ["genai_adapter"]
    del value["passes"]["b"]
    assert whole(value)["passes"][1:] == ["merge"]
    (told,) = [e for e in translation(value).of(Status.ADDED) if e.key == "passes"]
    assert "merged" in str(told.why)


def test_passes_that_do_not_fit_together() -> None:
    value = flat()
    value["passes"] = {name: value["passes"][name] for name in ("m", "l", "b")}
    found = refused(value)
    assert found == {"passes.m.type": "merge takes hf-adapter, and what comes before it is hf"}
    value = flat()
    value["passes"]["again"] = value["passes"]["l"]
    assert "passes.again.type" in refused(value)


def built(**parameters: Any) -> dict[str, Any]:
    value = build_only()
    value["passes"]["b"] |= parameters
    return value


def test_the_builders_options_by_our_names() -> None:
    given = built(
        int4_block_size=64,
        int4_accuracy_level=4,
        int4_is_symmetric=False,
        int4_algo_config="rtn",
        int4_nodes_to_exclude=["/lm_head/MatMul"],
        int4_op_types_to_quantize=["MatMul"],
        metadata_only=False,
        exclude_embeds=False,
        extra_options={"shared_embeddings": "false", "int4_block_size": 128},
    )
    assert params(given) == {
        "precision": "int4",
        "shared_embeddings": False,
        "block_size": 128,
        "accuracy_level": 4,
        "is_symmetric": False,
        "algorithm": "rtn",
        "nodes_to_exclude": ["/lm_head/MatMul"],
    }
    assert entry(given, "passes.b.int4_block_size").status is Status.NO_EFFECT


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("extra_options.filename", {"extra_options": {"filename": "text.onnx"}}),
        ("search", {"search": {"do_sample": True, "temperature": 0.7}}),
    ],
)
def test_how_a_package_is_named_and_generates_is_a_note(key: str, given: dict[str, Any]) -> None:
    value = built(**given)
    assert params(value) == {"precision": "int4"}
    assert entry(value, f"passes.b.{key}").status is Status.APPROXIMATED


def test_options_of_quantization_have_no_effect_without_it() -> None:
    given = built(precision="fp32", int4_block_size=64)
    assert params(given) == {"precision": "fp32"}
    assert entry(given, "passes.b.int4_block_size").status is Status.NO_EFFECT


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"precision": "nf4"}, "expected fp32"),
        ({"int4_block_size": 48}, "16, 32, 64"),
        ({"int4_algo_config": "hqq"}, "expected default"),
        ({"int4_op_types_to_quantize": ["Gather"]}, "did not load"),
        ({"exclude_lm_head": True}, "whole model"),
        ({"metadata_only": True}, "metadata alone"),
        ({"extra_options": {"no_such": 1}}, "takes no 'no_such'"),
    ],
)
def test_what_the_builder_cannot_do(given: Any, told: str) -> None:
    (why,) = refused(built(**given)).values()
    assert told in why


def test_a_build_needs_its_precision() -> None:
    value = build_only(passes={"b": {"type": "ModelBuilder"}})
    assert refused(value) == {"passes.b.precision": "Olive needs the precision"}
