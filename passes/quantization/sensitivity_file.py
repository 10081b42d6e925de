"""What `sensitivity` leaves beside a model: how the loss depends on the rounding of each matrix.

The rounding error of a matrix W in the grid Q is scaled by a number s: W + s (Q(W) - W). At s = 0
the derivative of a text's loss by s says how much that error matters. The loss is a sum of
logarithms of probabilities; the mean square of its derivative is the Fisher information about s,
half of which is the expected divergence at s = 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from paretune.core.errors import PassError
from paretune.core.jsontools import Json, read_json, write_json
from paretune.core.model import ModelInfo

FILE = "sensitivity.json"
HEAD_NAME, EMBEDDING_NAME = "/lm_head", "/model/embed_tokens"
BITS = (4, 8)
"""The widths that are measured."""
_GRID = {"block_size", "is_symmetric", "algorithm"}


@dataclass(frozen=True)
class Sensitivity:
    """How the loss of texts depends on the rounding of each matrix.

    Attributes:
        block_size: Weights that share a scale.
        is_symmetric: Whether there are no zero points.
        algorithm: How they are rounded: ``default`` (to the nearest) or ``gptq``.
        tokens: How many tokens the texts' losses are sums over.
        derivatives: By bits and matrix: the derivative of each text's loss, in nats.
    """

    block_size: int
    is_symmetric: bool
    algorithm: str
    tokens: int
    derivatives: Mapping[int, Mapping[str, tuple[float, ...]]]

    def divergence(self, names: Iterable[str], bits: int) -> float:
        """Return the expected divergence (KL, nats per token) if only these matrices are rounded.

        Args:
            names: Matrices that are rounded together (of a fused matrix, its parts).
            bits: To how many.
        """
        measured = self.derivatives[bits]
        of_texts = zip(*(measured[name] for name in names), strict=True)
        return math.fsum(math.fsum(parts) ** 2 for parts in of_texts) / 2 / self.tokens

    def write(self, folder: Path) -> None:
        """Write it beside a model."""
        derivatives = {
            str(bits): {name: list(values) for name, values in by_name.items()}
            for bits, by_name in self.derivatives.items()
        }
        content: dict[str, Json] = {
            "block_size": self.block_size,
            "is_symmetric": self.is_symmetric,
            "algorithm": self.algorithm,
            "tokens": self.tokens,
            "derivatives": derivatives,
        }
        write_json(folder / FILE, content, durable=False)

    @classmethod
    def read(cls, folder: Path) -> Sensitivity:
        """Read what `write` wrote.

        Raises:
            PassError: There is none, or it cannot be read.
        """
        file = folder / FILE
        try:
            found = read_json(file)
            derivatives = {
                bits: {
                    name: tuple(map(float, values))
                    for name, values in found["derivatives"][str(bits)].items()
                }
                for bits in BITS
            }
            return cls(
                found["block_size"],
                found["is_symmetric"],
                found["algorithm"],
                found["tokens"],
                derivatives,
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise PassError(
                f"genai: budget needs {FILE}, which the pass `sensitivity` writes, in "
                f"{folder}: {type(error).__name__}: {error}",
                hint="Put `sensitivity` directly before genai.",
            ) from error


def measured_grid(model: ModelInfo) -> Mapping[str, Json] | None:
    """Return the grid that `sensitivity` has measured a model for; None: it was not the last pass.

    Args:
        model: What a pass would get.
    """
    found = model.built_with.get("rounded_to")
    # Other passes have a parameter of that name, too: the grid of `awq_scaling` has bits.
    return found if isinstance(found, Mapping) and found.keys() == _GRID else None
