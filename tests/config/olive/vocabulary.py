"""The names that translations may use, in one table.

Tests hold it against what translations write, and each row against the pass itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_TRAINED = {
    "train",
    "r",
    "alpha",
    "dropout",
    "target_modules",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_ratio",
    "warmup_steps",
    "weight_decay",
    "epochs",
    "max_steps",
    "batch_size",
    "gradient_accumulation_steps",
    "max_grad_norm",
    "seed",
    "gradient_checkpointing",
    "batching",
    "data_seed",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "eval_data",
    "eval_dataset_size",
    "best_checkpoint",
    "eval_steps",
    "eval_batch_size",
    "logging_steps",
    "dtype",
}
_BUILT = {
    "precision",
    "block_size",
    "is_symmetric",
    "algorithm",
    "accuracy_level",
    "matmul_mixed_precision",
    "nodes_to_exclude",
    "shared_embeddings",
    "fuse_qkv",
}
PASSES: dict[str, set[str]] = {
    "lora": {*_TRAINED, "use_dora"},
    "qlora": {*_TRAINED, "quant_type", "double_quant", "compute_dtype"},
    "merge": set(),
    "genai": _BUILT,
    "genai_adapter": _BUILT,
    "matmul_nbits": {
        "bits",
        "block_size",
        "is_symmetric",
        "algorithm",
        "accuracy_level",
        "exclude",
    },
    "onnx_export": {"dynamo", "opset"},
    "onnx_static_int8": {
        "data",
        "calibration",
        "per_channel",
        "reduce_range",
        "format",
        "op_types_to_quantize",
        "nodes_to_exclude",
        "activation_type",
        "weight_type",
        "calibration_rows",
    },
    "onnx_dynamic_int8": {
        "per_channel",
        "reduce_range",
        "op_types_to_quantize",
        "nodes_to_exclude",
        "weight_type",
    },
    "onnx_optimize": {"fusions", "num_heads", "hidden_size"},
    "onnx_float16": {"keep_io_types", "op_block_list", "node_block_list"},
    "onnx_weight_only": {
        "bits",
        "algorithm",
        "block_size",
        "symmetric",
        "accuracy_level",
        "nodes_to_exclude",
    },
}
DATA = {
    "file",
    "files",
    "hub",
    "config",
    "revision",
    "format",
    "prompt",
    "answer",
    "text",
    "corpus",
    "limit",
    "skip",
    "inputs",
    "read",
    "process",
    "target",
}
CORPUS = {
    "strategy",
    "max_length",
    "joiner",
    "add_special_tokens",
    "max_samples",
    "stride",
    "drop_short_sequences",
    "pad_to_max_length",
    "use_attention_mask",
    "random_seed",
    "random_retries",
}
AZURE = {
    "subscription_id",
    "resource_group",
    "workspace_name",
    "workspace",
    "compute",
    "instance_type",
    "instance_count",
    "accelerators",
    "image",
    "conda",
    "hf_token",
}
TOP = {
    "model",
    "data",
    "passes",
    "baseline",
    "evaluate",
    "objectives",
    "constraints",
    "targets",
    "target",
    "runtimes",
    "search",
}


def unknown_names(config: dict[str, Any]) -> list[str]:
    """Return the names in a translated configuration that are not in the table."""
    found = sorted(config.keys() - TOP)
    for spec in config.get("data", {}).values():
        found += sorted(spec.keys() - DATA)
        found += sorted(spec.get("corpus", {}).keys() - CORPUS)
    for target in config.get("targets", {}).values():
        found += sorted(target.keys() - {"azureml"})
        found += sorted(target["azureml"].keys() - AZURE)
    for entry in _entries(config["passes"]):
        for name, params in ({entry: {}} if isinstance(entry, str) else entry).items():
            found += [name] if name not in PASSES else sorted(params.keys() - PASSES[name])
    return found


def _entries(listed: Any) -> Iterator[Any]:
    for entry in listed:
        if isinstance(entry, list):
            yield from _entries(entry)
        elif isinstance(entry, dict) and "any" in entry:
            yield from _entries(entry["any"])
        else:
            yield entry
