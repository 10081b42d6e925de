from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.child_interpreter import calling, importing
from paretune.core.measurement import Rung
from paretune.data.context import Context
from paretune.evaluators.base import Budget
from paretune.evaluators.footprint import Footprint, FootprintParams
from paretune.models.handle import open_model
from tests.tiny_models import make_tiny_llama


def test_modules_of_the_working_folder_are_not_imported(tmp_path: Path) -> None:
    for name in ("json", "importlib", "numpy", "importing", "paretune"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    ran = subprocess.run(importing("numpy", "json"), cwd=tmp_path, check=False)
    assert ran.returncode == 0
    called = subprocess.run(
        calling("platform:python_version"), cwd=tmp_path, capture_output=True, check=False
    )
    assert called.returncode == 0, called.stderr


def test_arguments_arrive_whatever_they_are(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    odd = ("-c", "-m", "a b", "'", "", "日本")
    code = calling("runpy:run_path", *odd)  # lacks its argument, which the traceback says
    assert code[-len(odd) :] == list(odd)


@pytest.mark.slow
def test_a_footprint_is_measured_beside_a_numpy_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy", "torch", "onnxruntime_genai"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    model = open_model(make_tiny_llama(tmp_path / "model"))
    monkeypatch.chdir(tmp_path)
    context = Context(out=tmp_path, scratch=tmp_path, data=None, provider="cpu")  # type: ignore[arg-type]
    found = Footprint(FootprintParams(loads=1)).measure(
        model, RuntimeSettings("cpu", 1), Rung.FULL, Budget(), context
    )
    assert {m.metric for m in found} == {"size_mb", "peak_memory_mb", "load_s"}
