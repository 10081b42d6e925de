"""Searches that build here and measure behind ssh."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

import paretune
from paretune.core.stamps import Stamped, file_digest
from paretune.study.results import read_results
from paretune.targets.transports.host_files import HostTransport
from tests.onnx_networks import write_network
from tests.tiny_models import make_tiny_llama

CONFIG = """
model: network
passes:
  - onnx_dynamic_int8: {{per_channel: false}}
    optional: true
evaluate:
  - latency: {{shapes: {{x: [32, 512]}}}}
targets: {{board: {{ssh: board, python: {python}, store: {store}}}}}
target: {{build: local, measure: board, threads: {threads}}}
objectives: {{minimize: latency_ms_p50}}
search: {{time: 20m, finals: 0}}
"""


@pytest.mark.usefixtures("sshd")
@pytest.mark.parametrize("threads", [[1], pytest.param([1, 2], marks=pytest.mark.slow)])
def test_a_search_builds_here_and_measures_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: list[int]
) -> None:
    moved: list[str] = []
    send = HostTransport.send

    def noting(transport: HostTransport, files: Sequence[Stamped]) -> None:
        moved.extend(file.sha256 for file in files)
        send(transport, files)

    monkeypatch.setattr(HostTransport, "send", noting)
    monkeypatch.setattr("paretune.search.trial.PROCESS_S", 0.05)
    write_network(tmp_path / "network", width=512, classes=64)
    config = CONFIG.format(python=sys.executable, store=tmp_path / "far", threads=threads)
    (tmp_path / "net.yaml").write_text(config)
    found = paretune.optimize(
        tmp_path / "net.yaml", study=tmp_path / "study", store=tmp_path / "store"
    )
    rows = found.results["candidates"]
    # A candidate that is slower on this machine may be pruned.
    assert len(rows) == 2 * len(threads)
    assert {row["outcome"] for row in rows} <= {"ok", "pruned"}
    assert rows[0]["outcome"] == "ok"
    assert found.best is not None
    results = read_results(tmp_path / "study" / "results.json")
    assert list(results.devices) == ["board"]
    assert found.results["device"]["name"] == "board"
    built = [tmp_path / "network", *(tmp_path / "store" / "objects").iterdir()]
    assert len(built) == 2
    assert {file_digest(folder / "model.onnx") for folder in built} <= set(moved)
    assert len(moved) == len(set(moved)), "a file moves once per digest"


@pytest.mark.slow
@pytest.mark.usefixtures("sshd")
def test_a_generating_model_and_its_data_travel(tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path / "model")
    rows = [{"q": f"line {i}", "a": "yes" if i % 3 else "no"} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    board = {"ssh": "board", "python": sys.executable, "store": str(tmp_path / "far")}
    config = {
        "model": str(model),
        "data": {"qa": {"file": "rows.jsonl", "prompt": "{q}: ", "answer": "{a}"}},
        "passes": [{"genai": {"precision": ["fp32", "int8"]}}],
        "evaluate": [
            {"classification": {"data": "qa"}},
            {"generation": {"prompt_tokens": 8, "new_tokens": 4}},
            {"footprint": {"loads": 1}},
        ],
        "targets": {"board": board},
        "target": {"measure": "board", "threads": [1]},
        "objectives": {"maximize": "accuracy", "minimize": "decode_ms_p50"},
        "search": {"finals": 20},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    found = paretune.optimize(
        tmp_path / "c.yaml", study=tmp_path / "study", store=tmp_path / "store"
    )
    rows_ = found.results["candidates"]
    # A candidate that is slower on this machine may be pruned.
    assert len(rows_) == 2
    assert {row["outcome"] for row in rows_} <= {"ok", "pruned"}, rows_
    whole = [row for row in rows_ if row["outcome"] == "ok"]
    assert whole
    assert all(row["metrics"]["accuracy"]["n"] == 40 for row in whole)
    assert found.best is not None
    assert (found.best / "genai_config.json").is_file()
