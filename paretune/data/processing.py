"""Pre-processing of a row: a transformers processor's folder, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.core.errors import DataError, UsageError
from paretune.core.file_functions import file_of, function_of, names_function, require_trust
from paretune.core.packages import check_installed
from paretune.core.permissions import Permissions
from paretune.data.cells import Cell
from paretune.data.processors import by_transformers
from paretune.data.spec import DataSpec
from paretune.models.hub import fetch_model, is_hub_name

Process = Callable[[Mapping[str, Cell]], Mapping[str, Any]]
"""Takes a row's cells by column; returns arrays by input of the network, without a batch axis."""

_DESCRIBING = frozenset({".json", ".txt", ".model", ".py"})


def process_of(spec: DataSpec, root: Path, permissions: Permissions) -> Process:
    """Return what turns a row into the network's inputs.

    Args:
        spec: A data set of arrays.
        root: Where relative paths start.
        permissions: Whether code that the configuration names may run, and whether a processor may
            be fetched from the hub.

    Raises:
        DataError: There is no such folder or function, the function may not run, or nothing in the
            folder takes a column.
    """
    if "image" in spec.readings.values():
        check_installed("a data set of images", ("pillow",))
    if spec.process is None:
        return _as_they_are(spec)
    if names_function(spec.process):
        try:
            require_trust(spec.process, "process", permissions.remote_code)
            function = function_of(spec.process, root, "process")
        except UsageError as error:  # as one of the data, which is told with the data set's name
            raise DataError(error.message, hint=error.hint) from error
        return lambda row: function({column: cell.value for column, cell in row.items()})
    folder = _folder(spec.process, root, permissions)
    if not folder.is_dir():
        raise DataError(
            f"process: no folder {spec.process!r}",
            hint="Expected the folder of a transformers processor or tokenizer, or "
            "file.py:function.",
        )
    check_installed("process", ("transformers",))
    return by_transformers(folder, spec.readings, tuple(spec.inputs or {}))


def files_of_process(spec: DataSpec, root: Path, permissions: Permissions) -> tuple[Path, ...]:
    """Return the files that pre-processing reads; none where there is none.

    Args:
        spec: A data set.
        root: Where relative paths start.
        permissions: Whether a processor may be fetched from the hub.

    Raises:
        UsageError: It is on the hub, and the network is off.
    """
    if spec.process is None:
        return ()
    path = _folder(file_of(spec.process), root, permissions)
    inside = sorted(path.iterdir()) if path.is_dir() else [path]
    # A folder may be a model's: of it only what describes the pre-processing counts.
    return tuple(p for p in inside if p.is_file() and p.suffix in _DESCRIBING)


def _folder(name: str, root: Path, permissions: Permissions) -> Path:
    """Return a path as it is given, else the folder of a model on the hub."""
    path = root / name
    if not path.exists() and is_hub_name(name):
        return fetch_model(name, replace(permissions, remote_code=False))
    return path


def _as_they_are(spec: DataSpec) -> Process:
    columns = spec.inputs or {}
    return lambda row: {name: row[column].value for name, column in columns.items()}
