"""Plug-ins written to the extending page of version 0.1, without the bases, work as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PLUGIN = '''
from typing import ClassVar

from paretune.measurement import Measurement, MetricSpec, Rung
from paretune.models import ModelKind
from paretune.passes.base import Context, Estimate, Fidelity, Params, parameter


class PruneParams(Params):
    share: float = parameter(0.1, "Weights to zero.", unit="fraction", search="range", ge=0, le=1)


class Prune:
    """Zeroes the smallest weights."""

    name: ClassVar[str] = "prune"
    version: ClassVar[int] = 1
    accepts: ClassVar[frozenset[ModelKind]] = frozenset({ModelKind.HF})
    produces: ClassVar[ModelKind] = ModelKind.HF
    Params: ClassVar[type[Params]] = PruneParams
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    provider_matters: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    def fidelity(self, params):
        return Fidelity.CHANGED

    def check(self, model, params, target, provider):
        return None

    def estimate(self, model, params, target):
        return Estimate(bytes_out=model.bytes, peak_memory=3 * model.bytes)

    def predict(self, model, params):
        return model

    def run(self, model, params, context: Context):
        ...


class Files:
    """Counts the files."""

    name: ClassVar[str] = "files"
    version: ClassVar[int] = 1
    Params: ClassVar[type[Params]] = PruneParams
    accepts: ClassVar[frozenset[ModelKind]] = frozenset({ModelKind.HF})
    rungs: ClassVar[tuple[Rung, ...]] = (Rung.FULL,)
    fresh_process: ClassVar[bool] = False
    data = ()

    def __init__(self, params):
        self.params = params
        self.metrics = (MetricSpec("files", "files", "minimize", False),)

    def measure(self, model, runtime, rung, budget, context):
        n = len(model.parts)
        return [Measurement("files", n, "files", n, n, 1, "exact-1")]
'''
CHECK = """
from pathlib import Path

from paretune.preflight.dry_run import foresee
from paretune.plugin_identity import data_read_by
from paretune.core.candidate import Step
from paretune.registry import find_evaluator, find_pass

pass_, kind = find_pass("prune"), find_evaluator("files")
assert data_read_by(Step("prune", {})) == ()
found = foresee("search.yaml", store=Path("store"))
print(found["candidates"], found["skipped"])
"""


def test_they_are_found_and_planned(tmp_path: Path) -> None:
    from tests.tiny_models import make_tiny_llama

    (tmp_path / "then.py").write_text(PLUGIN)
    info = tmp_path / "then-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: then\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[paretune.passes]\nprune = then:Prune\n[paretune.evaluators]\nfiles = then:Files\n"
    )
    make_tiny_llama(tmp_path / "model")
    (tmp_path / "search.yaml").write_text(
        "model: model\npasses: [{prune: {share: [0.1, 0.2]}}]\nbaseline: []\n"
        "evaluate: [files]\nobjectives: {minimize: files}\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.split() == ["2", "0"], ran.stdout + ran.stderr
