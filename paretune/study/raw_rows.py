"""What turns a raw row into a network's inputs, and its outputs into an answer, for packages.

``STUDY/rows`` holds it from the study's start on, so that a package that is picked later, elsewhere
or without the data, has it too: `FILE`, the files of the processor or tokenizer, and the user's
functions with the modules that they import. A package gets it as `PACKAGE`, with the modules of
paretune that read rows, as they are: they import nothing else of it.
"""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from paretune.core import errors, file_functions
from paretune.core.code_files import code_beside, modules_of
from paretune.core.distributions import variants
from paretune.core.file_functions import located, names_function
from paretune.core.jsontools import Json, read_json, write_json
from paretune.core.permissions import Permissions
from paretune.data import batches, cells, processors
from paretune.data.processing import files_of_process
from paretune.evaluators.arrays import chosen, raw_row
from paretune.evaluators.arrays.raw_row import FILE
from paretune.registry import find_evaluator

if TYPE_CHECKING:
    from paretune.config.plan import EvaluatorChoice
    from paretune.data.catalog import DataCatalog
    from paretune.data.spec import DataSpec

FOLDER = "rows"
"""Where a study keeps it."""
PACKAGE = "paretune_rows"
"""Where a package has it."""
_MODULES = (errors, file_functions, cells, processors, batches, chosen, raw_row)
_OURS = re.compile(r"^from paretune\.[\w.]*?(\w+) import ", re.MULTILINE)
_ANSWERS = {"classification": "class", "token_classification": "classes"}
"""Evaluators whose answers are classes."""


def keep_raw_rows(
    study: Path,
    evaluators: Iterable[EvaluatorChoice],
    catalog: DataCatalog,
    permissions: Permissions,
) -> None:
    """Write how the rows are read that are measured on, with all that is needed for it.

    Of several evaluators of arrays the first one counts that makes answers of outputs.

    Args:
        study: Its folder.
        evaluators: What is measured, in configured order.
        catalog: The data sets.
        permissions: Whether a processor may be fetched from the hub.
    """
    folder = study / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    found = list(_reading_arrays(evaluators, catalog))
    if not found:
        return
    ref, name, params = next((each for each in found if _answer(*each[1:])), found[0])
    spec = catalog.spec_of(ref)
    folder.mkdir()
    said: dict[str, Json] = {
        "data": ref,
        "inputs": dict(spec.inputs or {}),
        "read": dict(spec.readings),
        "process": None,
        "needs": {name: _version(name) for name in _needs(spec)},
        "code": [],
        "code_needs": {},
        "output": params.get("output"),
        "labels": params.get("labels"),
        "answer": _answer(name, params),
    }
    if spec.process is not None and names_function(spec.process):
        said["process"] = _keep_code(spec.process, catalog.root, folder, "process", said)
    elif spec.process is not None:
        (folder / "processor").mkdir()
        for file in files_of_process(spec, catalog.root, permissions):
            if file.suffix != ".py":  # code of a processor's folder never runs
                shutil.copyfile(file, folder / "processor" / file.name)
        said["process"] = "processor"
    if params.get("postprocess"):
        place = params["postprocess"]
        said["answer"] = _keep_code(place, catalog.root, folder, "postprocess", said)
    write_json(folder / FILE, said, durable=False)


def add_raw_rows(package: Path, study: Path) -> Mapping[str, Any] | None:
    """Copy what a study keeps into a package, with the modules that read it.

    Args:
        package: Its folder.
        study: The study's; one of an earlier version keeps nothing.

    Returns:
        The content of `FILE`; None: nothing is kept.
    """
    kept, folder = study / FOLDER, package / PACKAGE
    shutil.rmtree(folder, ignore_errors=True)  # of the package that the input model was
    if not (kept / FILE).is_file():
        return None
    shutil.copytree(kept, folder)
    (folder / "__init__.py").write_text("", encoding="utf-8")
    for module in _MODULES:
        (folder / f"{_last(module)}.py").write_text(_alone(module), encoding="utf-8")
    said: Mapping[str, Any] = read_json(folder / FILE)
    return said


def _alone(module: ModuleType) -> str:
    """Return the source of a module that imports its neighbours in the package."""
    return _OURS.sub(rf"from {PACKAGE}.\1 import ", inspect.getsource(module))


def _last(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _reading_arrays(
    evaluators: Iterable[EvaluatorChoice], catalog: DataCatalog
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield data set, name and parameters of the evaluators that read arrays."""
    for choice in evaluators:
        kind = find_evaluator(choice.name)
        params = kind.Params(**choice.params)
        for ref in kind(params).data:
            if catalog.is_arrays(ref):
                yield ref, choice.name, params.model_dump()


def _answer(name: str, params: Mapping[str, Any]) -> str | None:
    return params.get("postprocess") or _ANSWERS.get(name)


def _needs(spec: DataSpec) -> list[str]:
    """Return the distributions that reading a row needs, beside those of the network's runtime."""
    by_processor = spec.process is not None and not names_function(spec.process)
    found = ["transformers"] if by_processor else []
    return [*found, "pillow"] if "image" in spec.readings.values() else found


def _version(name: str) -> str:
    return variants(name).get(name, "")


def _keep_code(place: str, root: Path, folder: Path, who: str, said: dict[str, Any]) -> str:
    """Copy a function's file and the modules that it imports; returns the function's new place."""
    file, function = located(place, root, who)
    code = code_beside(file)
    for name, source in modules_of(file, code).items():
        target = folder / who / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        said["code"].append(f"{who}/{name}")
    said["code_needs"] |= code.installed
    return f"{who}/{file.name}:{function}"
