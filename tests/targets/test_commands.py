"""Commands on another target: bench, doctor and compare run where `--target` says."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from command_line import paretune

from paretune.core.model import Model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a configuration that declares targets, and nothing else."""
    targets = {
        "other": {"python": sys.executable},
        "board": {"ssh": "board", "python": sys.executable, "store": str(tmp_path / "far")},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"targets": targets}))
    return tmp_path


def test_doctor_reports_the_other_environment(folder: Path) -> None:
    done = paretune("doctor", "--target", "other", "--config", "c.yaml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["device"]["name"] == "other"
    names = {item["name"] for item in found["sections"]["Passes"]}
    assert "genai" in names
    assert "noop" not in names, "a plug-in of this environment"


@pytest.mark.slow
@pytest.mark.usefixtures("sshd")
def test_bench_and_compare_measure_a_model_over_ssh(folder: Path, tiny_genai: Model) -> None:
    shutil.copytree(tiny_genai.path, folder / "model")
    there = ("--target", "board", "--config", "c.yaml", "--json")
    done = paretune("bench", "model", *there, cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["device"]["name"] == "board"
    values = {m["metric"]: m["value"] for m in found["measurements"]}
    assert values["decode_ms_p50"] > 0
    assert values["size_mb"] > 0
    done = paretune("compare", "model", "model", "--rounds", "2", *there, cwd=folder)
    assert done.returncode == 0, done.stderr
    compared = json.loads(done.stdout)
    assert compared["device"]["name"] == "board"
    assert len(compared["rounds"]) == 2


@pytest.mark.slow
def test_bench_keeps_the_profile_of_the_other_device(folder: Path) -> None:
    done = paretune("bench", "--target", "other", "--config", "c.yaml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    fingerprint = found["device"]["fingerprint"]
    assert found["device"]["name"] == "other"
    assert found["profile"]["fingerprint"] == fingerprint
    kept = json.loads(Path(found["kept"]).read_text())
    assert Path(found["kept"]).is_relative_to(folder / "store")
    assert kept["fingerprint"] == fingerprint


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--target", "board"), "no target named 'board'"),
        (("--target", "bord", "--config", "c.yaml"), "Did you mean 'board'"),
        (("--config", "c.yaml"), "--config names the configuration"),
        (("--target", "ssh", "--config", "c.yaml"), "no target named 'ssh'"),
        (
            ("--target", "x", "--config", "wrong.yaml"),
            "wrong.yaml:2: targets.x.shh: unknown key 'shh'",
        ),
        (("--target", "x", "--config", "none.yaml"), "none.yaml"),
    ],
)
def test_wrong_options_are_refused(folder: Path, arguments: tuple[str, ...], told: str) -> None:
    (folder / "wrong.yaml").write_text("targets:\n  x: {shh: board}\n")
    done = paretune("bench", *arguments, cwd=folder)
    assert done.returncode == 2
    assert told in done.stderr
