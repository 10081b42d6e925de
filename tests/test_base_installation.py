"""What the base installation can do: measure a model without what only the extras bring."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.onnx_networks import write_network

ONLY_EXTRAS = {
    "accelerate",
    "bitsandbytes",
    "datasets",
    "onnx",
    "onnxruntime",
    "onnxruntime_genai",
    "onnxscript",
    "optuna",
    "peft",
    "plotly",
    "pyarrow",
    "torch",
}

ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""

MEASURES = """
from pathlib import Path
from paretune.core.candidate import RuntimeSettings
from paretune.core.measurement import Rung
from paretune.data.catalog import DataCatalog
from paretune.models.handle import open_model
from paretune.registry import find_evaluator
from paretune.search.jobs import EvaluatorSlot
from paretune.store.artifacts import Store
from paretune.study.job_factory import StudyJobFactory
from paretune.targets.launchers.local import LocalTarget

if __name__ == "__main__":
    model = open_model(Path("network"))
    params = {"shapes": {"x": [2, 8]}}
    kind = find_evaluator("latency")
    slot = EvaluatorSlot(0, "latency", params, kind(kind.Params(**params)).metrics, kind.rungs)
    store = Store(Path("store"))
    factory = StudyJobFactory(model, store, DataCatalog({}, Path("."), False).to_json())
    with LocalTarget(store.root) as target:
        job = factory.measure(model, RuntimeSettings("cpu", 1), slot, Rung.FULL, {}, seconds=0.05)
        result = target.submit(job).result(300)
    print(result.status, result.reason)
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter in a folder whose ``sitecustomize.py`` it reads."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_base_has_neither_pytorch_nor_a_runtime() -> None:
    base = {
        re.match(r"[\w.-]+", text)[0].replace("-", "_").lower()  # type: ignore[index]
        for text in importlib.metadata.requires("paretune") or ()
        if "extra ==" not in text
    }
    assert base
    assert not base & ONLY_EXTRAS


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux")
def test_a_device_that_measures_needs_the_base_and_a_runtime(tmp_path: Path) -> None:
    write_network(tmp_path / "network", width=8)
    absent = ONLY_EXTRAS - {"onnxruntime"}
    (tmp_path / "sitecustomize.py").write_text(ABSENT.format(absent=absent))
    (tmp_path / "measures.py").write_text(MEASURES)
    ran = run(tmp_path, "measures.py")
    assert ran.stdout.strip() == "ok None", ran.stderr


@pytest.mark.parametrize("command", [["--help"], ["passes"], ["search", "net.yaml"]])
def test_a_command_says_what_to_install(tmp_path: Path, command: list[str]) -> None:
    write_network(tmp_path / "network", width=8)
    (tmp_path / "net.yaml").write_text(
        "model: network\npasses: [{onnx_dynamic_int8: {per_channel: [false, true]}}]\n"
        "evaluate: [{latency: {shapes: {x: [1, 8]}}}]\nobjectives: {minimize: latency_ms_p50}\n"
    )
    (tmp_path / "sitecustomize.py").write_text(
        ABSENT.format(absent=ONLY_EXTRAS)
        + "import importlib.metadata as metadata\n_real = metadata.distributions\n"
        "def distributions(**context):\n"
        "    for found in _real(**context):\n"
        f"        if found.metadata['Name'].lower().replace('-', '_') not in {ONLY_EXTRAS}:\n"
        "            yield found\n"
        "metadata.distributions = distributions\n"
    )
    ran = run(tmp_path, "-m", "paretune", *command)
    if command[0] == "search":
        assert ran.returncode == 2, ran.stderr
        assert "a search needs optuna, plotly, which are not installed" in ran.stderr
        assert "pip install 'paretune[search]'" in ran.stderr
    else:
        assert ran.returncode == 0, ran.stderr
