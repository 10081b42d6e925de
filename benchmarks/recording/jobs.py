"""What `record_chains.py` calls in processes of their own: one build with its accuracy.

The passes run as in a search, but nothing is compared with its source: that is not recorded, and
would cost as much as the build.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune.core.candidate import RuntimeSettings, recipe_from_json
from paretune.core.jsontools import digest
from paretune.core.measurement import Rung
from paretune.core.model import Model
from paretune.data.catalog import DataCatalog
from paretune.data.context import Context
from paretune.evaluators.base import Budget
from paretune.evaluators.examples import shuffled
from paretune.models.handle import detect_kind, folder_bytes, open_model
from paretune.models.structure import structure_of
from paretune.registry import find_evaluator, find_pass
from paretune.runtimes.package import lay_out


def apply(name: str, params: Mapping[str, Any], model: Model, out: Path) -> float:
    """Run a pass; its output appears whole or not at all; returns the seconds."""
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    pass_ = find_pass(name)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=part.parent) as scratch:
        context = Context(part, Path(scratch), DataCatalog({}, Path.cwd()))
        pass_.run(model, pass_.Params(**params), context)
    seconds = time.perf_counter() - begin
    part.rename(out)
    return seconds


def build(
    adapter: str, base: str, recipe: Sequence[Mapping[str, Any]], folder: str
) -> dict[str, Any]:
    """Build a recipe of an adapter; what is in the folder already is taken from there.

    Args:
        adapter: Folder of the adapter.
        base: Folder of the model that it is of.
        recipe: The passes.
        folder: Where each prefix of the recipe is kept, under names of its own.

    Returns:
        ``path`` of the last model, ``artifact`` and ``structure``, ``size_mb``, and the ``s`` of
        each step that ran (None of the others).
    """
    # Digests are only asked of the last model: a large one's takes as long as a merge.
    below = Model(detect_kind(Path(base)), Path(base), "")
    model = Model(detect_kind(Path(adapter)), Path(adapter), "", below)
    seconds, name = list[float | None](), ""
    for step in recipe_from_json(recipe):
        name = f"{name}{step.name}{_short(step.params)}"
        out = Path(folder, name)
        took = None if out.is_dir() else apply(step.name, step.params, model, out)
        seconds.append(took)
        model = Model(detect_kind(out), out, "")
    model = open_model(model.path)
    return {
        "path": str(model.path),
        "artifact": model.digest,
        "structure": structure_of(model),
        "size_mb": folder_bytes(model.path) / 1e6,
        "s": seconds,
    }


def _short(params: Mapping[str, Any]) -> str:
    return "" if not params else digest(dict(params))[7:15]


def build_and_judge(
    adapter: str,
    base: str,
    recipe: Sequence[Mapping[str, Any]],
    folder: str,
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """Build, and judge every example once; returns what `build` does, and what was right.

    ``right`` is a text of 0 and 1 in the order in which the evaluator takes the examples, so that
    its first N tell what the evaluator finds on N examples.
    """
    found = build(adapter, base, recipe, folder)
    evaluator = find_evaluator("classification")
    asked = evaluator(evaluator.Params(data="tone.test"))
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        runtime = RuntimeSettings("cpu", 1)
        model = lay_out(open_model(Path(found["path"])), runtime, Path(place, "p"), link=True)
        context = Context(Path(place), Path(place), DataCatalog.from_json(data))
        accuracy = asked.measure(model, runtime, Rung.FULL, Budget(), context)[0]
    rows = dict(zip(accuracy.details.rows or (), accuracy.samples, strict=True))
    right = "".join(str(int(rows[index])) for index in shuffled(len(rows)))
    return {**found, "right": right, "judged_s": time.perf_counter() - begin}
