"""Finds what plugs into an axis by its name, and imports only what is asked for.

Ours stand in the tables below; another package adds its own through the entry-point groups
``paretune.passes``, ``paretune.evaluators``, ``paretune.runtimes``, ``paretune.kinds``,
``paretune.targets`` and ``paretune.strategies``.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoints, entry_points
from typing import Any

from paretune.core.errors import UsageError, nearest

BUILTIN: dict[str, dict[str, str]] = {
    "passes": {
        "lora": "paretune.passes.lora.lora:Lora",
        "qlora": "paretune.passes.lora.qlora:QLora",
        "merge": "paretune.passes.lora.merge:Merge",
        "drop_layers": "paretune.passes.layers.drop_layers:DropLayers",
        "awq_scaling": "paretune.passes.quantization.awq_scaling:AwqScaling",
        "sensitivity": "paretune.passes.quantization.sensitivity:SensitivityPass",
        "genai": "paretune.passes.genai.genai:Genai",
        "genai_adapter": "paretune.passes.genai.adapter:GenaiAdapter",
        "matmul_nbits": "paretune.passes.genai.matmul_nbits:MatMulNBits",
        "onnx_export": "paretune.passes.onnx.export:OnnxExport",
        "onnx_dynamic_int8": "paretune.passes.onnx.dynamic_int8:OnnxDynamicInt8",
        "onnx_float16": "paretune.passes.onnx.float16:OnnxFloat16",
        "onnx_mixed": "paretune.passes.onnx.mixed:OnnxMixed",
        "onnx_optimize": "paretune.passes.onnx.optimize:OnnxOptimize",
        "onnx_static_int8": "paretune.passes.onnx.static_int8:OnnxStaticInt8",
        "onnx_weight_only": "paretune.passes.onnx.weight_only:OnnxWeightOnly",
    },
    "evaluators": {
        "classification": "paretune.evaluators.classification:Classification",
        "exact_match": "paretune.evaluators.text.exact_match:ExactMatch",
        "perplexity": "paretune.evaluators.text.perplexity:Perplexity",
        "generation": "paretune.evaluators.generation.generation:Generation",
        "latency": "paretune.evaluators.arrays.latency:Latency",
        "regression": "paretune.evaluators.arrays.regression:Regression",
        "token_classification": "paretune.evaluators.arrays.tokens:TokenClassification",
        "recognition": "paretune.evaluators.arrays.recognition:Recognition",
        "detection": "paretune.evaluators.arrays.detection:Detection",
        "embedding": "paretune.evaluators.arrays.embedding:Embedding",
        "agreement": "paretune.evaluators.arrays.agreement:Agreement",
        "footprint": "paretune.evaluators.footprint:Footprint",
        "custom": "paretune.evaluators.custom:Custom",
    },
    "runtimes": {
        "genai": "paretune.runtimes.genai:GenaiRuntime",
        "torch": "paretune.runtimes.torch:TorchRuntime",
        "torch_arrays": "paretune.runtimes.torch_arrays:TorchArraysRuntime",
        "onnxruntime": "paretune.runtimes.onnxruntime:OnnxruntimeRuntime",
    },
    "kinds": {
        "genai": "paretune.models.kinds.genai:GenaiKind",
        "hf-adapter": "paretune.models.kinds.hf_adapter:HfAdapterKind",
        "hf-encoder": "paretune.models.kinds.hf_encoder:HfEncoderKind",
        "module": "paretune.models.kinds.module:ModuleKind",
        "pt2": "paretune.models.kinds.module:Pt2Kind",
        "hf": "paretune.models.kinds.hf:HfKind",
        "onnx": "paretune.models.kinds.onnx:OnnxKind",
    },
    "targets": {
        "azureml": "paretune.targets.launchers.azureml:AzuremlTarget",
        "local": "paretune.targets.launchers.local:LocalTarget",
        "python": "paretune.targets.launchers.python:PythonTarget",
        "ssh": "paretune.targets.launchers.ssh:SshTarget",
        "ray": "paretune.targets.launchers.ray:RayTarget",
    },
    "strategies": {
        "exhaustive": "paretune.search.strategies.exhaustive:Exhaustive",
        "random": "paretune.search.strategies.sampled:RandomSearch",
        "nsga2": "paretune.search.strategies.sampled:Nsga2Search",
        "chains": "paretune.search.strategies.chains:ChainSearch",
        "tpe": "paretune.search.strategies.sampled:TpeSearch",
    },
}
_SINGULAR = {
    "passes": "pass",
    "evaluators": "evaluator",
    "runtimes": "runtime",
    "kinds": "kind of model",
    "targets": "target",
    "strategies": "strategy",
}


@cache
def _tables() -> dict[str, dict[str, str]]:
    """Return every group's entries; what is installed is read once, which takes a while."""
    found = {group: dict(known) for group, known in BUILTIN.items()}
    for group, known in found.items():
        for entry in entries(group):
            known.setdefault(entry.name, entry.value)
    return found


@cache
def _installed() -> Any:  # Python 3.11 and 3.12 return different classes
    return entry_points()


def entries(group: str) -> EntryPoints:
    """Return what other packages add to one group."""
    found: EntryPoints = _installed().select(group=f"paretune.{group}")
    return found


def table(group: str) -> dict[str, str]:
    """Return name to ``module:attribute`` of one group, other packages' entries included."""
    return _tables()[group]


def forget_installed() -> None:
    """Look for entries of other packages again: the module search path was changed."""
    _installed.cache_clear()
    _tables.cache_clear()


def names(group: str) -> tuple[str, ...]:
    """Return the names of one group (``passes``, ``evaluators``, ...), sorted."""
    return tuple(sorted(table(group)))


def find(group: str, name: str) -> Any:
    """Import and return one entry.

    Raises:
        UsageError: There is none of that name (with the nearest one), or its module is missing.
    """
    known = table(group)
    if name not in known:
        raise UsageError(f"no {_SINGULAR[group]} named {name!r}", hint=nearest(name, known))
    return attribute(known[name])


def instance(group: str, name: str) -> Any:
    """Return the one object of an entry's class, made at its first use.

    Raises:
        UsageError: There is none of that name (with the nearest one).
    """
    return _instance(group, name, table(group).get(name, ""))


@cache
def _instance(group: str, name: str, place: str) -> Any:
    """Make it: the place is a part of the key, because the module search path may change."""
    return find(group, name)()


def attribute(place: str) -> Any:
    """Import and return what ``module:name`` names.

    Raises:
        ImportError: There is no such module.
        AttributeError: The module has no such name.
    """
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def is_ours(group: str, name: str) -> bool:
    """Return whether an entry ships with paretune (a package cannot take one of our names)."""
    return name in BUILTIN[group]
