"""The same network, rows and space in Microsoft Olive's own search.

Olive's passes, its tuning of the session, a sampler and its latency are used as they are; the
quality comes from an evaluator of the user's (``olive_script.py``) that stands in for its accuracy,
computed on the same held-out rows by the same rule. What it has no counterpart of is left out:
`onnx_mixed`, and a candidate without any pass, for which `OnnxPeepholeOptimizer` stands. Its
sampler is ``random``: ``tpe`` takes the first of several passes whichever it suggests, with the
parameters of the suggested one, and ends the search.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT
from networks.subject import Prepared
from onnxing.searching import CALIBRATIONS, ROWS, THREADS
from peers.olive_runs import QUIET

from paretune.core.jsontools import read_json, write_json
from paretune.data.catalog import DataCatalog
from paretune.data.context import Context
from paretune.data.spec import DataSpec
from paretune.models.handle import open_model
from paretune.models.onnx_files import network_file
from paretune.passes.onnx.calibration import inputs_of

ENVIRONMENT = ROOT / ".peers" / "olive"
_SCRIPT = Path(__file__).with_name("olive_script.py")
# Of a build that an earlier candidate made, this version of Olive fails to note the second use
# ("FootprintNode" object has no field "model_config"), and the candidate with it: each build is
# measured with the first session that is tried.
_TUNING = "OrtSessionParamsTuning"
_HARD_LIMIT = 2.0
"""Olive looks at its time between candidates only: after so many times its time it is ended."""


def catalog(prepared: Prepared, place: Path) -> DataCatalog:
    """Return the rows of a network."""
    specs = {"rows": DataSpec(**prepared.data)}
    return DataCatalog(specs, place, trust_remote_code=True)


def run(prepared: Prepared, source: Path, place: Path, minutes: float) -> dict[str, Any]:
    """Search with Olive; returns the wall time, what came, and the pick as it handed it over.

    Args:
        prepared: The network.
        source: The folder with it.
        place: A folder with its data.
        minutes: Of the search.
    """
    folder = place / "olive"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _write_rows(prepared, source, place, folder)
    flow = workflow(prepared, network_file(source), folder, minutes)
    (folder / "workflow.json").write_text(json.dumps(flow, indent=1), encoding="utf-8")
    begin = time.monotonic()
    status = _run(folder, 60 * minutes * _HARD_LIMIT + 60)
    seconds = time.monotonic() - begin
    log = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
    return {
        "status": status,
        "seconds": seconds,
        "workflow": flow,
        **_found(folder),
        "failures": _failures(log),
    }


def workflow(prepared: Prepared, network: Path, folder: Path, minutes: float) -> dict[str, Any]:
    """Return the workflow.

    Args:
        prepared: The network.
        network: Its file.
        folder: With the rows.
        minutes: Of the search.
    """
    calibration = _data("calibration", folder / "train.npz")
    timed = _data("timed", folder / "timed.npz")
    smaller = prepared.metric == "max_abs_difference"
    goal = {"type": "max-degradation", "value": prepared.loss}
    metrics = [
        {
            "name": "latency",
            "type": "latency",
            "data_config": "timed",
            "sub_types": [{"name": "p50", "priority": 1, "higher_is_better": False}],
        },
        {
            "name": "quality",
            "type": "accuracy",
            "sub_types": [
                {
                    "name": "accuracy_score",
                    "metric_config": {"task": "multiclass", "num_classes": 2},
                    "priority": 2,
                    "higher_is_better": not smaller,
                    "goal": goal,
                }
            ],
        },
    ]
    judge = {
        "type": "JudgedEvaluator",
        "type_args": {"judged": str(folder / "judged.json")},
        "user_script": str(_SCRIPT),
        "metrics": metrics,
    }
    tuning = [
        {
            "type": _TUNING,
            "data_config": "timed",
            "intra_thread_num_list": list(THREADS),
            "opt_level_list": 99,
            "extra_session_config": {"session.intra_op.allow_spinning": spinning},
        }
        for spinning in ("1", "0")
    ]
    return {
        "input_model": {"type": "ONNXModel", "model_path": str(network)},
        "data_configs": [calibration, timed],
        "evaluators": {"judge": judge},
        "passes": {"build": _builds(prepared), "session": tuning},
        "search_strategy": {
            "execution_order": "joint",
            "sampler": "random",
            "sampler_config": {"seed": 0},
            "max_time": round(60 * minutes),
        },
        "evaluator": "judge",
        "evaluate_input_model": True,
        "cache_dir": str(folder / "cache"),
        "output_dir": str(folder / "out"),
    }


def _data(name: str, file: Path) -> dict[str, Any]:
    return {
        "name": name,
        "user_script": str(_SCRIPT),
        "load_dataset_config": {"type": "given_rows", "params": {"file": str(file)}},
        "dataloader_config": {"type": "no_auto_batch_dataloader"},
    }


def _builds(prepared: Prepared) -> list[dict[str, Any]]:
    """Return the passes, each with the parameters of ours that it has."""
    plain = {"precision": "int8", "reduce_range": False, "quant_preprocess": True}
    static = {
        "type": "OnnxStaticQuantization",
        **plain,
        "data_config": "calibration",
        "quant_format": "QDQ",
        "activation_type": "uint8",
    }
    built: list[dict[str, Any]] = [
        {"type": "OnnxPeepholeOptimizer"},
        {"type": "OnnxDynamicQuantization", **plain, "per_channel": [False, True]},
        {
            **static,
            "calibrate_method": ["MinMax" if c == "minmax" else "Percentile" for c in CALIBRATIONS],
            "per_channel": [False, True],
        },
        # The same library as onnx_weight_only uses; parameters as there.
        *(
            {
                "type": "OnnxBlockWiseRtnQuantization",
                "bits": bits,
                "block_size": 32,
                "is_symmetric": False,
                "accuracy_level": 4,
            }
            for bits in (4, 8)
        ),
        {"type": "OnnxFloatToFloat16", "keep_io_types": True},
    ]
    for step in prepared.passes:
        ((name, params),) = step.items()
        if name == "onnx_static_int8":
            kept = {"per_channel": True, "op_types_to_quantize": params["op_types_to_quantize"]}
            built.append({**static, "calibrate_method": "MinMax", **kept})
        if name == "onnx_optimize":
            built.append({"type": "OrtTransformersOptimization", "model_type": params["fusions"]})
    return built


def _write_rows(prepared: Prepared, source: Path, place: Path, folder: Path) -> None:
    """Write what the network is given: to calibrate on, to time, and to judge."""
    data, model = catalog(prepared, place), open_model(source)
    context = Context(folder, folder, data)
    given = inputs_of("olive", model, "rows.train", ROWS, context)
    _save(folder / "train.npz", given)
    made = {name: array for name, array in given[0].items() if name not in prepared.shapes}
    timed = inputs_of("olive", model, "rows.test", 1, context)[0]
    _save(folder / "timed.npz", [_of_shape(timed, prepared.shapes) | made])
    rows = data.arrays("rows.test").rows
    _save(folder / "test.npz", [{k: v[None] for k, v in row.inputs.items()} for row in rows])
    ((_, first),) = prepared.quality[0].items()
    write_json(
        folder / "judged.json",
        {
            "metric": prepared.metric,
            "rows": "test.npz",
            "state": dict(prepared.state),
            "targets": [row.target for row in rows],
            "output": first.get("output"),
            "postprocess": first.get("postprocess"),
            "source": str(network_file(source)),
        },
    )
    for file in place.glob("*.py"):
        shutil.copy(file, folder)
    for file in place.glob("characters.json"):
        shutil.copy(file, folder)


def _of_shape(given: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return a run whose arrays have the shapes that speed is compared at, repeated or cut.

    Of a network with state it is one step, which is all that Olive runs.
    """
    return {
        name: np.resize(array, shapes[name]) if array.ndim == len(shapes[name]) else array
        for name, array in given.items()
        if name in shapes
    }


def _save(file: Path, runs: Sequence[Mapping[str, Any]]) -> None:
    arrays = {f"{n}/{name}": array for n, run in enumerate(runs) for name, array in run.items()}
    np.savez(file, **arrays)


def _run(folder: Path, limit_s: float) -> int | None:
    """Run the workflow; returns its exit status, None if it was ended."""
    python = ENVIRONMENT / "bin" / "python"
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [python, "-m", "olive", "run", "--config", "workflow.json"],
            cwd=folder,
            env={**os.environ, **QUIET},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            return process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _found(folder: Path) -> dict[str, Any]:
    """Return what was evaluated, and the model that was handed over."""
    out = folder / "out"
    nodes = read_json(out / "footprint.json") if (out / "footprint.json").is_file() else {}
    trials = {
        id: {
            "pass": nodes[node["parent_model_id"]]["from_pass"],
            "params": nodes[node["parent_model_id"]]["pass_run_config"],
            "session": node["model_config_data"]["config"].get("inference_settings"),
            "metrics": {name: each["value"] for name, each in node["metrics"]["value"].items()},
            "goals_met": node["metrics"]["if_goals_met"],
            "front": node["is_pareto_frontier"],
        }
        for id, node in nodes.items()
        if node["from_pass"] == _TUNING.lower() and node["metrics"] is not None
    }
    pick = None
    if (out / "model_config.json").is_file():
        config = read_json(out / "model_config.json")["config"]
        settings = config.get("inference_settings") or {}
        made = [t for t in trials.values() if t["front"] and t["session"] == settings]
        pick = {
            "file": config["model_path"],
            "settings": settings,
            "pass": made[0]["pass"] if made else None,
        }
    return {"candidates": len(trials), "trials": list(trials.values()), "pick": pick}


def _failures(log: str) -> list[str]:
    """Return the last lines of the tracebacks in a log, each once, with how often it came."""
    counts: dict[str, int] = {}
    inside = False
    for line in log.splitlines():
        if line.startswith("Traceback"):
            inside = True
        elif inside and line and not line.startswith(" "):
            counts[line[:300]] = counts.get(line[:300], 0) + 1
            inside = False
    return [f"{count} x {line}" for line, count in counts.items()]
