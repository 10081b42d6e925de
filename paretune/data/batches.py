"""One row as a network takes it, and the row's part of what the network gives.

The module is part of a package, too (`paretune.study.raw_rows`): of paretune it imports what is
copied beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paretune.core.errors import DataError

Array = Any
"""A numpy array."""


def batch_of(
    arrays: Mapping[str, Array],
    inputs: Mapping[str, tuple[str, tuple[int | None, ...]]],
    where: str,
    *,
    steps: bool = False,
) -> tuple[dict[str, Array], int | None]:
    """Return what a network is given for one row, and how many rows it takes that for.

    Arrays of inputs that the network does not have are left out: a pass may drop an input that
    nothing reads. A network that was made for several rows is given the same row several times. An
    input that has as many axes as the row's array has no batch axis; of a network with state, the
    array is a sequence, whose first axis counts the steps.

    Args:
        arrays: Of the row, by input, without a batch axis.
        inputs: Type and shape of each input of the network.
        where: The data set and the row, for messages.
        steps: Whether the network has state, so that rows may be sequences.

    Raises:
        DataError: An input is missing, or of another type or number of axes.
    """
    import numpy as np

    given: dict[str, Array] = {}
    count: int | None = None
    for name, (kind, shape) in inputs.items():
        if name not in arrays:
            raise DataError(
                f"{where}: the network has an input {name!r}, and the data set does not",
                hint=f"`inputs` gives {', '.join(sorted(arrays))}; the network takes "
                f"{', '.join(sorted(inputs))}.",
            )
        array = _as(arrays[name], kind, f"{where}, input {name!r}")
        if array.ndim + 1 == len(shape) or (steps and array.ndim == len(shape) > 0):
            count = shape[0] or 1
            array = np.repeat(array[None], count, axis=0)
        elif array.ndim != len(shape):
            raise DataError(
                f"{where}, input {name!r} has the shape {list(array.shape)}; the "
                f"network takes {list(shape)}, of which the first may count rows",
                hint="Give each row the shape without the axis of the rows.",
            )
        given[name] = array
    return given, count


def _as(array: Array, kind: str, where: str) -> Array:
    """Return an array in the network's type, if that has the same values (floats: nearly)."""
    import numpy as np

    wanted = np.dtype(kind)
    if array.dtype == wanted or not array.size:  # an empty list is of no type
        return array.astype(wanted, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        made = array.astype(wanted)
    if wanted.kind == "f":
        same = not (np.isinf(made) & np.isfinite(array)).any()
    else:
        same = array.dtype.kind != "f" and wanted.kind != "b" and (made == array).all()
    if not same:
        raise DataError(
            f"{where} is {array.dtype} with values from {array.min()} to {array.max()}; the "
            f"network takes {kind}",
            hint="Store the data in the type that the network takes.",
        )
    return made


def of_first_row(value: Any, count: int | None) -> Array:
    """Return the first row's part of an output; one that is not by row as it is.

    Args:
        value: The output.
        count: How many rows the network was given; None: its inputs do not count rows.
    """
    import numpy as np

    array = np.asarray(value)
    if count is None or not array.ndim or len(array) != count:
        return array
    return np.asarray(array[0], dtype=array.dtype)  # of texts, the first is no array by itself
