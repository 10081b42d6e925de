"""Nothing reaches out unless ``--allow-network`` says so: watched at the kernel, a whole search."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from paretune.targets.launchers.local import worker_environment
from tests.security.conftest import Run
from tests.security.watching import watched
from tests.tiny_models import make_tiny_llama

ROOT = Path(__file__).resolve().parents[2]
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
NO_TELEMETRY = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")
SEARCH = "from paretune.cli import main; main()"

# An address that nobody has (RFC 5737), by TCP; its name server by UDP, from a child of a child;
# and this machine itself, which is not outside.
REACHES_OUT = """
import socket, subprocess, sys
tcp = socket.socket()
tcp.settimeout(0.1)
tcp.connect_ex(("192.0.2.1", 443))
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
try:
    udp.sendto(b"x", ("2001:db8::1", 53))
except OSError:
    pass  # no route; the attempt is what counts
try:
    socket.socket().connect(("127.0.0.1", 9))
except OSError:
    pass
code = 'import socket; socket.socket(type=socket.SOCK_DGRAM).connect(("127.0.0.53", 53))'
subprocess.run([sys.executable, "-c", code], check=True)
"""


def bare_environment(folder: Path) -> dict[str, str]:
    """Return an environment in which nobody but paretune itself keeps the libraries offline."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(folder), "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(ROOT)}


def test_the_watcher_sees_who_reaches_out(tmp_path: Path) -> None:
    ran, seen = watched(
        [sys.executable, "-c", REACHES_OUT], env=bare_environment(tmp_path), cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    assert sorted(seen) == ["127.0.0.53:53", "192.0.2.1:443", "2001:db8::1:53"]


def test_a_whole_search_reaches_nobody(tmp_path: Path) -> None:
    """Trained, merged, built, loaded, measured, reported and packaged: all that a search does."""
    (tmp_path / "text.txt").write_text(
        "the quick brown fox jumps over the lazy dog and runs away\n"
    )
    recipe = [
        {"lora": {"train": "text", "max_steps": 1, "batch_size": 1, "r": 1}},
        "merge",
        {"genai": {"precision": "int4"}},
    ]
    config = {
        "model": str(make_tiny_llama(tmp_path / "model")),
        "data": {"text": {"file": "text.txt", "text": "{text}"}},
        "passes": recipe,
        "baseline": recipe,
        "evaluate": [
            {"perplexity": {"data": "text", "window": 16, "max_tokens": 16}},
            {"footprint": {"loads": 1}},
        ],
        "target": {"threads": [1]},
        "objectives": {"minimize": ["perplexity", "size_mb"]},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-c", SEARCH, "search", "c.yaml", "--store", "store", "--json"]
    ran, seen = watched(command, env=bare_environment(tmp_path), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert [row["outcome"] for row in json.loads(ran.stdout)["candidates"]] == ["ok"]
    assert (tmp_path / "studies" / "c" / "best" / "genai_config.json").is_file()
    assert seen == []


@pytest.mark.parametrize("allowed", [False, True])
def test_every_worker_is_told(allowed: bool) -> None:
    """Whatever the user's own environment says."""
    mine = dict.fromkeys((*OFFLINE, *NO_TELEMETRY), "0")
    told = worker_environment(allow_network=allowed, inherited=mine)
    assert [told[name] for name in NO_TELEMETRY] == ["1", "1"]
    assert [told[name] for name in OFFLINE] == (["0"] * 3 if allowed else ["1"] * 3)


def test_a_job_finds_itself_offline_and_without_telemetry(run_job: Run) -> None:
    environment = run_job("call", function="job_functions:facts", args={}).value["environment"]
    assert {environment[name] for name in (*OFFLINE, *NO_TELEMETRY)} == {"1"}
