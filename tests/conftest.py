"""Fixtures that several folders of tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# Speed is not what tests assert: an example that a busy machine holds up is no failure.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

# Tests of several processes run beside each other: none waits for a measurement of another one.
os.environ["PARETUNE_MACHINE"] = tempfile.mkdtemp(prefix="paretune-machine-")
atexit.register(shutil.rmtree, os.environ["PARETUNE_MACHINE"], ignore_errors=True)

# No test reaches out, and no library's telemetry runs: set before any of them is imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tests run beside one another, and OpenMP's threads spin while they wait for one that has no core:
# a step of a tiny training took fifty times as long. Read when PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The many child processes would compile every module of the product anew, each of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell's background jobs and nohup ignore these, and each child of the tests would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

pytest_plugins = ["tests.kept_servers", "tests.model_fixtures"]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The public data sets' folder; the test is skipped where it is absent."""
    place = Path(os.environ.get("PARETUNE_DATA", ROOT.parent / "shared" / "data"))
    if not place.is_dir():
        pytest.skip("the public data sets are not here (set PARETUNE_DATA to their folder)")
    return place


@pytest.fixture(scope="session")
def stories260k(public_data: Path) -> Path:
    """A 1 MB Llama that really tells stories."""
    return public_data / "stories260k"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M as `make demo` prepares it; the test is skipped where it is absent."""
    place = ROOT / ".models" / "smollm2"
    if not (place / "config.json").is_file():
        pytest.skip("SmolLM2 is not prepared: python examples/prepare_smollm2.py .models/smollm2")
    return place
