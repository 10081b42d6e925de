"""What a matrix of a build costs at 4 and at 8 bits: bytes, or time on this device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from paretune.core.kernel_times import Product

if TYPE_CHECKING:
    from paretune.passes.genai.options import GenaiParams
    from paretune.passes.genai.quantized_nodes import QuantizedNode

_BITS = (4, 8)
_LEVEL_ON_CPU = 4


class Costs(Protocol):
    """What matrices cost.

    Attributes:
        name: Of the cost, in a sentence.
    """

    @property
    def name(self) -> str:
        """Of the cost, in a sentence."""

    def of(self, nodes: Sequence[QuantizedNode]) -> list[Mapping[int, float]]:
        """Return the cost of each matrix by bits."""

    def shown(self, cost: float) -> str:
        """Return a cost with its unit."""


def costs_of(params: GenaiParams, file: Path | None) -> Costs:
    """Return what matrices cost in a build.

    Args:
        params: Of the build.
        file: Where this device's times are kept; None: nowhere.
    """
    if not params.spends_time:
        return Bytes()
    from paretune.core.resources import physical_cores

    level = params.accuracy_level
    return Times(_LEVEL_ON_CPU if level is None else level, physical_cores(), file)


@dataclass(frozen=True)
class Bytes:
    """The size of codes, scales and zero points."""

    name: str = "bytes"

    def of(self, nodes: Sequence[QuantizedNode]) -> list[Mapping[int, float]]:
        """Return the bytes of each matrix by bits."""
        return [{bits: bytes_of(node, bits) for bits in _BITS} for node in nodes]

    def shown(self, cost: float) -> str:
        """Return megabytes."""
        return f"{cost / 1e6:.4g} MB"


@dataclass(frozen=True)
class Times:
    """The time of a product for one token, as this device computes it.

    Attributes:
        accuracy_level: Of the build.
        threads: That compute it.
        file: Where this device's times are kept; None: nowhere.
    """

    accuracy_level: int
    threads: int
    file: Path | None
    name: str = "time"

    def of(self, nodes: Sequence[QuantizedNode]) -> list[Mapping[int, float]]:
        """Return the seconds of each matrix by bits; shapes that are not known are measured."""
        from paretune.runtimes.product_times import product_times

        products = [{bits: self._product(node, bits) for bits in _BITS} for node in nodes]
        times = product_times((p for each in products for p in each.values()), self.file)
        return [{bits: times[p] for bits, p in each.items()} for each in products]

    def shown(self, cost: float) -> str:
        """Return milliseconds per token."""
        return f"{1000 * cost:.3g} ms per token"

    def _product(self, node: QuantizedNode, bits: int) -> Product:
        grid = node.grid
        return Product(
            node.rows,
            node.width,
            bits,
            grid.block_size,
            grid.symmetric,
            self.accuracy_level,
            self.threads,
        )


def bytes_of(node: QuantizedNode, bits: int) -> float:
    """Return the bytes that a node's matrix takes, scales and zero points included."""
    blocks = -(-node.width // node.grid.block_size)
    zero_points = 0 if node.grid.symmetric else -(-blocks * bits // 8)
    return node.rows * (blocks * (node.grid.block_size * bits // 8 + 4) + zero_points)
