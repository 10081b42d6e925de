"""Searches on data of arrays whose devices have none of the files that rows and functions name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import paretune
from tests.onnx_networks import network_weights, write_network

STEPS = """
from pathlib import Path

from scaling import scaled

FACTOR = float(Path(__file__).with_name("factor.txt").read_text())


def prepare(row):
    return {"x": scaled(row["cell"], FACTOR)}


def answer(outputs):
    return "abc"[outputs["y"].argmax()]
"""
POST = """
from words.of import word


def answer(outputs):
    return word(outputs["y"].argmax())
"""


def write_inputs(folder: Path, rows: int = 40) -> None:
    """Write a network, rows that name files, and functions that import modules beside them."""
    write_network(folder / "network", width=64, classes=3)
    one, two = network_weights(64, 3).values()
    x = np.random.default_rng(0).normal(size=(rows, 64)).astype(np.float32)
    right = (np.maximum(2 * x @ one, 0) @ two).argmax(1)
    right[::5] = (right[::5] + 1) % 3
    (folder / "cells").mkdir()
    lines = []
    for number, (row, best) in enumerate(zip(x, right, strict=True)):
        np.save(folder / "cells" / f"{number}.npy", row)
        lines.append(json.dumps({"cell": f"cells/{number}.npy", "word": "abc"[best]}))
    (folder / "rows.jsonl").write_text("\n".join(lines))
    (folder / "factor.txt").write_text("2")
    (folder / "steps.py").write_text(STEPS)
    (folder / "scaling.py").write_text("def scaled(x, by):\n    return x * x.dtype.type(by)\n")
    (folder / "post.py").write_text(POST)
    (folder / "words").mkdir()
    (folder / "words" / "__init__.py").write_text("")
    (folder / "words" / "of.py").write_text("def word(place):\n    return 'abc'[place]\n")


def searched(folder: Path, name: str, target: dict[str, Any], passes: list[Any]) -> dict[str, Any]:
    """Search; returns the candidates by their recipe's first pass."""
    data = {
        "file": "rows.jsonl",
        "inputs": {"x": "cell"},
        "process": "steps.py:prepare",
        "target": "word",
        "split": {"test": 0.5, "confirm": 0.2},
    }
    board = {"ssh": "board", "python": sys.executable, "store": str(folder / "far")}
    config = {
        "model": "network",
        "data": {"rows": data},
        "passes": passes,
        "evaluate": [
            {"recognition": {"data": "rows.test", "postprocess": "post.py:answer"}},
            {"agreement": {"data": "rows.test"}},
            "footprint",
        ],
        "targets": {"board": board},
        "target": {**target, "threads": [1]},
        "objectives": {"maximize": "exact_match", "minimize": "size_mb"},
        "search": {"finals": 0, "strategy": "exhaustive"},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    found = paretune.optimize(
        folder / f"{name}.yaml",
        study=folder / name,
        store=folder / f"{name}-store",
        trust_remote_code=True,
    )
    assert found.best is not None
    rows = found.results["candidates"]
    assert {row["outcome"] for row in rows} == {"ok"}, rows
    return {
        row["recipe"][0]["pass"] if row["recipe"] else "": {
            metric: (told["value"], told["n"])
            for metric, told in row["metrics"].items()
            if metric in ("exact_match", "cer", "max_abs_difference", "top1_agreement")
        }
        for row in rows
    }


@pytest.mark.slow
@pytest.mark.usefixtures("sshd")
def test_a_device_calibrates_a_build_on_the_arrays_that_were_made_here(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    passes = [{"onnx_static_int8": {"data": "rows.train"}}]
    here = searched(tmp_path, "here", {"measure": "local"}, passes)
    assert searched(tmp_path, "there", {"build": "board", "measure": "board"}, passes) == here
    assert here["onnx_static_int8"]["exact_match"][1] == 20


@pytest.mark.usefixtures("sshd")
def test_a_device_measures_on_the_arrays_that_were_made_here(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    passes = [{"any": ["onnx_dynamic_int8"], "optional": True}]
    here = searched(tmp_path, "here", {"measure": "local"}, passes)
    there = searched(tmp_path, "there", {"build": "local", "measure": "board"}, passes)
    assert there == here
    assert here[""]["exact_match"] == (pytest.approx(0.8, abs=0.15), 20)
    assert here[""]["max_abs_difference"] == (0.0, 20)
    assert here["onnx_dynamic_int8"]["max_abs_difference"][0] > 0
    arrived = [file.read_bytes() for file in (tmp_path / "far" / "files").iterdir()]
    cell = (tmp_path / "cells" / "0.npy").read_bytes()
    assert cell not in arrived, "files that rows name stay here"
