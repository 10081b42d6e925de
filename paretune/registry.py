"""Finds passes, evaluators, targets and strategies by name, and imports only the one asked for.

Ours stand in the tables below; another package adds its own through the entry-point groups
``paretune.passes``, ``paretune.evaluators``, ``paretune.targets`` and ``paretune.strategies``.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from paretune.core.errors import UsageError, nearest

if TYPE_CHECKING:
    from paretune.evaluators.base import Evaluator
    from paretune.passes.base import Pass

BUILTIN: dict[str, dict[str, str]] = {
    "passes": {
        "lora": "paretune.passes.lora.lora:Lora",
        "qlora": "paretune.passes.lora.qlora:QLora",
        "merge": "paretune.passes.lora.merge:Merge",
        "genai": "paretune.passes.genai.genai:Genai",
        "genai_adapter": "paretune.passes.genai.adapter:GenaiAdapter",
        "matmul_nbits": "paretune.passes.genai.matmul_nbits:MatMulNBits",
        "onnx_dynamic_int8": "paretune.passes.onnx.dynamic_int8:OnnxDynamicInt8",
    },
    "evaluators": {
        "classification": "paretune.evaluators.text.classification:Classification",
        "exact_match": "paretune.evaluators.text.exact_match:ExactMatch",
        "perplexity": "paretune.evaluators.text.perplexity:Perplexity",
        "generation": "paretune.evaluators.generation.generation:Generation",
        "latency": "paretune.evaluators.onnx.latency:Latency",
        "footprint": "paretune.evaluators.footprint:Footprint",
        "custom": "paretune.evaluators.custom:Custom",
    },
    "targets": {"local": "paretune.targets.launchers.local:LocalTarget"},
    "strategies": {
        "exhaustive": "paretune.search.strategies.exhaustive:Exhaustive",
        "random": "paretune.search.strategies.sampled:RandomSearch",
        "nsga2": "paretune.search.strategies.sampled:Nsga2Search",
        "tpe": "paretune.search.strategies.sampled:TpeSearch",
    },
}


@cache
def table(group: str) -> dict[str, str]:
    """Return name to ``module:attribute`` of one group, other packages' entries included."""
    found = dict(BUILTIN[group])
    for entry in entry_points(group=f"paretune.{group}"):
        found.setdefault(entry.name, entry.value)
    return found


def names(group: str) -> tuple[str, ...]:
    """Return the names of one group (``passes``, ``evaluators``, ...), sorted."""
    return tuple(sorted(table(group)))


def find(group: str, name: str) -> Any:
    """Import and return one entry.

    Raises:
        UsageError: There is none of that name (with the nearest one), or its module is missing.
    """
    entries = table(group)
    if name not in entries:
        raise UsageError(f"no {_singular(group)} named {name!r}", hint=nearest(name, entries))
    module, _, attribute = entries[name].partition(":")
    return getattr(import_module(module), attribute)


def is_ours(group: str, name: str) -> bool:
    """Return whether an entry ships with paretune (a package cannot take one of our names)."""
    return name in BUILTIN[group]


def find_pass(name: str) -> Pass:
    """Return a pass by name, ready to use."""
    found: Pass = find("passes", name)()
    return found


def find_evaluator(name: str) -> type[Evaluator]:
    """Return an evaluator's class by name; it is made with its parameters."""
    found: type[Evaluator] = find("evaluators", name)
    return found


def _singular(group: str) -> str:
    return {"passes": "pass", "strategies": "strategy"}.get(group, group[:-1])
