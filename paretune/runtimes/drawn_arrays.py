"""Arrays that are made up for a network of which there are no data: drawn, the same each time.

Values of floats are normal. An integer input that picks rows of a stored table gets valid indices,
a mask gets ones, with zeros at the end (padding) in every second run, other integers are small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paretune.core.errors import InvalidArtifactError
from paretune.runtimes.base import Runs
from paretune.runtimes.made_up_arrays import require_numbers

SIZES = (8, 33, 224, 1)
"""Tried for dimensions of any size: some networks need a smallest one, images a large one."""
_SIZES_TAKEN = 2
"""Sizes on which a network is run: an export may be right for the size that it was traced with."""
_ROWS, _RUNS = 4, 2
"""Of each size: rows in a run where the first dimension is open, and runs."""
_SMALL = 10
"""Integers whose range nothing says are below it."""


def runs_of(
    session: Runs, limits: Mapping[str, int]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Run a network on made-up arrays of the sizes that it takes.

    Args:
        session: The network.
        limits: By input, the number that its integers are below.

    Returns:
        Inputs and outputs of each run; empty where no size that is tried fits.

    Raises:
        InvalidArtifactError: No dimension but the first is open, and it does not run; or an input
            is not an array of numbers.
    """
    require_numbers(session.inputs)
    shapes = [shape for _, shape in session.inputs.values()]
    open_sizes = any(None in shape[1:] for shape in shapes)
    found: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for size in SIZES if open_sizes else SIZES[:1]:
        refusal: InvalidArtifactError | None = None
        for rows, small in ((_ROWS, _SMALL), (1, _SMALL), (1, 1)):
            arrays = list(drawn(session, limits, size, rows, small))
            try:
                found += [(each, dict(session.run(each))) for each in arrays]
                break
            except InvalidArtifactError as error:
                refusal = error
        else:
            if not open_sizes and refusal is not None:
                raise refusal
        if len(found) >= _SIZES_TAKEN * _RUNS:
            break
    return found


def drawn(
    session: Runs, limits: Mapping[str, int], size: int, rows: int, small: int
) -> Iterator[dict[str, Any]]:
    """Yield the arrays of each run of one size.

    Args:
        session: The network.
        limits: By input, the number that its integers are below.
        size: Of dimensions of any size but the first.
        rows: Size of the first dimension, where it is open.
        small: The number that integers without a limit are below; 1: they are ones.
    """
    import numpy as np

    for run in range(_RUNS):
        draw = np.random.default_rng(run)
        arrays = {
            name: _array(
                draw,
                np.dtype(kind),
                [
                    (rows if at == 0 else size) if known is None else known
                    for at, known in enumerate(shape)
                ],
                limits.get(name, 1 if "mask" in name.lower() else small),
                limited=name in limits,
            )
            for name, (kind, shape) in session.inputs.items()
        }
        if run % 2:
            _pad(arrays)
        yield arrays


def _pad(arrays: Mapping[str, Any]) -> None:
    """Put zeros at the end of masks, as after the shorter texts of a batch."""
    for name, array in arrays.items():
        if "mask" in name.lower() and array.dtype.kind in "iub" and array.ndim == 2:
            array[-1, array.shape[1] // 2 + 1 :] = 0


def _array(draw: Any, kind: Any, shape: list[int], below: int, *, limited: bool) -> Any:
    import numpy as np

    if kind.kind == "f":
        return draw.normal(size=shape).astype(kind)
    if kind.kind == "b" or (below == 1 and not limited):
        return np.ones(shape, kind)
    if kind.itemsize == 1 and not limited:  # pixels, samples
        kinds = np.iinfo(kind)
        return draw.integers(kinds.min, kinds.max, shape, kind, endpoint=True)
    return draw.integers(0, below, shape).astype(kind)
