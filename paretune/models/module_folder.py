"""A PyTorch module that the user names, as a model folder: its code, and what it takes and gives.

A new folder's module is run once, in a process of its own: what is wrong with it is reported before
anything else runs, and the names of its outputs are known from then on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from paretune.core.child_interpreter import calling
from paretune.core.code_files import modules_of
from paretune.core.errors import StateError, UsageError
from paretune.core.file_functions import located
from paretune.core.jsontools import write_json
from paretune.core.packages import check_installed
from paretune.models.described_module import FILE, PROGRAM, DescribedModule, ModuleInput
from paretune.models.made_folders import NETWORKS, made_folder

_DESCRIBE = "paretune.models.torch_module:describe"
_ENDLESS_S = 600.0
"""A module that has not run once after this time is refused."""


def module_folder(
    place: str, inputs: Mapping[str, ModuleInput], files: Sequence[str], root: Path, store: Path
) -> Path:
    """Return a folder with a function's code and the files that it opens.

    Args:
        place: ``file.py:function``, which may run.
        inputs: Of the module, by name.
        files: That the function opens, relative to its own file.
        root: Where a relative path starts.
        store: The store.

    Raises:
        UsageError: There is no such file or function, it fails, it does not return a module, or
            the module does not take these inputs.
    """
    file, function = located(place, root, "module")
    wanted = modules_of(file)
    for name in files:
        inner = (file.parent / name).resolve()
        if not inner.is_file() or not inner.is_relative_to(file.parent):
            raise UsageError(
                f"module: files: no file {name!r} in the folder of {file.name}",
                hint="Name files below that folder, as the function opens them beside itself.",
            )
        wanted[inner.relative_to(file.parent).as_posix()] = inner
    said = DescribedModule(f"{file.name}:{function}", inputs)
    return _made(file, file.stem, said, wanted, store)


def program_folder(file: Path, store: Path) -> Path:
    """Return a folder with an exported program.

    Args:
        file: A ``.pt2`` file, which may be loaded.
        store: The store.

    Raises:
        UsageError: It does not load or run, or takes and gives other things than tensors.
    """
    return _made(file, file.stem, DescribedModule("", {}), {PROGRAM: file}, store)


def _made(
    source: Path, inner: str, said: DescribedModule, files: Mapping[str, Path], store: Path
) -> Path:
    check_installed(f"the model {source.name}", ("torch",))

    def describe(folder: Path) -> None:
        write_json(folder / inner / FILE, said.to_json())
        _run_once(folder / inner, source)

    wanted = {f"{inner}/{name}": file for name, file in files.items()}
    what = [str(source.resolve()), said.to_json()]
    written = frozenset({f"{inner}/{FILE}"})
    try:
        place = made_folder(store, NETWORKS, what, wanted, finish=describe, written=written)
    except StateError as error:
        raise UsageError(f"model {str(source)!r}: {error.message}", hint=error.hint) from error
    return place / inner


def _run_once(folder: Path, source: Path) -> None:
    """Complete `FILE` by what the module takes and gives.

    Raises:
        UsageError: It does not run.
    """
    folder = folder.resolve()
    result = folder / ".described.json"
    command = calling(_DESCRIBE, str(folder), str(result))
    try:
        # In an empty folder: what it would open in the user's own is not part of the model.
        with tempfile.TemporaryDirectory() as empty:
            ended = subprocess.run(
                command,
                cwd=empty,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_ENDLESS_S,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise UsageError(
            f"{source.name} has not run once after {_ENDLESS_S:g} seconds",
            hint="Does it wait for something? It is called without arguments.",
        ) from error
    if not result.is_file():
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise UsageError(
            f"{source.name} ended its process with status {ended.returncode}: {last}",
            hint=f"Try it alone: {Path(sys.executable).name} {source.name}.",
        )
    found = json.loads(result.read_text(encoding="utf-8"))
    result.unlink()
    if "error" in found:
        raise UsageError(found["error"], hint=found["hint"])
    write_json(folder / FILE, found)
