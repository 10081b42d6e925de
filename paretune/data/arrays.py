"""Rows of arrays: what a network is given, and the answer that is right."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretune.core.errors import DataError, UsageError, nearest
from paretune.core.jsontools import Json, canonical, digest
from paretune.data.batches import batch_of
from paretune.data.cells import NUMBERS, CellError, read_cell
from paretune.data.processing import Process
from paretune.data.rows import rows_told
from paretune.data.spec import DataSpec

Array = Any
"""A numpy array."""

MAX_BYTES = 4 << 30
"""What is kept of one file."""


@dataclass(frozen=True, eq=False)
class ArrayRow:
    """One example for a network.

    Attributes:
        inputs: An array of each input, without a batch axis.
        target: The right answer: a number, a text, or lists of them; None: the data set has none.
        row: 0-based row in its file.
        group: What the split goes by.
        inputs_digest: Of the inputs.
    """

    inputs: Mapping[str, Array]
    target: Json
    row: int
    group: str
    inputs_digest: str

    def batch(
        self,
        inputs: Mapping[str, tuple[str, tuple[int | None, ...]]],
        ref: str,
        *,
        steps: bool = False,
    ) -> tuple[dict[str, Array], int | None]:
        """Return what a network is given for this row; see `batch_of`.

        Args:
            inputs: Type and shape of each input of the network.
            ref: Of the data set, for messages.
            steps: Whether the network has state.

        Raises:
            DataError: An input is missing, or of another type or number of axes.
        """
        return batch_of(self.inputs, inputs, f"{ref}: row {self.row + 1}", steps=steps)


@dataclass(frozen=True)
class ArrayData:
    """One referenced part of a data set of arrays.

    Attributes:
        ref: Such as ``files.train``.
        rows: In file order.
    """

    ref: str
    rows: tuple[ArrayRow, ...]

    @property
    def digest(self) -> str:
        """Content digest of exactly these rows."""
        return digest(["arrays", [[row.inputs_digest, row.target] for row in self.rows]])

    @property
    def values(self) -> int:
        """How many numbers all inputs have together."""
        return sum(array.size for row in self.rows for array in row.inputs.values())


@dataclass(frozen=True)
class ReadArrays:
    """What a file holds, by one specification.

    Attributes:
        rows: In file order.
        notes: What is not wrong, but should be known.
    """

    rows: tuple[ArrayRow, ...]
    notes: tuple[str, ...]


def inputs_digest(inputs: Mapping[str, Array]) -> str:
    """Return the digest of a row's arrays: names, types, shapes and bytes."""
    made = hashlib.sha256()
    for name in sorted(inputs):
        array = inputs[name]
        made.update(canonical([name, str(array.dtype), list(array.shape)]).encode())
        made.update(array.tobytes())
    return made.hexdigest()


def read_arrays(
    spec: DataSpec, rows: Iterable[Mapping[str, Any]], file: str, folder: Path, process: Process
) -> ReadArrays:
    """Turn rows of a table or an ``.npz`` file into what a network is given.

    Args:
        spec: How.
        rows: As they were read.
        file: Where from, for messages.
        folder: Where relative paths in cells start.
        process: Pre-processing.

    Raises:
        DataError: A column is missing, a cell is not what it should be, the pre-processing fails,
            or there is more than can be held.
    """
    reader = _Reader(spec, file, folder, process)
    found = tuple(reader.row(number, row) for number, row in enumerate(rows, start=spec.skip))
    strange = [row.row for row in found if not _finite(row.inputs)]
    notes = (f"{file}: {rows_told(strange)} not finite (NaN or infinity)",) if strange else ()
    return ReadArrays(found, notes)


class _Reader:
    def __init__(self, spec: DataSpec, file: str, folder: Path, process: Process) -> None:
        self.spec, self.file, self.folder, self.process = spec, file, folder, process
        self._bytes = 0
        self._ranks: dict[str, tuple[int, str]] = {}
        self._rates: dict[str, int] = {}

    def row(self, number: int, row: Mapping[str, Any]) -> ArrayRow:
        inputs = self._inputs(number, row)
        target = self._target(number, row)
        found = group = inputs_digest(inputs)
        split = self.spec.split
        if split is not None and split.group is not None:
            group = canonical(self._plain(number, row, split.group, "the split groups by"))
        return ArrayRow(inputs, target, number, group, found)

    def _inputs(self, number: int, row: Mapping[str, Any]) -> dict[str, Array]:
        cells = {}
        for column, how in self.spec.readings.items():
            value = self._cell(number, row, column, "`inputs` names")
            try:
                cells[column] = read_cell(value, how, self.folder)
            except CellError as error:
                raise DataError(
                    f"{self._at(number, column)}: {error.what}, expected {_EXPECTED[how]}",
                    hint=error.hint,
                ) from error
            rate = cells[column].rate
            if rate is not None and self._rates.setdefault(column, rate) != rate:
                raise DataError(
                    f"{self._at(number, column)}: {rate} samples per second, where the rows before "
                    f"have {self._rates[column]}",
                    hint="Convert the audio files to one rate.",
                )
        made = self._processed(number, cells)
        if number == self.spec.skip and self.spec.process is not None:
            again = self._processed(number, cells)
            if any(made[name].tobytes() != again[name].tobytes() for name in made):
                raise DataError(
                    f"{self.file}: process gives other arrays when it is given the first row again",
                    hint="Remove what is random from it: every model must be measured on the same "
                    "arrays.",
                )
        return made

    def _processed(self, number: int, cells: Mapping[str, Any]) -> dict[str, Array]:
        import numpy as np

        where, wanted = f"{self.file}: row {number + 1}", list(self.spec.inputs or {})
        try:
            made = self.process(cells)
        except UsageError as error:
            raise DataError(f"{where}: {error.message}", hint=error.hint) from error
        except Exception as error:  # the user's function may raise anything
            raise DataError(
                f"{where}: process failed: {type(error).__name__}: {error}",
                hint=f"process is {self.spec.process}.",
            ) from error
        if not isinstance(made, Mapping) or sorted(made) != sorted(wanted):
            shown = sorted(map(str, made)) if isinstance(made, Mapping) else type(made).__name__
            raise DataError(
                f"{where}: process returned {shown}, expected arrays by input: {sorted(wanted)}",
                hint="`inputs` names the inputs of the network.",
            )
        # A copy is the row's own: a function may fill one buffer again and again.
        found = {name: np.array(made[name], order="C") for name in wanted}
        for name, array in found.items():
            if array.dtype.kind not in NUMBERS:
                raise DataError(
                    f"{where}, input {name!r}: an array of {array.dtype}, expected numbers",
                    hint="A network takes numbers or booleans.",
                )
            known = self._ranks.setdefault(name, (array.ndim, where))
            if array.ndim != known[0]:
                raise DataError(
                    f"{where}, input {name!r}: {array.ndim} axes (shape {list(array.shape)}), "
                    f"where the first row has {known[0]}",
                    hint="Every row must have the same number of axes.",
                )
            self._bytes += array.nbytes
        if self._bytes > MAX_BYTES:
            raise DataError(
                f"{self.file}: more than {MAX_BYTES >> 30} GiB of arrays (reached at row "
                f"{number + 1})",
                hint="Say `limit:` to use its first rows only.",
            )
        return found

    def _target(self, number: int, row: Mapping[str, Any]) -> Json:
        column = self.spec.target
        return None if column is None else self._plain(number, row, column, "`target` names")

    def _plain(self, number: int, row: Mapping[str, Any], column: str, who: str) -> Json:
        value = self._cell(number, row, column, who)
        if hasattr(value, "tolist"):
            value = value.tolist()
        if value is None or value != value or value == "":
            raise DataError(
                f"{self._at(number, column)}: nothing, expected a value, because {who} it",
                hint="Give the row its value, or remove it.",
            )
        try:
            canonical(value)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{self._at(number, column)}: a {type(value).__name__} ({error}), expected a "
                "number, a text, or lists of them",
                hint="Write it as JSON does.",
            ) from error
        plain: Json = value
        return plain

    def _cell(self, number: int, row: Mapping[str, Any], column: str, who: str) -> Any:
        if column not in row:
            raise DataError(
                f"{self.file}: row {number + 1} has no column {column!r}, which {who}",
                hint=nearest(column, row),
            )
        return row[column]

    def _at(self, number: int, column: str) -> str:
        return f"{self.file}: row {number + 1}, column {column!r}"


_EXPECTED = {
    "array": "numbers",
    "image": "an image",
    "audio": "an audio file",
    "text": "text",
}


def _finite(inputs: Mapping[str, Array]) -> bool:
    import numpy as np

    return all(bool(np.isfinite(a).all()) for a in inputs.values() if a.dtype.kind == "f")
