"""The real command in surroundings that lack something: a sentence, and 2 or 4; no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_study import write_fake_study

PLUGINS = Path(__file__).resolve().parent / "plugins"
PATHS = os.pathsep.join([str(PLUGINS), *filter(None, sys.path)])


def shell(line: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which $PT is the command."""
    environment = {**os.environ, "PYTHONPATH": PATHS, "PARETUNE_STORE": str(folder / "store")}
    command = f"PT=('{sys.executable}' -m paretune); {line}"
    seen = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**environment, **more},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        check=False,
    )
    assert "Traceback" not in seen.stdout + seen.stderr, seen.stderr
    assert "this is a bug" not in seen.stderr
    return seen


@pytest.mark.parametrize(
    ("line", "status", "told"),
    [
        ('mkdir g; cd g; rmdir ../g; "${PT[@]}" search ../fake.yaml', 2, "working folder"),
        ('"${PT[@]}" search .', 2, "Is a directory"),
        ('"${PT[@]}" search fake.yaml/x', 2, "Not a directory"),
        ('"${PT[@]}" search ""', 2, "a path is empty"),
        ('"${PT[@]}" search $(printf %300s | tr " " x)', 2, "File name too long"),
        ('"${PT[@]}" search "$(printf "caf\\\\xe9.yaml")"', 2, r"'caf\xe9.yaml' is not UTF-8"),
        ('"${PT[@]}" search fake.yaml --study "$(printf "s\\\\xff")"', 2, "not UTF-8"),
        ('"${PT[@]}" search fake.yaml --study fake.yaml', 2, "Not a directory"),
        ('"${PT[@]}" search fake.yaml --store fake.yaml', 4, "Not a directory"),
        ('"${PT[@]}" search fake.yaml --store /proc/none', 4, "cannot be written"),
        ('"${PT[@]}" search fake.yaml --study /proc/none', 2, "cannot be written"),
        ('"${PT[@]}" search fake.yaml --study /dev/null/x', 2, "cannot be written"),
        ('ulimit -f 0; "${PT[@]}" search fake.yaml 2>&1 | cat; exit ${PIPESTATUS[0]}', 4, "large"),
        ('ulimit -n 12; "${PT[@]}" search fake.yaml', 4, "ulimit -n"),
        ('unset PARETUNE_STORE XDG_CACHE_HOME; HOME=none "${PT[@]}" cache', 4, "--store"),
        ('"${PT[@]}" report fake.yaml', 2, "not a study"),
        ('"${PT[@]}" import-olive fake.yaml --out /dev/null/x.yaml', 2, ""),
        ('"${PT[@]}" init /dev/null/x', 2, "no folder /dev/null"),
        ('"${PT[@]}" init nowhere/x.yaml', 2, "no folder nowhere"),
        ('"${PT[@]}" compare fake.yaml nowhere', 2, "no such folder"),
    ],
)
def test_a_sentence_and_a_status(tmp_path: Path, line: str, status: int, told: str) -> None:
    write_fake_study(tmp_path, {"x": 1})
    seen = shell(line, tmp_path)
    assert (seen.returncode, told in seen.stderr + seen.stdout) == (status, True), seen.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        'umask 077; "${PT[@]}" search fake.yaml',
        'exec 100<>/dev/null 500<>/dev/null 900<>/dev/null; "${PT[@]}" search fake.yaml',
        'ulimit -n 64; "${PT[@]}" search fake.yaml',
        'TMPDIR=/nowhere "${PT[@]}" search fake.yaml',
        'env -i PATH="$PATH" PYTHONPATH="$PYTHONPATH" "${PT[@]}" search fake.yaml --store store',
        'LANG= LC_ALL= TERM=dumb COLUMNS=1 "${PT[@]}" search fake.yaml',
        '"${PT[@]}" search <(sed "s,model: .*,model: $PWD/model," fake.yaml) --study studies/fake',
        'mv -- fake.yaml -x.yaml; "${PT[@]}" search --study=studies/fake -- -x.yaml',
        'HOME="$PWD"; sed -i "s,model: .*,model: ~/model," fake.yaml; "${PT[@]}" search '
        '--study="~/studies/fake" --store="~/s" "~/fake.yaml"; x=$?; test -d s && exit $x',
    ],
)
def test_a_search_goes_its_way(tmp_path: Path, line: str) -> None:
    write_fake_study(tmp_path, {"x": 1})
    seen = shell(line, tmp_path)
    assert seen.returncode == 3, seen.stderr  # a stub cannot be loaded: every candidate fails
    assert len(list(tmp_path.glob("studies/fake/candidates/*/outcome.json"))) == 2
    assert "All 2 candidates failed: there is nothing to choose from." in seen.stdout
    assert not list(tmp_path.rglob("~*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["50%20off", "why?", "#", ";", "it's", "new\nline", "🎈 日本"])
def test_everything_of_a_study_lies_in_its_folder(tmp_path: Path, name: str) -> None:
    write_fake_study(tmp_path, {"x": 1})
    seen = shell('"${PT[@]}" search fake.yaml --study "$NAME/study"', tmp_path, NAME=name)
    assert seen.returncode == 3, seen.stderr
    assert {f.name for f in tmp_path.iterdir()} == {"model", "fake.yaml", "store", name}
    assert {"study.db", "results.json", "results.csv", "report.html"} <= {
        f.name for f in (tmp_path / name / "study").iterdir()
    }


def test_a_locked_mirror_is_noted_and_the_search_ends_well(tmp_path: Path) -> None:
    write_fake_study(tmp_path, {"x": 1})
    (tmp_path / "studies" / "fake" / "study.db" / "x").mkdir(parents=True)
    seen = shell('"${PT[@]}" search fake.yaml', tmp_path)
    assert seen.returncode == 3
    assert "note: study.db cannot be written" in seen.stdout
    assert json.loads((tmp_path / "studies/fake/results.json").read_text())["status"] == "finished"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do all")
def test_what_may_not_be_written(tmp_path: Path) -> None:
    write_fake_study(tmp_path, {"x": 1})
    shell('"${PT[@]}" search fake.yaml', tmp_path)
    seen = shell(
        'chmod 500 studies/fake; "${PT[@]}" report studies/fake; x=$?; '
        "chmod 700 studies/fake; exit $x",
        tmp_path,
    )
    assert seen.returncode == 4
    assert "Permission denied" in seen.stderr
