"""The first program of a job in Azure: it lays out the job's folder and becomes the worker.

It runs from the wheel of paretune itself, which is an input of the job (PYTHONPATH names it), and
imports nothing but the standard library and, for a key vault, Azure's packages::

    python -P -m paretune.targets.launchers.azureml_start JOBS OUT [--secret VAULT NAME]
        [--file SHA256 PATH]...
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import BinaryIO

_MOST_HELD = 1 << 16
_LEFT_S = 5.0
"""How long what the worker has left behind may still print."""


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
    program += [str(folder / "in"), str(given.out)]
    token = environment.get("HF_TOKEN", "")
    if not token:
        os.execve(sys.executable, program, environment)
    sys.exit(_run_masked(program, environment, token))


def _run_masked(program: list[str], environment: dict[str, str], token: str) -> int:
    """Run a program, and print what it prints without a token; returns its exit status.

    Azure stores what a job prints, so the token is removed before that, here.
    """
    with subprocess.Popen(
        program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        printer = threading.Thread(
            target=copy_masked, args=(process.stdout, sys.stdout.buffer, token), daemon=True
        )
        printer.start()
        status = process.wait()
        printer.join(_LEFT_S)
        sys.stdout.flush()
        if printer.is_alive():  # a process that it left behind holds the pipe
            os._exit(status if status >= 0 else 128 - status)
    return status if status >= 0 else 128 - status


def copy_masked(source: BinaryIO, out: BinaryIO, token: str) -> None:
    """Copy a stream as it grows, with ``***`` for each occurrence of a token.

    A token has no white space, so whole lines are written at once. Of a line without an end only
    what is too long to be held is written, except for what can be the beginning of the token.

    Args:
        source: Is read to its end.
        out: Takes the copy.
        token: As it is, or as in JSON, it is not written.
    """
    forms = sorted({token.encode(), json.dumps(token)[1:-1].encode()}, key=len, reverse=True)
    rest = b""
    while piece := os.read(source.fileno(), _MOST_HELD):
        rest += piece
        for form in forms:
            rest = rest.replace(form, b"***")
        end = max(rest.rfind(b"\n"), rest.rfind(b"\r")) + 1
        if len(rest) - end > _MOST_HELD:
            end = len(rest) - len(forms[0])
        out.write(rest[:end])
        out.flush()
        rest = rest[end:]
    out.write(rest)
    out.flush()


def _secret(vault: str, name: str) -> str:
    """Return a secret of a key vault, which the identity of this compute may read.

    Ends the job if the secret is not a token.
    """
    from azure.identity import DefaultAzureCredential
    from azure.keyvault.secrets import SecretClient

    client = SecretClient(f"https://{vault}.vault.azure.net", DefaultAzureCredential())
    token = (client.get_secret(name).value or "").strip()
    if not token or len(token.split()) > 1:
        sys.exit(
            f"the secret {name!r} of the key vault {vault!r} is empty or has white space; expected "
            "a token of the Hugging Face hub"
        )
    return token


if __name__ == "__main__":
    main(sys.argv[1:])
