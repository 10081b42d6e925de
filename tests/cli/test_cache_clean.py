"""`paretune cache clean` removes what else lies in the store, unless a process uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import paretune

from paretune.models.mlflow import MlflowParts
from paretune.models.mlflow_layout import laid_out

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")

USES = (
    "import sys; from pathlib import Path\n"
    "from paretune.models.mlflow import MlflowParts\n"
    "from paretune.models.mlflow_layout import laid_out\n"
    "root = Path(sys.argv[1])\n"
    "print(laid_out(MlflowParts(root / 'm', root / 'm/model'), root / 'store'), flush=True)\n"
    "sys.stdin.read()\n"
)


def test_models_from_mlflow_folders_and_copies_go_unless_they_are_used(tmp_path: Path) -> None:
    model = tmp_path / "m" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
    store = tmp_path / "store"
    copy = store / "azure" / "a-copy" / "content"
    copy.mkdir(parents=True)
    clean = ("cache", "clean", "--yes", "--store", store)
    with subprocess.Popen(
        [sys.executable, "-c", USES, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        place = Path(process.stdout.readline().strip())
        assert paretune(*clean, "--max-size", "1GB", cwd=tmp_path).returncode == 0
        assert copy.is_dir(), "they are not counted in the store's size"
        assert paretune(*clean, cwd=tmp_path).returncode == 0
        assert (place / "config.json").is_file()
        assert not copy.exists()
        process.kill()
    old = time.time() - 3600.0
    os.utime(place.parents[1], (old, old))
    assert paretune(*clean, "--older-than", "2h", cwd=tmp_path).returncode == 0
    assert place.is_dir()
    assert paretune(*clean, cwd=tmp_path).returncode == 0
    assert not [*(store / "mlflow").iterdir()]
    again = laid_out(MlflowParts(tmp_path / "m", model), store)
    assert again == place
    assert (again / "config.json").is_file()
