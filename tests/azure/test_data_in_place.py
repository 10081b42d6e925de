"""Data in Azure that only passes read is read where builds run, and stays there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.data.catalog import DataCatalog, DataSpec
from tests.azure.cloud import NAMED, Cloud
from tests.azure.service import COMPUTE, GROUP, STORE, SUBSCRIPTION, WORKSPACE
from tests.tiny_models import make_tiny_llama

pytestmark = pytest.mark.azure

FILE = "private/Übung 1/train.jsonl"
SECRET = "nobody reads this here"
CONFIG = f"""
model: model
data:
  tone: {{file: "{NAMED.uri(STORE, FILE)}", text: "{{t}}"}}
passes:
  - lora: {{train: tone, max_steps: 1, target_modules: [q_proj], r: 2}}
  - merge
baseline: []
evaluate: [{{footprint: {{loads: 1}}}}]
targets:
  aml:
    azureml:
      subscription_id: {SUBSCRIPTION}
      resource_group: {GROUP}
      workspace_name: {WORKSPACE}
      compute: {COMPUTE}
      image: registry/image:1
target: {{build: aml, measure: local, threads: [1]}}
objectives: {{minimize: [size_mb]}}
search: {{strategy: exhaustive, finals: 0}}
"""
_ENDS_S = 240.0


def search(cloud: Cloud, folder: Path, status: int = 0) -> str:
    """Run the command, which ends with a status; returns what it printed."""
    command = [*(sys.executable, "-m", "paretune", "search", "config.yaml")]
    done = subprocess.run(
        [*command, "--store", "store", "--study", "study"],
        cwd=folder,
        env={**os.environ, **cloud.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_ENDS_S,
        check=False,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def jobs(cloud: Cloud, what: str) -> int:
    """Return how many jobs of a kind were submitted."""
    named = (job.body["properties"]["displayName"] for job in cloud.jobs.jobs.values())
    return sum(what in name for name in named)


def changed_meanwhile(cloud: Cloud, folder: Path, change: Callable[[], object]) -> None:
    """Run the command, and change the data as its first build is submitted."""
    real, before = cloud.jobs.submit, jobs(cloud, ": build")

    def submit(name: str, body: dict[str, Any], *others: Any) -> tuple[int, Any]:
        if body["properties"]["displayName"].endswith(": build"):
            change()
        return real(name, body, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloud.jobs, "submit", submit)
        printed = search(cloud, folder, 2)
    assert "changed in Azure during the search" in printed
    assert "Traceback" not in printed
    assert jobs(cloud, ": build") == before + 1, "it is not tried again"


def test_only_digest_and_counts_come_back_and_a_change_ends_the_search(
    cloud: Cloud, tmp_path: Path
) -> None:
    make_tiny_llama(tmp_path / "model")
    (tmp_path / "config.yaml").write_text(CONFIG)
    content = "".join(json.dumps({"t": f"{SECRET} {n}"}) + "\n" for n in range(6)).encode()
    blob = cloud.blobs.get_blob_client(FILE)
    blob.upload_blob(content, overwrite=True)
    changed_meanwhile(cloud, tmp_path, lambda: blob.upload_blob(content[::-1], overwrite=True))
    blob.upload_blob(content, overwrite=True)
    changed_meanwhile(cloud, tmp_path, blob.delete_blob)
    blob.upload_blob(content, overwrite=True)
    before, before_builds = jobs(cloud, "described"), jobs(cloud, ": build")
    printed = search(cloud, tmp_path)
    assert "read on 'aml' only (6 rows)" in printed
    found = json.loads((tmp_path / "study" / "results.json").read_text())
    # The second one was trained in Azure; its size is that of the first, so it may be dominated.
    assert {c["outcome"] for c in found["candidates"]} <= {"ok", "pruned"}, printed
    assert jobs(cloud, ": build") == before_builds + 1
    # The digest is that of the data set read here.
    (tmp_path / "same.jsonl").write_bytes(content)
    here = DataCatalog({"tone": DataSpec(file="same.jsonl", text="{t}")}, tmp_path)
    identity = json.loads((tmp_path / "study" / "identity.json").read_text())
    assert (identity["training"], identity["rows"]) == ({"tone": here.digest("tone")}, {"tone": 6})
    # Neither its rows nor a copy are anywhere but at its own place.
    kept = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "same.jsonl"]
    assert not [p for p in kept if SECRET.encode() in p.read_bytes()]
    assert hashlib.sha256(content).hexdigest() not in "".join(cloud.names("paretune/"))
    assert jobs(cloud, "described") == before + 1
    search(cloud, tmp_path)
    assert jobs(cloud, "described") == before + 1, "the same file is not described again"
