"""A search over a plain ONNX network, up to its package and the package's own program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import paretune
from tests.onnx_networks import write_network

CONFIG = """
model: network
passes:
  - onnx_dynamic_int8: {per_channel: [false, true]}
    optional: true
evaluate:
  - latency: {shapes: {x: [32, 512]}}
  - footprint
target: {threads: [1]}
objectives: {minimize: [size_mb, latency_ms_p50]}
search: {time: 5m, finals: 0}
"""


@pytest.mark.slow
def test_from_a_network_to_a_package_that_runs(tmp_path: Path) -> None:
    write_network(tmp_path / "network", width=512, classes=64)
    (tmp_path / "net.yaml").write_text(CONFIG)
    found = paretune.optimize(
        tmp_path / "net.yaml", study=tmp_path / "study", store=tmp_path / "store"
    )
    rows = found.results["candidates"]
    # A candidate that is slower on this machine may be pruned.
    assert {row["outcome"] for row in rows} <= {"ok", "pruned"}
    assert len(rows) == 3
    sizes = {len(row["recipe"]): row["metrics"]["size_mb"]["value"] for row in rows}
    assert sizes[1] < 0.5 * sizes[0], "8 bits instead of 32"
    assert all(row["metrics"]["latency_ms_p50"]["value"] > 0 for row in rows)
    assert found.best is not None
    ran = subprocess.run(
        [sys.executable, found.best / "sample.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "y: shape [1, 64]" in ran.stdout
