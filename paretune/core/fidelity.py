"""Whether a build computes what it was built from: the figures, their bounds, and the metrics.

The figures are taken where the build runs (`paretune.targets.worker.compared`). Networks that take
named arrays have a figure of their own (`paretune.core.output_error`). Of two language models the
distribution of the next token is taken after each token of a few sequences:

- ``kl_per_token``: the mean Kullback-Leibler divergence, source || build, in nats.
- ``top1_agreement``: the share of tokens after which both find the same token likeliest.

A divergence alone does not show whether a build is good: for a model that is nearly certain, and
for one that is nearly random, a nat weighs differently. The bound is therefore on its ratio to how
much the source's own predictions depend on the text at all: the mean divergence of each of them
from their mean (the mutual information of text and prediction). A build with a ratio of one
predicts this text no better than one that ignores it. ``benchmarks/fidelity.py`` shows good and
broken builds on both sides of each bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement, MetricSpec


class Fidelity(StrEnum):
    """What a pass's output is to its input; each build is held to it (`paretune.core.fidelity`).

    ``fp32``, ``fp16``, ``bf16``: the same function, computed in that precision. ``quantized``: an
    approximation of it. ``changed``: another function on purpose (it was trained, pruned).
    """

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    QUANTIZED = "quantized"
    CHANGED = "changed"


class Cause(StrEnum):
    """Why a build is not what it was built from, as far as it is known.

    ``defect``: its graph, its tokenizer or what wrote its weights. ``rounding``: its graph is right
    in full precision. ``source``: what it was built from gives no finite values. ``unknown``: a
    quantized build of which no full-precision copy was compared.
    """

    DEFECT = "defect"
    ROUNDING = "rounding"
    SOURCE = "source"
    UNKNOWN = "unknown"


VERSION = 1
"""Of how it is compared: what an older one said of an artifact is not taken for an answer."""
PROTOCOL = f"exact-fidelity-{VERSION}"
KL, TOP1, OUTPUT_ERROR = "kl_per_token", "top1_agreement", "output_error"
_OF_TOKENS = (
    MetricSpec(KL, "nats", "minimize", device=False),
    MetricSpec(TOP1, "fraction", "maximize", device=False),
)
_OF_ARRAYS = (MetricSpec(OUTPUT_ERROR, "", "minimize", device=False),)
METRICS = _OF_TOKENS + _OF_ARRAYS
"""What candidates have without any evaluator: language models the first two, networks the last."""
BOUNDS: Mapping[Fidelity, float] = {
    Fidelity.FP32: 1e-6,
    Fidelity.FP16: 1e-4,
    Fidelity.BF16: 5e-3,
    Fidelity.QUANTIZED: 0.75,
}
"""Largest ratio of the divergence to the information in the source's predictions."""
_FP32_ELSEWHERE = 1e-5
"""The same for fp32 on a GPU, whose products of matrices may keep ten bits only (TF32)."""
_NOTHING = 1e-9
"""Information, in nats, below which the ratio is taken to it: a model that always says the same."""


def bound(fidelity: Fidelity, provider: str = "cpu") -> float:
    """Return the largest ratio that a build of that kind may have where it runs."""
    if fidelity is Fidelity.FP32 and provider != "cpu":
        return _FP32_ELSEWHERE
    return BOUNDS[fidelity]


@dataclass(frozen=True)
class Compared:
    """Two models' predictions, set against each other.

    Attributes:
        kl: Mean divergence a token, in nats.
        top1: Share of tokens with the same likeliest next token.
        information: What the source's predictions depend on the text, in nats a token.
        tokens: How many were compared.
        lengths: Of the sequences.
    """

    kl: float
    top1: float
    information: float
    tokens: int
    lengths: tuple[int, ...]

    @property
    def ratio(self) -> float:
        """The divergence as a share of the information."""
        return self.kl / max(self.information, _NOTHING)

    def outside(self, fidelity: Fidelity, provider: str = "cpu") -> bool:
        """Return whether a build of that kind computes something else than its source.

        A NaN is outside.
        """
        return not self.ratio <= bound(fidelity, provider)

    def shown(self) -> str:
        """Return both figures as text."""
        return (
            f"{KL} {self.kl:.3g} ({self.ratio:.2g} of what its predictions depend on the text), "
            f"{TOP1} {self.top1:.3g}"
        )

    def to_json(self) -> dict[str, Json]:
        """Return the figures by name; a NaN, which no JSON file can hold, is None."""
        return {
            "kl": self.kl if math.isfinite(self.kl) else None,
            "top1": self.top1,
            "information": self.information if math.isfinite(self.information) else None,
            "tokens": self.tokens,
            "lengths": list(self.lengths),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Compared:
        """Read what `to_json` wrote."""
        kl, information = (
            math.nan if value[name] is None else value[name] for name in ("kl", "information")
        )
        return cls(kl, value["top1"], information, value["tokens"], tuple(value["lengths"]))


@dataclass(frozen=True)
class Verdict:
    """What the comparison of one step's output said.

    Attributes:
        compared: The figures; None: it was not compared, and `reason` says why.
        reason: Why it was not compared, or why the build is not what it was built from.
        valid: False: it computes something else.
        beside: What else was found: of the sketch, what could not be compared.
        of_arrays: Whether the model takes named arrays: its metric is ``output_error``.
        cause: Of a build that is not valid.
    """

    compared: Mapping[str, Any] | None
    reason: str | None = None
    valid: bool = True
    beside: Mapping[str, Json] | None = None
    of_arrays: bool = False
    cause: Cause = Cause.DEFECT

    def to_json(self) -> dict[str, Json]:
        """Return what is kept with the artifact."""
        return {
            "version": VERSION,
            "compared": None if self.compared is None else dict(self.compared),
            "reason": self.reason,
            "valid": self.valid,
            "beside": None if self.beside is None else dict(self.beside),
            "of_arrays": self.of_arrays,
            "cause": self.cause.value,
        }


def verdict_from(note: Mapping[str, Any]) -> Verdict | None:
    """Return what an action's note says; None if nothing, or of another version."""
    kept = note.get("fidelity")
    if not isinstance(kept, Mapping) or kept.get("version") != VERSION:
        return None
    return Verdict(
        kept["compared"],
        kept["reason"],
        kept["valid"],
        kept["beside"],
        kept.get("of_arrays", False),
        Cause(kept.get("cause", Cause.DEFECT)),
    )


def unchanged(*, of_arrays: bool) -> Verdict:
    """Return the verdict on a model that nothing was built from: it is its own source.

    Args:
        of_arrays: Whether it takes named arrays.
    """
    if of_arrays:
        same: dict[str, Json] = {OUTPUT_ERROR: 0.0, "outputs": {}, "runs": 0}
        return Verdict(same, of_arrays=True)
    return Verdict({"kl": 0.0, "top1": 1.0, "information": None, "tokens": 0, "lengths": []})


def measurements(value: Verdict | None) -> dict[str, Measurement]:
    """Return the metrics of what a build job answered.

    They are exact for the inputs that they are defined on, so their interval is the value.

    Args:
        value: What the comparison said; None: the target does not compare.
    """
    if value is None:
        return {}
    compared, beside = value.compared, dict(value.beside or {})
    specs = _OF_ARRAYS if value.of_arrays else _OF_TOKENS
    if compared is None:
        return {
            spec.name: Measurement(
                spec.name, None, spec.unit, protocol=PROTOCOL, reason=value.reason
            )
            for spec in specs
        }
    keys: tuple[str, ...]
    if value.of_arrays:
        keys, count = (OUTPUT_ERROR,), compared["runs"]
        details = {"outputs": compared["outputs"]}
    else:
        keys, count = ("kl", "top1"), compared["tokens"]
        details = {"lengths": compared["lengths"], "information": compared["information"]}
    return {
        spec.name: Measurement(
            spec.name,
            compared[key],
            spec.unit,
            compared[key],
            compared[key],
            count,
            PROTOCOL,
            details=details | beside,
        )
        for spec, key in zip(specs, keys, strict=True)
    }
