"""What a fork server imports before its first fork, by the packages that its jobs use."""

from __future__ import annotations

from collections.abc import Iterable

from paretune.core.distributions import module_of, normal
from paretune.registry import BUILTIN

WORKER = (
    "paretune.targets.worker.main",
    "paretune.targets.worker.building",
    "paretune.targets.worker.measuring",
    "paretune.evaluators.base",
    *sorted(
        {
            place.partition(":")[0]
            for group in ("passes", "evaluators", "runtimes", "kinds")
            for place in BUILTIN[group].values()
        }
    ),
)
"""What jobs need of ours; imports nothing heavy."""

_PARTS = (
    (frozenset({"transformers"}), "transformers.models.auto.tokenization_auto"),
    (frozenset({"transformers", "torch"}), "transformers.modeling_utils"),
    (frozenset({"onnxruntime-genai", "torch"}), "onnxruntime_genai.models.builder"),
)
"""Packages that import their parts at the first use alone, and the part that jobs use of them."""


def modules_of(packages: Iterable[str]) -> tuple[str, ...]:
    """Return what is imported once for jobs that use some packages, in this order.

    Args:
        packages: Distributions; one that is not installed brings nothing.
    """
    # PyTorch first: onnxruntime finds the CUDA libraries that it has loaded.
    names = sorted({normal(name) for name in packages}, key=lambda name: (name != "torch", name))
    brought = {name: module for name in names if (module := module_of(name)) is not None}
    parts = [part for those, part in _PARTS if those <= brought.keys()]
    return (*WORKER, *brought.values(), *parts)
