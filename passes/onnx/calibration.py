"""Arrays that a network is calibrated on: rows of a data set, step by step where it has a state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paretune.core.errors import DataError, InvalidArtifactError, PassError, nearest
from paretune.core.model import Model
from paretune.data.arrays import ArrayRow
from paretune.data.context import Context
from paretune.models.declared_network import read_declared
from paretune.models.onnx_files import network_file
from paretune.runtimes.network_runs import NetworkRuns

Inputs = Mapping[str, Any]
"""An array of each input of a network, its batch axis and its state included."""


def inputs_of(name: str, model: Model, ref: str, most: int, context: Context) -> list[Inputs]:
    """Return what a network is given for rows of a data set, evenly spaced.

    A row is one run, with a batch of one or as many as the network takes; of a network with state,
    it is one run for each step of the row, with the state that the network itself has then.

    Args:
        name: The pass, for messages.
        model: The network.
        ref: A data set of arrays.
        most: Rows that are taken.
        context: Of the pass.

    Raises:
        PassError: The rows lack an input of the network, have one that it does not have, or it does
            not run on them.
        InvalidArtifactError: The network does not load.
    """
    rows = context.data.arrays(ref).rows
    step = max(1, -(-len(rows) // most))
    runs = _Recorded(model)
    _check_names(name, ref, rows[0], runs)
    for row in rows[::step]:
        try:
            given, _ = row.batch(runs.inputs, ref, steps=runs.has_state)
        except DataError as error:
            raise PassError(f"{name}: {error.message}", hint=error.hint) from error
        try:
            runs.run(given)
        except Exception as error:  # ONNX Runtime's own classes derive from Exception alone
            raise PassError(
                f"{name}: the network does not run on row {row.row + 1} of {ref}: "
                f"{str(error)[:300]}",
                hint="A row holds the arrays of one example, without a batch axis.",
            ) from error
    return runs.given


class CalibrationRows:
    """Gives arrays to ONNX Runtime's calibration, one run after another.

    Args:
        inputs: Of each run.
    """

    def __init__(self, inputs: Sequence[Inputs]) -> None:
        self._inputs = inputs
        self._next, self._end = 0, len(inputs)

    def __len__(self) -> int:
        return len(self._inputs)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with a part of the runs."""
        self._next, self._end = start_index, min(end_index, len(self._inputs))

    def get_next(self) -> dict[str, Any] | None:
        """Return the arrays of the next run; None: there is none."""
        if self._next >= self._end:
            return None
        self._next += 1
        return dict(self._inputs[self._next - 1])


class _Recorded:
    """Runs a network, and keeps what it was given in each step."""

    def __init__(self, model: Model) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                str(network_file(model.path)), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own classes derive from Exception alone
            raise InvalidArtifactError(f"the network does not load: {error}") from error
        declared = read_declared(model.path)
        self._state = dict(declared.state)
        values = dict(declared.values)
        self._runs = NetworkRuns(self, self._state, dict(declared.sizes), values)
        self.inputs = self._runs.inputs()
        self.has_state = bool(self._state)
        self.given: list[Inputs] = []

    def get_inputs(self) -> Any:
        return self._session.get_inputs()

    def get_outputs(self) -> Any:
        return self._session.get_outputs()

    def run(self, *given: Any) -> Any:
        """Run a row (arrays alone), or a step of it (outputs and arrays)."""
        if len(given) == 2:
            self.given.append(given[1])
            return self._session.run(*given)
        if self._state:
            return self._runs.run(*given)
        arrays = {**given[0], **self._runs.fixed}
        if not self.given:  # for what it says if it does not run; the others are like it
            self._session.run(None, arrays)
        self.given.append(arrays)
        return None


def _check_names(name: str, ref: str, row: ArrayRow, runs: _Recorded) -> None:
    missing = [key for key in runs.inputs if key not in row.inputs]
    strange = [key for key in row.inputs if key not in runs.inputs]
    if missing:
        raise PassError(
            f"{name}: data {ref!r} has no arrays for the input {missing[0]!r} of the network",
            hint=f"`inputs` of the data set names columns for: {', '.join(runs.inputs)}.",
        )
    if strange:
        raise PassError(
            f"{name}: the network has no input {strange[0]!r}, of which data {ref!r} has arrays",
            hint=nearest(strange[0], runs.inputs),
        )
