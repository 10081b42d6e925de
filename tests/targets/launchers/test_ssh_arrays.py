"""Searches on data of arrays whose devices have none of the files that rows and functions name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import paretune
from tests.file_rows import ROWS, write_inputs


def searched(folder: Path, name: str, target: dict[str, Any], passes: list[Any]) -> dict[str, Any]:
    """Search; returns the candidates by their recipe's first pass."""
    board = {"ssh": "board", "python": sys.executable, "store": str(folder / "far")}
    config = {
        "model": "network",
        "data": {"rows": ROWS},
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
