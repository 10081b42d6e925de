"""Times of products with rounded matrices on a device, kept beside its profile in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paretune.core.jsontools import read_json, write_json

_SCHEMA = 1
_FOLDER = Path("devices", "kernels")


@dataclass(frozen=True)
class Product:
    """A ``MatMulNBits`` on one row of activations: a step of decoding.

    Attributes:
        rows: Outputs.
        width: Inputs.
        bits: Of a weight.
        block_size: Weights that share a scale.
        is_symmetric: Whether there are no zero points.
        accuracy_level: What the activations are rounded to (onnxruntime's number).
        threads: How many threads compute it.
    """

    rows: int
    width: int
    bits: int
    block_size: int
    is_symmetric: bool
    accuracy_level: int
    threads: int

    @property
    def key(self) -> str:
        """All of it as text."""
        grid = f"block {self.block_size} {'symmetric' if self.is_symmetric else 'zero points'}"
        return (
            f"{self.rows} x {self.width}, {self.bits} bits, {grid}, "
            f"level {self.accuracy_level}, threads {self.threads}"
        )


def kernel_times_file(store_root: Path, fingerprint: str) -> Path:
    """Return where the times of a device lie in a store."""
    return store_root / _FOLDER / f"{fingerprint.replace(':', '-')}.json"


def read_kernel_times(file: Path) -> dict[str, float]:
    """Return seconds by `Product.key`; nothing of a file that is not there or damaged."""
    try:
        found = read_json(file)
        if found["schema"] != _SCHEMA:
            return {}
        return {str(key): float(seconds) for key, seconds in found["seconds"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # they are measured again


def write_kernel_times(file: Path, seconds: Mapping[str, float]) -> None:
    """Write seconds by `Product.key`, in place of what is there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"schema": _SCHEMA, "seconds": dict(sorted(seconds.items()))})
