"""The standard streams of the real command: closed, full, not read, in an old encoding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_study import write_fake_study

PLUGINS = Path(__file__).resolve().parent / "plugins"
PATHS = os.pathsep.join([str(PLUGINS), *filter(None, sys.path)])
COMMAND = [sys.executable, "-m", "paretune"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": PATHS, "PARETUNE_STORE": str(folder / "store"), **more}


def shell(line: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which $PT is the command."""
    quoted = " ".join(f"'{word}'" for word in COMMAND)
    return subprocess.run(
        ["bash", "-c", f"PT=({quoted}); {line}"],
        cwd=folder,
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def outcomes(folder: Path) -> int:
    return len(list(folder.glob("studies/fake/candidates/*/outcome.json")))


@pytest.mark.parametrize("reader", ["head -n 1", "true", "head -c 5"])
def test_a_search_goes_on_when_its_reader_goes_away(tmp_path: Path, reader: str) -> None:
    write_fake_study(tmp_path, {"x": [1, 2]})
    seen = shell(f'"${{PT[@]}}" search fake.yaml | {reader}; exit ${{PIPESTATUS[0]}}', tmp_path)
    assert seen.returncode == 3  # a stub cannot be loaded: every candidate fails
    assert outcomes(tmp_path) == 3
    assert seen.stderr == ""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(tmp_path: Path, closed: str) -> None:
    """None of them: else the next files that are opened would take their numbers."""
    write_fake_study(tmp_path, {"x": 1})
    seen = shell(f'"${{PT[@]}}" search fake.yaml {closed}', tmp_path)
    assert seen.returncode == 3, seen.stderr
    assert outcomes(tmp_path) == 2
    assert "Traceback" not in seen.stderr + seen.stdout


def test_output_that_a_full_disk_swallows_is_no_success(tmp_path: Path) -> None:
    seen = shell('"${PT[@]}" passes --json > /dev/full', tmp_path)
    assert seen.returncode == 4
    assert "No space left on device" in seen.stderr
    assert "Traceback" not in seen.stderr
    assert shell('"${PT[@]}" passes 2> /dev/full', tmp_path).returncode == 0
    assert shell('"${PT[@]}" passes nowhere 2> /dev/full', tmp_path).returncode == 2


def test_a_descriptor_that_does_not_block(tmp_path: Path) -> None:
    """As node and ssh hand them over: a slow reader is waited for."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = subprocess.Popen(
        [*COMMAND, "passes", "genai", "--json"],
        stdout=writing,
        cwd=tmp_path,
        env=environment(tmp_path),
    )
    os.close(writing)
    with open(reading, "rb") as pipe:
        text = pipe.read()
    assert process.wait() == 0
    assert text.endswith(b"}\n")


@pytest.mark.parametrize(
    "more",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX", "LANG": "", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"TERM": "dumb", "COLUMNS": "1"},
        {"TERM": "", "COLUMNS": "0", "LINES": "x"},
        {"COLUMNS": "-5", "NO_COLOR": "1", "FORCE_COLOR": "1"},
    ],
)
def test_whatever_the_terminal_can_show(tmp_path: Path, more: dict[str, str]) -> None:
    folder = tmp_path / "naïve 日本 🎈"
    folder.mkdir()
    write_fake_study(folder, {"x": 1})
    seen = shell('"${PT[@]}" search --dry-run "naïve 日本 🎈/fake.yaml"', tmp_path, **more)
    assert seen.returncode == 0, seen.stderr
    assert "candidates   1 in the space" in seen.stdout
    wrong = shell('"${PT[@]}" search "naïve 日本 🎈/ünknown.yaml"', tmp_path, **more)
    assert wrong.returncode == 2
    assert "nknown.yaml: cannot be read" in wrong.stderr
    assert shell('"${PT[@]}" search --help', tmp_path, **more).returncode == 0


def test_a_question_that_nobody_answers(tmp_path: Path) -> None:
    seen = shell('"${PT[@]}" cache clean < /dev/null', tmp_path)
    assert seen.returncode == 2
    assert "--yes" in seen.stderr
