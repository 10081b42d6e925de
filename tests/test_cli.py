"""The command line as a user types it: in a process of its own, with its exit status."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import paretune
from fake_study import write_fake_study

from paretune.cli.main import call
from paretune.study.folder import Study

PLUGINS = Path(__file__).resolve().parent / "plugins"


def test_help_names_every_command_and_imports_nothing_heavy(tmp_path: Path) -> None:
    shown = paretune("--help", cwd=tmp_path)
    assert shown.returncode == 0
    for command in (
        "search",
        "run",
        "compare",
        "report",
        "pick",
        "bench",
        "doctor",
        "passes",
        "init",
        "cache",
    ):
        assert f"  {command} " in shown.stdout
    code = (
        "import sys, paretune.cli\n"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'optuna', 'numpy', 'pydantic', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    config = write_fake_study(
        tmp_path,
        {"x": [1, 2, 99]},
        passes=[{"fake_train": {"x": [1, 2]}}, {"noop": {"x": [3, 99]}}],
    )
    shown = paretune("search", config, "--dry-run", "--json", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert (found["candidates"], found["trainings"], found["skipped"]) == (4, 2, 2)
    assert not (tmp_path / "studies").exists()
    text = paretune("search", config, "--dry-run", cwd=tmp_path).stdout
    assert "trainings    2" in text
    assert "x may not be 99" in text


BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": "nowhere"}, "nowhere"),
    ({"passes": [{"nop": {}}]}, "Did you mean 'noop'?"),
    ({"passes": [{"noop": {"speeed": 1}}]}, "speed"),
    ({"passes": [{"noop": {"misbehave": {"low": 1, "high": 2}}}]}, "misbehave"),
    ({"constraints": ["acuracy >= 0.5"]}, "accuracy"),
    ({"constraints": ["accuracy > > 0.5"]}, "accuracy"),
    ({"objectives": {"maximize": "f1"}}, "f1"),
    ({"target": {"providers": ["cpuu"]}}, "cpu"),
    ({"target": {"providers": ["cuda"]}}, "cuda"),
    ({"passes": [{"noop": {"x": 99}}], "baseline": [{"noop": {"x": 99}}]}, "may not be 99"),
    ({"serch": {}}, "search"),
]


@pytest.mark.parametrize(("change", "told"), BAD)
def test_what_is_wrong_is_told_with_status_2(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    config = write_fake_study(tmp_path, {"x": 1}, **change)
    seen = paretune("search", config, cwd=tmp_path)
    assert seen.returncode == 2, seen.stdout + seen.stderr
    assert told in seen.stderr
    assert "Traceback" not in seen.stderr
    if change.get("target") != {"providers": ["cuda"]} and "99" not in told:
        assert not list(tmp_path.glob("studies/*/candidates/*"))


def test_no_configuration_and_one_that_is_no_yaml(tmp_path: Path) -> None:
    assert paretune("search", "absent.yaml", cwd=tmp_path).returncode == 2
    (tmp_path / "bad.yaml").write_text("a: [1,\nb: }")
    seen = paretune("search", "bad.yaml", cwd=tmp_path)
    assert seen.returncode == 2
    assert "bad.yaml:2" in seen.stderr


def test_a_study_that_cannot_be_written(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"x": 1})
    (tmp_path / "file").write_text("")
    seen = paretune("search", config, "--study", "file/study", cwd=tmp_path)
    assert seen.returncode == 2
    assert "cannot be written" in seen.stderr


def test_passes_are_listed_and_explained(tmp_path: Path) -> None:
    assert "lora" in paretune("passes", cwd=tmp_path).stdout
    shown = paretune("passes", "genai", cwd=tmp_path).stdout
    assert "precision" in shown
    unknown = paretune("passes", "genia", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "Did you mean 'genai'?" in unknown.stderr


def test_init_writes_yaml_and_never_over_a_file(tmp_path: Path) -> None:
    assert paretune("init", "a.yaml", cwd=tmp_path).returncode == 0
    config = yaml.safe_load((tmp_path / "a.yaml").read_text())
    assert set(config) >= {"model", "data", "passes", "evaluate", "objectives"}
    again = paretune("init", "a.yaml", cwd=tmp_path)
    assert again.returncode == 2
    assert "already exists" in again.stderr


def test_the_store_is_verified_and_cleaned(tmp_path: Path) -> None:
    assert "0 artifacts" in paretune("cache", "verify", cwd=tmp_path).stdout
    assert paretune("cache", "clean", "--yes", cwd=tmp_path).returncode == 0


def test_every_command_takes_the_switches_that_are_the_same_everywhere(tmp_path: Path) -> None:
    switches = ["--allow-network", "--trust-remote-code", "--json", "--store", tmp_path / "s"]
    seen = paretune("cache", "verify", *switches, cwd=tmp_path)
    assert json.loads(seen.stdout)["artifacts"] == 0
    assert (tmp_path / "s").is_dir()
    assert json.loads(paretune("passes", *switches, cwd=tmp_path).stdout)
    assert "not a study" in paretune("report", "nowhere", *switches, cwd=tmp_path).stderr
    shown = paretune("doctor", "--help", cwd=tmp_path).stdout
    assert "--trust-remote-code" not in shown  # it means nothing there


def test_a_dry_run_of_what_nothing_fits_ends_as_the_search_would(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"x": 99}, baseline=[{"noop": {"x": 99}}])
    assert paretune("search", config, "--dry-run", cwd=tmp_path).returncode == 2


def test_a_search_that_ran_out_of_time_says_what_it_did_not_look_at(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"x": {"low": 1, "high": 400}})
    shown = paretune("search", config, "--time", "2s", "--store", tmp_path / "store", cwd=tmp_path)
    told = re.search(r"(\d+) of 401 candidates were not tried", shown.stdout + shown.stderr)
    assert told is not None, shown.stdout + shown.stderr
    recorded = len(list((tmp_path / "studies" / "fake" / "candidates").iterdir()))
    assert 401 - recorded <= int(told[1]) <= 401 - recorded + 1  # one may have been in flight


def test_pick_and_report_on_what_is_no_study(tmp_path: Path) -> None:
    for command in ("pick", "report"):
        seen = paretune(command, "nowhere", cwd=tmp_path)
        assert seen.returncode == 2
        assert "not a study" in seen.stderr


def test_a_full_disk_is_told_as_such_and_nothing_recorded_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: Study, folder: Path) -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr(Study, "__init__", full)
    config = write_fake_study(tmp_path, {"x": 1})
    assert call(["search", str(config), "--store", str(tmp_path / "store")]) == 4
    told = capsys.readouterr().err
    assert "the disk is full: No space left on device" in told
    assert "run the same command again" in told
    assert "Traceback" not in told
