"""A loaded network that is given one row of a data set at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError, UsageError, nearest
from paretune.core.model import Model
from paretune.data.arrays import ArrayRow
from paretune.data.batches import of_first_row
from paretune.data.cells import NUMBERS
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
        given, count = row.batch(self._session.inputs, self._ref, steps=steps)
        found = self._session.run(given)
        return {name: of_first_row(value, count) for name, value in found.items()}

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


def numbers(value: Array, who: str) -> Array:
    """Return an output, unless it is text.

    Args:
        value: The output.
        who: The evaluator, for messages.

    Raises:
        UsageError: It is.
    """
    if value.dtype.kind not in NUMBERS:
        raise UsageError(
            f"the output is text; {who} takes numbers", hint="Name another output (`output:`)."
        )
    return value


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
