"""The tutorial's own configuration for Azure, run by the command: it trains and builds there.

Changed are names only: of the subscription, group, workspace, compute, image, model and data. This
machine has no GPU, so the names of its packages, accelerators and execution provider become those
of the processor; the addresses of package indexes outside are left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.azure.cloud import Cloud
from tests.azure.registry import REGISTRY, publish, upload
from tests.azure.service import COMPUTE, GROUP, SUBSCRIPTION, WORKSPACE
from tests.config.olive.olive_files import SEED, SEEDS
from tests.mlflow_folders import azures_form
from tests.tiny_models import make_tiny_phi3

pytestmark = [
    pytest.mark.azure,
    pytest.mark.skipif(len(SEEDS) < 2, reason="the tutorial's page is not in ../shared"),
]
_ENDS_S = 500.0
_NAMES = {
    "Your Azure Subscrition ID": SUBSCRIPTION,
    "Your Azure Resource Group": GROUP,
    "Your Azure ML Workspaces name": WORKSPACE,
    "Your train_data.json Azure ML Location": "page/train_data.json",
    "Your Azure AI Studio / Azure Machine Learning Service Compute Name": COMPUTE,
    "Your Azure AI Studio / Azure Machine Learning Service docker": "registry/image:1",
    "azureml-msr": REGISTRY,
    '"name": "microsoft/Phi-3-mini-4k-instruct"': '"name": "phi"',
    "CUDAExecutionProvider": "CPUExecutionProvider",
    '"gpu"': '"cpu"',
}


def written(folder: Path) -> None:
    """Write the page's two files with other names."""
    text = SEED.with_name("olive-config.azureml.json").read_text()
    for name, ours in _NAMES.items():
        assert name in text, name
        text = text.replace(name, ours)
    (folder / "olive.json").write_text(text)
    lines = SEED.with_name("conda.yaml").read_text().splitlines()
    inside = [line for line in lines if "--extra-index-url" not in line]
    conda = "\n".join(inside).replace("-gpu==", "==").replace("-cuda", "").replace("[gpu]", "[cpu]")
    (folder / "conda.yaml").write_text(conda + "\n")


def test_the_pages_configuration_runs(cloud: Cloud, tmp_path: Path) -> None:
    make_tiny_phi3(tmp_path / "phi3")
    azures_form(tmp_path / "phi3", tmp_path / "registered" / "mlflow_model_folder")
    upload(cloud, tmp_path / "registered", "page/phi")
    publish(cloud, "phi", "11", "page/phi")
    rows = [
        {"Question": f"question {n} " * 30, "Best Answer": f"answer {n} " * 60} for n in range(300)
    ]
    cloud.blobs.upload_blob("page/train_data.json", json.dumps(rows), overwrite=True)
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    written(folder)
    done = subprocess.run(
        [sys.executable, "-m", "paretune", "run", "olive.json", "--allow-network"],
        cwd=folder,
        env={**os.environ, **cloud.environment, "HF_TOKEN": "hf_of_the_tests"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_ENDS_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    study = folder / "../model-cache/models/phi3-finetuned"
    results: dict[str, Any] = json.loads((study / "results.json").read_text())
    (only,) = results["candidates"]
    assert only["outcome"] == "ok", done.stdout
    assert (study / "best").is_dir()
    built = [j for j in cloud.jobs.jobs.values() if "build" in j.body["properties"]["displayName"]]
    assert any(job.status == "Completed" for job in built)
