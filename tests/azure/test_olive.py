"""Olive's JSON with an AzureML system, a datastore and a registry: imported, and taken directly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.azure.cloud import Cloud
from tests.azure.registry import REGISTRY, publish, upload
from tests.azure.service import COMPUTE, GROUP, STORE, SUBSCRIPTION, WORKSPACE
from tests.config.olive.olive_files import OWN, SEEDS
from tests.mlflow_folders import azures_form
from tests.tiny_models import make_tiny_phi3

pytestmark = pytest.mark.azure


def placed(folder: Path) -> Path:
    """Write the project's own file with the names of the tests' cloud, for a processor."""
    (file,) = [file for file in OWN if file.stem == "nested-azure"]
    value: dict[str, Any] = json.loads(file.read_text())
    model = value["input_model"]["config"]["model_path"]["config"]
    model |= {"registry_name": REGISTRY, "name": "phi", "version": "3"}
    load = value["data_configs"][0]["load_dataset_config"]["params"]
    load["data_files"]["config"] = {
        "azureml_client": {
            "subscription_id": SUBSCRIPTION,
            "resource_group": GROUP,
            "workspace_name": WORKSPACE,
        },
        "datastore_name": STORE,
        "relative_path": "olive/answers.json",
    }
    system = value["systems"]["cloud"]["config"]
    system |= {"aml_compute": COMPUTE, "accelerators": ["cpu"]}
    value["engine"] |= {"host": "cloud", "target": None}
    value["passes"]["tune"]["type"] = "LoRA"
    (folder / "conda.yaml").write_text("dependencies:\n  - python=3.8\n  - pip:\n    - einops\n")
    written = folder / "olive.json"
    written.write_text(json.dumps(value))
    return written


def paretune(cloud: Cloud, folder: Path, *words: str) -> str:
    """Run a command; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "paretune", *words],
        cwd=folder,
        env={**os.environ, **cloud.environment, "PARETUNE_STORE": str(folder / "store")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500.0,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def published(cloud: Cloud, folder: Path) -> None:
    """Put the file's model and data where it names them, and write it."""
    make_tiny_phi3(folder / "phi3")
    azures_form(folder / "phi3", folder / "registered" / "mlflow_model_folder")
    upload(cloud, folder / "registered", "registry/phi")
    publish(cloud, "phi", "3", "registry/phi")
    rows = [{"Question": f"question {n}", "Best Answer": f"answer {n}" * 40} for n in range(8)]
    cloud.blobs.upload_blob("olive/answers.json", json.dumps(rows), overwrite=True)
    placed(folder)


def test_the_import_and_the_json_itself_are_accepted_by_the_dry_run(
    cloud: Cloud, tmp_path: Path
) -> None:
    published(cloud, tmp_path)
    assert "wrote olive.yaml" in paretune(cloud, tmp_path, "import-olive", "olive.json")
    written = yaml.safe_load((tmp_path / "olive.yaml").read_text())
    assert written["target"] == {"build": "cloud", "measure": "local", "providers": ["cpu"]}
    for name in ("olive.yaml", "olive.json"):
        printed = paretune(cloud, tmp_path, "search", name, "--dry-run", "--allow-network")
        assert "read on 'cloud' only (8 rows)" in printed
        assert "> merge > genai(precision=int4)" in printed


@pytest.mark.skipif(len(SEEDS) >= 2, reason="test_page.py runs the tutorial's own, from ../shared")
def test_the_json_itself_runs(cloud: Cloud, tmp_path: Path) -> None:
    published(cloud, tmp_path)
    known = set(cloud.jobs.jobs)
    printed = paretune(cloud, tmp_path, "run", "olive.json", "--allow-network")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    (only,) = results["candidates"]
    assert only["outcome"] == "ok", printed
    assert (tmp_path / "out" / "best").is_dir()
    built = [
        job
        for name, job in cloud.jobs.jobs.items()
        if name not in known and "build" in job.body["properties"]["displayName"]
    ]
    assert [job.status for job in built] == ["Completed"]
