"""Both picks, and the best session of the network as it is, measured again by one protocol."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from networks.subject import Prepared
from onnxing.olive import catalog

from paretune.comparing.api import compare
from paretune.core.candidate import RuntimeSettings
from paretune.core.jsontools import read_json, write_json
from paretune.core.measurement import Rung
from paretune.core.permissions import Permissions
from paretune.data.context import Context
from paretune.data.spec import ARRAYS
from paretune.evaluators.base import Budget
from paretune.models.declared_network import FILE as DECLARED
from paretune.models.handle import open_model
from paretune.models.onnx_files import external_files
from paretune.registry import find_evaluator
from paretune.runtimes.onnxruntime import SETTINGS

_LEVELS = {0: "disable", 1: "basic", 2: "extended", 99: "all"}
_CORES = 2
"""Of the session where Olive set no number of threads: ONNX Runtime takes all."""


def measured_again(
    prepared: Prepared,
    source: Path,
    place: Path,
    ours: Mapping[str, Any],
    olive: Mapping[str, Any] | None,
    seconds: float,
) -> dict[str, Any]:
    """Compare the speeds interleaved, and compute the quality of Olive's pick by our evaluators.

    Args:
        prepared: The network.
        source: The folder with it.
        place: A folder with its data, the study and the store.
        ours: What our search found.
        olive: What Olive's search found; None: it did not run.
        seconds: Of the comparison.
    """
    study = str(place / "study")
    entrants: dict[str, str] = {}
    plain, pick = ours["best_plain"], ours["pick"]
    if pick is not None:
        entrants["ours"] = f"{study}#{pick['id']}"
    if plain is not None and (pick is None or plain["id"] != pick["id"]):
        entrants["as it is"] = f"{study}#{plain['id']}"
    found: dict[str, Any] = {"quality": {}}
    for name, row in (("ours", pick), ("as it is", plain)):
        if row is not None:
            found["quality"][name] = row["metrics"].get(prepared.metric, {}).get("value")
    if olive is not None and olive["pick"] is not None:
        folder = as_model(olive["pick"], source, place / "olive-pick")
        entrants["olive"] = str(folder)
        found["quality"]["olive"] = quality(prepared, source, place, folder)
    if len(entrants) > 1:
        told = compare(
            list(entrants.values()),
            time=seconds,
            shapes={name: list(shape) for name, shape in prepared.shapes.items()},
            store=place / "store",
        )
        found["names"] = list(entrants)
        found["speed"] = told
    return found


def as_model(pick: Mapping[str, Any], source: Path, folder: Path) -> Path:
    """Make a folder that runs here of what Olive handed over, its session's settings included.

    Args:
        pick: The file, and the settings.
        source: The folder with the network, for what is declared of it.
        folder: Made anew.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    file = Path(pick["file"])
    if file.is_dir():
        (file,) = file.glob("*.onnx")
    shutil.copyfile(file, folder / "model.onnx")
    for name in external_files(file):
        shutil.copyfile(file.parent / name, folder / name)
    if (source / DECLARED).is_file():
        shutil.copyfile(source / DECLARED, folder / DECLARED)
    write_json(folder / SETTINGS, settings_of(pick["settings"]))
    return folder


def settings_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a session of ours that Olive's inference settings are."""
    session = found.get("session_options") or {}
    extra = session.get("extra_session_config") or {}
    settings: dict[str, Any] = {
        "provider": "cpu",
        "threads": session.get("intra_op_num_threads") or _CORES,
        "spinning": extra.get("session.intra_op.allow_spinning", "1") == "1",
    }
    level = session.get("graph_optimization_level")
    if level is not None:
        settings["graph_optimization"] = _LEVELS[level]
    if session.get("execution_mode") == 1:
        settings["execution_mode"] = "parallel"
        settings["inter_op_threads"] = session.get("inter_op_num_threads") or 1
    return settings


def quality(prepared: Prepared, source: Path, place: Path, folder: Path) -> float | None:
    """Return the metric that counts of a network on the held-out rows, by our evaluator."""
    ((name, params),) = prepared.quality[0].items()
    evaluator: Any = find_evaluator(name)
    form = {"form": ARRAYS} if "form" in evaluator.Params.model_fields else {}
    with tempfile.TemporaryDirectory(prefix="paretune-onnx-") as scratch:
        context = Context(
            Path(scratch),
            Path(scratch),
            catalog(prepared, place),
            permissions=Permissions(remote_code=True),
            reference=open_model(source),
        )
        runtime = RuntimeSettings.from_json(dict(read_json(folder / SETTINGS)))
        measurements = evaluator(evaluator.Params(**params, **form)).measure(
            open_model(folder), runtime, Rung.FULL, Budget(), context
        )
    values: dict[str, float | None] = {m.metric: m.value for m in measurements}
    return values[prepared.metric]
