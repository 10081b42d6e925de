"""The first program of a job in Azure: it lays out the job's folder and becomes the worker.

It runs from the wheel of paretune itself, which is an input of the job (PYTHONPATH names it), and
imports nothing but the standard library and, for a key vault, Azure's packages::

    python -P -m paretune.targets.launchers.azureml_start JOBS OUT [--secret VAULT NAME]
        [--file SHA256 PATH]...
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import zipfile
from pathlib import Path


def main(words: list[str]) -> None:
    """Run the jobs that an input of the job lists.

    Args:
        words: The command line.
    """
    parser = argparse.ArgumentParser("azureml_start")
    parser.add_argument("jobs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--secret", nargs=2, metavar=("VAULT", "NAME"))
    parser.add_argument("--file", nargs=2, action="append", default=[], metavar=("SHA256", "PATH"))
    given = parser.parse_args(words)
    if os.environ.get("NODE_RANK", "0") != "0":
        return  # of several nodes, the first one works
    folder = Path(tempfile.mkdtemp(prefix="paretune-"))
    code = folder / "paretune"
    with zipfile.ZipFile(os.environ["PYTHONPATH"]) as wheel:
        wheel.extractall(code)
    (folder / "in" / "files").mkdir(parents=True)
    (folder / "in" / "jobs.jsonl").symlink_to(given.jobs.absolute())
    for digest, path in given.file:
        (folder / "in" / "files" / digest).symlink_to(Path(path).absolute())
    files = str(folder / "in" / "files")  # `paretune.data.described` reads some by their keys
    environment = {**os.environ, "PYTHONPATH": str(code), "PARETUNE_FILES": files}
    if given.secret is not None:
        environment["HF_TOKEN"] = _secret(*given.secret)
    program = [sys.executable, "-P", "-m", "paretune.targets.batch"]
    os.execve(sys.executable, [*program, str(folder / "in"), str(given.out)], environment)


def _secret(vault: str, name: str) -> str:
    """Return a secret of a key vault, which the identity of this compute may read."""
    from azure.identity import DefaultAzureCredential
    from azure.keyvault.secrets import SecretClient

    client = SecretClient(f"https://{vault}.vault.azure.net", DefaultAzureCredential())
    return str(client.get_secret(name).value)


if __name__ == "__main__":
    main(sys.argv[1:])
