"""A search over a plain ONNX network that is measured on its data, compared with its baseline."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import paretune
from tests.onnx_networks import network_weights, write_network

CONFIG = """
model: network
data:
  rows: {file: rows.npz, inputs: {x: x}, target: y, split: {test: 0.5}}
passes:
  - onnx_dynamic_int8
    optional: true
evaluate:
  - classification: {data: rows.test}
  - agreement: {data: rows.test}
  - footprint
target: {threads: [1]}
objectives: {minimize: size_mb, maximize: accuracy}
constraints: [top1_agreement >= 0.5]
search: {time: 5m, finals: 0, strategy: exhaustive}
"""


@pytest.mark.slow
def test_what_it_measures_is_what_onnxruntime_and_numpy_say(tmp_path: Path) -> None:
    write_network(tmp_path / "network", width=64, classes=4)
    x = np.random.default_rng(0).normal(size=(80, 64)).astype(np.float32)
    one, two = network_weights(64, 4).values()
    y = (np.maximum(x @ one, 0) @ two).argmax(1)
    y[::8] = (y[::8] + 1) % 4
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    (tmp_path / "net.yaml").write_text(
        CONFIG.replace("- onnx_dynamic_int8\n    ", "- any: [onnx_dynamic_int8]\n    ")
    )
    found = paretune.optimize(
        tmp_path / "net.yaml", study=tmp_path / "study", store=tmp_path / "store"
    )
    rows = {len(row["recipe"]): row for row in found.results["candidates"]}
    assert {row["outcome"] for row in rows.values()} == {"ok"}, rows
    whole, built = (rows[n]["metrics"] for n in (0, 1))
    assert whole["accuracy"]["n"] == 40
    assert 0.7 < whole["accuracy"]["value"] < 1
    assert whole["max_abs_difference"]["value"] == 0
    assert whole["top1_agreement"]["value"] == 1
    assert found.best is not None
    session = onnxruntime.InferenceSession(str(next(found.best.rglob("*.onnx"))))
    given = (session.run(None, {"x": row[None]})[0] for row in x)
    right = np.maximum(x @ one, 0) @ two
    differences = [float(np.abs(g - r).max()) for g, r in zip(given, right, strict=True)]
    # How far int8 is off depends on the processor: its kernels saturate without VNNI.
    assert min(abs(built["max_abs_difference"]["value"] - d) for d in differences) < 1e-4
    assert built["max_abs_difference"]["value"] > 0.01
    assert 0.7 < built["top1_agreement"]["value"] <= 1
    np.save(tmp_path / "row.npy", x[0])
    command = [sys.executable, str(found.best / "sample.py"), "x=row.npy"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1].startswith("answer: ")
    assert "python sample.py x=..." in (found.best / "model_card.md").read_text()
