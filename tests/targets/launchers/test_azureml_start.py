"""The first program of a job in Azure: files with any names become the folder of a worker."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from local_jobs import gone, wait_for

from paretune.core import protocol
from paretune.core.job import Call, JobStatus
from paretune.core.permissions import Permissions
from paretune.targets.launchers.azureml_start import copy_masked
from paretune.targets.launchers.wheel import build_wheel
from tests.targets.test_batch import results


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our wheel, under a name of Azure's."""
    made = build_wheel(tmp_path_factory.mktemp("wheel"))
    return made.rename(made.with_name("INPUT_paretune"))


ADD = Call("paretune.testing.jobs:add", {"a": 1, "b": 2})
_ENDS_S = 120.0
TOKEN = "hf_this_is_the_secret"
MODULE = ("-P", "-m", "paretune.targets.launchers.azureml_start")


def command(folder: Path, task: Call, program: Sequence[str] = MODULE) -> list[str]:
    """Write a job into a folder; returns the command that runs it."""
    permissions = Permissions(network=True)
    hello = protocol.Hello(protocol.VERSION, shared=False, permissions=permissions)
    run = protocol.Run(1, task.to_json())
    (folder / "INPUT_jobs").write_bytes(hello.line() + run.line())
    return [sys.executable, *program, str(folder / "INPUT_jobs"), str(folder / "out")]


def start(
    wheel: Path,
    folder: Path,
    *words: str,
    task: Call = ADD,
    program: Sequence[str] = MODULE,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run it in a folder that is no checkout of ours."""
    return subprocess.run(
        [*command(folder, task, program), *words],
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
            "        return types.SimpleNamespace(value=f'{self.url}/{name}\\n')\n"
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
    assert done.stdout.strip() == "https://vault.vault.azure.net/token"


# As the program itself; only the vault is another one.
FROM_A_VAULT = (
    "import sys\n"
    "from paretune.targets.launchers import azureml_start\n"
    f"azureml_start._secret = lambda vault, name: {TOKEN!r}\n"
    "azureml_start.main(sys.argv[1:])\n"
)
SECRET = ("--secret", "vault", "token")


@pytest.mark.parametrize(
    ("task", "status"),
    [
        (
            Call("subprocess:check_call", {"args": ["sh", "-c", "echo the token: $HF_TOKEN"]}),
            JobStatus.OK,
        ),
        (
            Call(
                "timeit:timeit",
                {"stmt": "raise ValueError(os.environ['HF_TOKEN'])", "setup": "import os"},
            ),
            JobStatus.FAILED,
        ),
        (Call("os:getenv", {"key": "HF_TOKEN"}), JobStatus.OK),
    ],
    ids=["printed", "raised", "returned"],
)
def test_a_secret_of_a_key_vault_is_masked_before_azure_stores_it(
    wheel: Path, tmp_path: Path, task: Call, status: JobStatus
) -> None:
    program = ("-P", "-c", FROM_A_VAULT)
    done = start(wheel, tmp_path, *SECRET, task=task, program=program, HF_TOKEN="")
    assert done.returncode == 0, done.stdout
    (found,) = results(tmp_path / "out").values()
    assert found.status is status, found
    assert "***" in f"{found.value}{found.reason}{found.log}"
    assert TOKEN not in done.stdout + done.stderr
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_a_masked_copy_is_whole_and_lines_come_at_once(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    copy = tmp_path / "copy"
    with open(read_end, "rb") as source, open(copy, "wb") as out:
        copier = threading.Thread(target=copy_masked, args=(source, out, TOKEN))
        copier.start()
        with open(write_end, "wb", buffering=0) as printed:
            printed.write(b"a line\nhalf " + TOKEN[:7].encode())
            while b"a line\n" not in copy.read_bytes():
                time.sleep(0.01)
            printed.write(TOKEN[7:].encode() + b" end\n")
            long = b"x" * 200_000 + TOKEN.encode() + b"y" * 200_000
            for at in range(0, len(long), 4_099):
                printed.write(long[at : at + 4_099])
        copier.join()
    long = b"x" * 200_000 + b"***" + b"y" * 200_000
    assert copy.read_bytes() == b"a line\nhalf *** end\n" + long


@pytest.mark.parametrize("token", ["", TOKEN], ids=["none", "token"])
def test_a_job_that_azure_ends_leaves_no_process(wheel: Path, tmp_path: Path, token: str) -> None:
    shell = "echo $$ > pid.part; mv pid.part pid; exec sleep 600"
    task = Call("subprocess:check_call", {"args": ["sh", "-c", f"cd {tmp_path}; {shell}"]})
    environment = {**os.environ, "PYTHONPATH": str(wheel), "HF_TOKEN": token}
    with subprocess.Popen(
        command(tmp_path, task), cwd=tmp_path, env=environment, stdout=subprocess.PIPE
    ) as process:
        sleeps = int(wait_for(tmp_path / "pid"))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_ENDS_S)
    assert process.returncode == 1, "the worker itself has ended it"
    assert gone(sleeps)


def test_the_exit_status_of_the_worker_is_the_jobs(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder of the results should be")
    done = start(wheel, tmp_path, HF_TOKEN=TOKEN)
    assert done.returncode == 1
    assert "Not a directory" in done.stdout
