"""A loaded network that is given one row of a data set at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import DataError, InvalidArtifactError, UsageError, nearest
from paretune.core.model import Model
from paretune.data.arrays import ArrayRow
from paretune.data.context import Context
from paretune.runtimes.base import Runs
from paretune.runtimes.serving import check_folder, load_session, source_runtime

Array = Any
"""A numpy array."""


class Network:
    """Answers rows.

    Args:
        session: Loaded.
        ref: Of the data set, for messages.
    """

    def __init__(self, session: Runs, ref: str) -> None:
        self._session, self._ref = session, ref

    def outputs(self, row: ArrayRow) -> dict[str, Array]:
        """Return the outputs for one row, by name, without the batch axis.

        Raises:
            DataError: The row does not have the inputs of the network, or not of its types.
            InvalidArtifactError: The network does not run on it.
        """
        steps = getattr(self._session, "has_state", False)
        given, count = batch_of(row, self._session.inputs, self._ref, steps=steps)
        found = self._session.run(given)
        return {name: _first(value, count) for name, value in found.items()}

    def output(self, row: ArrayRow, name: str | None) -> Array:
        """Return one output for one row.

        Args:
            row: The row.
            name: Of the output; None: the network has only one.

        Raises:
            UsageError: The network has no such output, or several and none is named.
            InvalidArtifactError: It does not run on the row, or gives NaN.
        """
        found = self.outputs(row)
        if name is None and len(found) > 1:
            raise UsageError(
                f"the network has the outputs {', '.join(found)}: name one by `output`",
                hint="Under the evaluator: `output: NAME`.",
            )
        chosen = next(iter(found)) if name is None else name
        if chosen not in found:
            raise UsageError(
                f"the network has no output {chosen!r}; it has {', '.join(found)}",
                hint=nearest(chosen, found),
            )
        return finite(found[chosen], chosen, row, self._ref)


def finite(value: Array, name: str, row: ArrayRow, ref: str) -> Array:
    """Return an output, unless there is NaN in it.

    Args:
        value: The output.
        name: Its name.
        row: What it was computed from.
        ref: Of the data set.

    Raises:
        InvalidArtifactError: There is.
    """
    import numpy as np

    if value.dtype.kind == "f" and bool(np.isnan(value).any()):
        raise InvalidArtifactError(f"its output {name!r} is NaN for row {row.row + 1} of {ref}")
    return value


def batch_of(
    row: ArrayRow,
    inputs: Mapping[str, tuple[str, tuple[int | None, ...]]],
    ref: str,
    *,
    steps: bool = False,
) -> tuple[dict[str, Array], int | None]:
    """Return what a network is given for one row, and how many rows it takes that for.

    Arrays of inputs that the network does not have are left out: a pass may drop an input that
    nothing reads. A network that was made for several rows is given the same row several times. An
    input that has as many axes as the row's array has no batch axis; of a network with state, the
    array is a sequence, whose first axis counts the steps.

    Args:
        row: The row.
        inputs: Type and shape of each input of the network.
        ref: Of the data set, for messages.
        steps: Whether the network has state, so that rows may be sequences.

    Raises:
        DataError: An input is missing, or of another type or number of axes.
    """
    import numpy as np

    given: dict[str, Array] = {}
    count: int | None = None
    for name, (kind, shape) in inputs.items():
        if name not in row.inputs:
            raise DataError(
                f"{ref}: the network has an input {name!r}, and the data set does not",
                hint=f"`inputs` gives {', '.join(sorted(row.inputs))}; the network takes "
                f"{', '.join(sorted(inputs))}.",
            )
        array = _as(row.inputs[name], kind, f"{ref}: row {row.row + 1}, input {name!r}")
        if array.ndim + 1 == len(shape) or (steps and array.ndim == len(shape) > 0):
            count = shape[0] or 1
            array = np.repeat(array[None], count, axis=0)
        elif array.ndim != len(shape):
            raise DataError(
                f"{ref}: row {row.row + 1}, input {name!r} has the shape {list(array.shape)}; the "
                f"network takes {list(shape)}, of which the first may count rows",
                hint="Give each row the shape without the axis of the rows.",
            )
        given[name] = array
    return given, count


def _as(array: Array, kind: str, where: str) -> Array:
    """Return an array in the network's type, if that has the same values (floats: nearly)."""
    import numpy as np

    wanted = np.dtype(kind)
    if array.dtype == wanted:
        return array
    made = array.astype(wanted) if wanted.kind != "b" or array.dtype.kind == "b" else None
    same = made is not None and (
        wanted.kind == "f" or (array.dtype.kind != "f" and bool((made == array).all()))
    )
    if made is None or not same:
        raise DataError(
            f"{where} is {array.dtype} with values from {array.min()} to {array.max()}; the "
            f"network takes {kind}",
            hint="Store the data in the type that the network takes.",
        )
    return made


def _first(value: Any, count: int | None) -> Array:
    """Return the first row's part of an output; one that is not by row as it is."""
    import numpy as np

    array = np.asarray(value)
    return array[0] if count is not None and array.ndim and len(array) == count else array


def network_of(model: Model, runtime: RuntimeSettings, ref: str, context: Context) -> Network:
    """Load the model that is measured.

    Args:
        model: The packaged model.
        runtime: What to run it with.
        ref: Of the data set that it will answer.
        context: Flags.
    """
    trusted = context.trust_remote_code
    return Network(load_session(model, runtime, trust_remote_code=trusted), ref)


@contextmanager
def baseline_network(ref: str, context: Context) -> Iterator[Network | None]:
    """Yield the baseline, loaded; None where it is not built.

    Args:
        ref: Of the data set that it will answer.
        context: Has the baseline as `reference`.
    """
    model = context.reference
    runtime = None if model is None else source_runtime(model.kind)
    if model is None or runtime is None:
        yield None
        return
    check_folder(model)
    # On the CPU whatever the candidate runs on: the same numbers for all of them.
    with runtime.comparing(model, "cpu", context.trust_remote_code) as session:
        yield Network(session, ref)
