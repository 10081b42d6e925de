"""The first program of a job in Azure: files with any names become the folder of a worker."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paretune.core import protocol
from paretune.core.job import Call, JobStatus
from paretune.targets.launchers.wheel import build_wheel
from tests.targets.test_batch import results


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our wheel, under a name of Azure's."""
    made = build_wheel(tmp_path_factory.mktemp("wheel"))
    return made.rename(made.with_name("INPUT_paretune"))


def start(wheel: Path, folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    """Run it in a folder that is no checkout of ours."""
    hello = protocol.Hello(protocol.VERSION, shared=False, preload=False)
    run = protocol.Run(1, Call("paretune.testing.jobs:add", {"a": 1, "b": 2}).to_json())
    (folder / "INPUT_jobs").write_bytes(hello.line() + run.line())
    program = ("-P", "-m", "paretune.targets.launchers.azureml_start")
    return subprocess.run(
        [sys.executable, *program, str(folder / "INPUT_jobs"), str(folder / "out"), *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(wheel), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_worker_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    content = b"a file of the job"
    (tmp_path / "INPUT_file_0").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    done = start(wheel, tmp_path, "--file", digest, str(tmp_path / "INPUT_file_0"))
    assert done.returncode == 0, done.stderr
    (found,) = results(tmp_path / "out").values()
    assert (found.status, found.value) == (JobStatus.OK, 3)


def test_of_several_nodes_the_first_one_works(wheel: Path, tmp_path: Path) -> None:
    done = start(wheel, tmp_path, NODE_RANK="1")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "out").exists()


def test_a_secret_of_a_key_vault_is_in_the_environment_only(wheel: Path, tmp_path: Path) -> None:
    # The vault itself is not reached here: a module of its name stands for Azure's packages.
    for name, text in {
        "azure/identity.py": "class DefaultAzureCredential: pass\n",
        "azure/keyvault/secrets.py": (
            "import types\n"
            "class SecretClient:\n"
            "    def __init__(self, url, credential): self.url = url\n"
            "    def get_secret(self, name):\n"
            "        return types.SimpleNamespace(value=f'{self.url} {name}')\n"
        ),
    }.items():
        (tmp_path / "stand-ins" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "stand-ins" / name).write_text(text)
    program = (
        "import sys, os; sys.path.insert(0, sys.argv[1])\n"
        "from paretune.targets.launchers import azureml_start\n"
        "print(azureml_start._secret('vault', 'token'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "stand-ins")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "https://vault.vault.azure.net token"
