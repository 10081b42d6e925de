"""A raw row in a package: from texts and paths on the command line to a network's answer.

The module is part of a package (`paretune.study.raw_rows`): of paretune it imports what is copied
beside it, so that a row goes the way that the rows went that were measured.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune.core.errors import DataError, nearest
from paretune.core.file_functions import function_of
from paretune.data.batches import batch_of, of_first_row
from paretune.data.cells import CellError, read_cell
from paretune.data.processors import by_transformers
from paretune.evaluators.arrays.chosen import chosen_class

FILE = "rows.json"


class RawRow:
    """One row, from its columns to the answer.

    Args:
        folder: Has `FILE`, and the processor's files or the user's code:
            ``inputs`` (column by input), ``read`` (how each column is read), ``process``
            (``file.py:function``, or a folder; null: arrays as they are), ``needs`` (version by
            distribution), ``output``, ``labels``, and ``answer``: ``class``, ``classes`` of each
            position, a function, or null where the outputs are the answer.

    Attributes:
        count: How many rows the network was given at once; None: its inputs do not count rows.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        self.count: int | None = None

    @property
    def usage(self) -> str:
        """The arguments of a program that takes a row."""
        shown = {"text": "TEXT", "image": "FILE", "audio": "FILE.wav", "array": "FILE.npy"}
        return " ".join(f"{column}={shown[how]}" for column, how in self._said["read"].items())

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the network's inputs that a row gives."""
        return tuple(self._said["inputs"])

    def arrays(self, arguments: Sequence[str], folder: Path) -> dict[str, Any]:
        """Return what pre-processing makes of a row: an array by input, without a batch axis.

        Args:
            arguments: ``COLUMN=VALUE`` each; a value is text, the path of a file, or numbers as
                JSON writes them.
            folder: Where relative paths start.

        Raises:
            DataError: A column is missing or unknown, a value is not what it should be, or a
                package is not installed.
        """
        import numpy as np

        read, wanted = self._said["read"], self._said["inputs"]
        given: dict[str, str] = {}
        for each in arguments:
            # The longest first: a column's name may have the sign in it, too.
            known = [column for column in read if each.startswith(f"{column}=")]
            column = max(known, key=len, default=each.partition("=")[0])
            if column in given:
                raise DataError(f"the column {column!r} is given twice")
            given[column] = each[len(column) + 1 :]
        strange = [column for column in given if column not in read]
        missing = [column for column in read if column not in given]
        if strange or missing:
            told = (
                f"no column {strange[0]!r}" if strange else f"the column {missing[0]!r} is missing"
            )
            raise DataError(
                f"{told}: expected {self.usage}", hint=nearest((strange or missing)[0], read)
            )
        for name, version in self._said["needs"].items():
            try:
                importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError as error:
                raise DataError(
                    f"a row needs {name}, which is not installed",
                    hint=f"Run: pip install {name}=={version}",
                ) from error
        cells = {}
        for column, how in read.items():
            try:
                cells[column] = read_cell(given[column], how, folder)
            except CellError as error:
                raise DataError(f"{column}: {error.what}", hint=error.hint) from error
        process = self._said["process"]
        if process is None:
            made: Mapping[str, Any] = {name: cells[column].value for name, column in wanted.items()}
        elif ".py:" in process:
            row = {column: cell.value for column, cell in cells.items()}
            made = self._called(process, "process", row)
            if not isinstance(made, Mapping) or sorted(made) != sorted(wanted):
                shown = sorted(map(str, made)) if isinstance(made, Mapping) else type(made).__name__
                raise DataError(f"process returned {shown}, expected arrays of {sorted(wanted)}")
        else:
            made = by_transformers(self._folder / process, read, tuple(wanted))(cells)
        return {name: np.array(made[name], order="C") for name in wanted}

    def batch(
        self,
        arguments: Sequence[str],
        inputs: Mapping[str, tuple[str, tuple[int | None, ...]]],
        *,
        steps: bool = False,
    ) -> dict[str, Any]:
        """Return what a network takes for a row.

        Args:
            arguments: As of `arrays`; relative paths start at the working folder.
            inputs: Type and shape of each input of the network, None for an open size.
            steps: Whether the network has state, so that a row may be a sequence.

        Raises:
            DataError: As of `arrays`, or the network takes something else.
        """
        made = self.arrays(arguments, Path.cwd())
        given, self.count = batch_of(made, inputs, "the row", steps=steps)
        return given

    def answer(self, outputs: Mapping[str, Any]) -> Any:
        """Return the answer to the row of `batch`; None: the outputs are the answer.

        Args:
            outputs: Of the network, by name.

        Raises:
            DataError: The function that makes it fails.
        """
        how, name, labels = (self._said[key] for key in ("answer", "output", "labels"))
        if how is None:
            return None
        of_row = {each: of_first_row(value, self.count) for each, value in outputs.items()}
        if how not in ("class", "classes"):
            return self._called(how, "postprocess", of_row)
        found = of_row[next(iter(of_row)) if name is None else name]
        if how == "class":
            return chosen_class(found, labels)
        return [chosen_class(scores, labels) for scores in found]

    def _called(self, place: str, who: str, given: Mapping[str, Any]) -> Any:
        """Return what the user's function makes of something.

        Raises:
            DataError: It is not there, or fails.
        """
        function = function_of(place, self._folder, who)
        try:
            return function(given)
        except Exception as error:  # the user's function may raise anything
            raise DataError(
                f"{who} failed: {type(error).__name__}: {error}",
                hint=f"It is {place} in {self._folder}: files that it opens beside itself are not "
                "in the package; copy them there.",
            ) from error
