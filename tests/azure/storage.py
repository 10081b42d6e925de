"""Blob storage: npm's azurite, of the version in the Makefile, on a port of its own.

``make test-azure`` installs it into ``.npm``. Without it, tests are skipped, or fail where CI is
set.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AZURITE = ROOT / ".npm" / "node_modules" / ".bin" / "azurite-blob"
ACCOUNT = "teststorage"
KEY = base64.b64encode(b"the key of the account of these tests").decode()
_STARTS_WITHIN_S = 60.0


@dataclass
class Storage:
    """A running azurite.

    Attributes:
        process: It.
        port: Where it serves https.
    """

    process: subprocess.Popen[bytes]
    port: int

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10.0)
        self.process.kill()
        self.process.wait()


def required() -> Path:
    """Return azurite's path; without it, the test is skipped, or fails where CI is set."""
    if AZURITE.exists() and shutil.which("node"):
        return AZURITE
    reason = "azurite is not installed: make test-azure installs it (it needs npm)"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def start(folder: Path) -> Storage:
    """Start azurite.

    Args:
        folder: Has ``cert.pem`` and ``key.pem``; takes its files.
    """
    program = required()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ends_with_parent = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    command = [
        *(
            *ends_with_parent,
            str(program),
            "--silent",
            "--skipApiVersionCheck",
            "--disableTelemetry",
        ),
        *("--location", str(folder / "blobs"), "--blobHost", "127.0.0.1"),
        *("--blobPort", str(port), "--oauth", "basic"),
        *("--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem")),
    ]
    environment = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    with open(folder / "azurite.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    end = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return Storage(process, port)
        except OSError:
            assert process.poll() is None, (folder / "azurite.log").read_text()
            time.sleep(0.02)
    raise AssertionError("azurite did not start")
