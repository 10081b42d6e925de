"""How far the outputs of a network are from its source's, and how far they may be.

Of a float output the error is the root mean square of the difference over the standard deviation of
the source's output: 1 is the error of a network that always gives the source's mean. Of any other
output it is the share of values that differ. ``output_error`` is the largest of all outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from paretune.core.fidelity import OUTPUT_ERROR, Fidelity
from paretune.core.jsontools import Json

BOUNDS: Mapping[Fidelity, float] = {
    Fidelity.FP32: 1e-3,
    Fidelity.FP16: 0.05,
    Fidelity.BF16: 0.05,
    Fidelity.QUANTIZED: 1.0,
}
"""Errors from which on a build computes something else."""


@dataclass(frozen=True)
class OutputError:
    """The outputs of two networks, set against each other.

    Attributes:
        outputs: Error of each output by name; infinite: it has another shape or is missing, or is
            not finite where the source is.
        runs: Times that both networks ran.
        left_out: What was not compared, as sentences.
    """

    outputs: Mapping[str, float]
    runs: int
    left_out: tuple[str, ...] = ()

    @property
    def worst(self) -> str:
        """The output with the largest error; the first of those whose error is NaN."""
        return max(self.outputs, key=lambda name: _order(self.outputs[name]))

    @property
    def value(self) -> float:
        """The largest error."""
        return self.outputs[self.worst]

    def outside(self, fidelity: Fidelity) -> bool:
        """Return whether a build of that kind computes something else than its source."""
        return not self.value < BOUNDS[fidelity]

    def shown(self) -> str:
        """Return the largest error as text."""
        return f"{OUTPUT_ERROR} {self.value:.3g} at the output {self.worst!r}"

    def to_json(self) -> dict[str, Json]:
        """Return the figures by name; what no JSON file can hold is None."""
        return {
            OUTPUT_ERROR: _finite(self.value),
            "outputs": {name: _finite(value) for name, value in self.outputs.items()},
            "runs": self.runs,
        }


def _order(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
