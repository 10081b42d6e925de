"""The documentation says what is so: its configurations load, its commands exist, its code runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import paretune.testing
from paretune.cli.main import app
from paretune.config import Plan, load
from paretune.core.plugins import BUILTIN
from paretune.preflight.dry_run import foresee
from tests.extending_page import PAGE, blocks, write_package
from tests.tiny_models import make_tiny_llama

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks" / "README.md",
]


def shown_commands(page: Path) -> list[str]:
    """Return what stands in code, inline or in a block, and begins with our name or with make."""
    text = page.read_text(encoding="utf-8")
    lines = [line.split("  #")[0] for block in blocks(page, "sh") for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    starts = ("paretune ", "make ", "python benchmarks/")
    return [c.strip() for c in lines + inline if c.strip().startswith(starts)]


COMMANDS = [(page.name, command) for page in PAGES for command in shown_commands(page)]
LATER: set[str] = set()  # commands in the design that are not there yet


def check_ours(words: list[str]) -> None:
    """Require that a command line names commands and options that there are."""
    command: click.Command = app
    while words and not words[0].startswith("--") and isinstance(command, click.Group):
        assert words[0] in command.commands, f"no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    options = {"--help", *(name for param in command.params for name in param.opts)}
    for word in words:
        if word.startswith("--"):
            assert word in options, f"{command.name} has no option {word}"


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_that_is_shown_exists(page: str, command: str) -> None:
    plain = re.sub(r"[\[\]]", " ", command)
    program, *words = shlex.split(plain.replace("…", "").replace("...", ""))
    if program == "make":
        makefile = (ROOT / "Makefile").read_text()
        assert re.search(rf"^{words[0]}:", makefile, re.MULTILINE), words[0]
    elif program == "python":
        script = ROOT / words[0]
        assert script.is_file(), words[0]
        for option in (word for word in words if word.startswith("--")):
            assert option in script.read_text(), option
    elif words and words[0] not in LATER:
        check_ours(words)


def tone_rows(folder: Path) -> None:
    rows = [{"phrase": f"phrase {i}", "tone": ("joy", "fear")[i % 2]} for i in range(40)]
    (folder / "tone.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def loaded(folder: Path, config: dict[str, Any]) -> Plan:
    model = folder / str(config["model"])
    if not model.exists():
        model.parent.mkdir(parents=True, exist_ok=True)
        make_tiny_llama(model, positions=8192)
    file = folder / "shown.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return load(file)


@pytest.mark.parametrize("page", ["README.md", "docs/design.md"])
def test_a_whole_configuration_that_is_shown_is_one(page: str, tmp_path: Path) -> None:
    (text,) = blocks(ROOT / page, "yaml")
    tone_rows(tmp_path)
    plan = loaded(tmp_path, yaml.safe_load(text))
    found = foresee(plan.file, store=tmp_path / "store")
    assert found["candidates"] == plan.space.size > 4
    assert found["trainings"] == 2
    assert found["skipped"] < found["looked_at"]


def test_the_parts_of_the_configuration_page_fit_together(tmp_path: Path) -> None:
    whole: dict[str, Any] = {
        "model": "models/tiny",
        "evaluate": [
            {"classification": {"data": "tone.test"}},
            "footprint",
            {"generation": {"prompt_tokens": [64, 512], "new_tokens": 32}},
        ],
    }
    for block in blocks(ROOT / "docs" / "configuration.md", "yaml"):
        whole.update(yaml.safe_load(block))
    tone_rows(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"question,answer\nwhat is {name}?,{name}\n")
    (tmp_path / "wiki.txt").write_text("Some text.\n")
    plan = loaded(tmp_path, whole)
    assert plan.space.size == 2 * 3 * 3 * 2
    assert len(plan.constraints) == 2
    assert plan.search.job_memory_mb == 8000


@pytest.fixture(scope="module")
def another_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the package that the extending page shows, with its entry points and tests."""
    folder = tmp_path_factory.mktemp("another")
    write_package(folder)
    make_tiny_llama(folder / "tests" / "tiny-model")
    tone_rows(folder / "tests")
    return folder


def beside(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python where another package is installed in a folder."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_pass_of_the_extending_page_is_found_as_another_package_brings_it(
    another_package: Path,
) -> None:
    listing = "from paretune.cli import main; main()"
    shown = beside(another_package, "-c", listing, "passes", "prune")
    assert "share" in shown.stdout, shown.stderr
    assert "Zeroes the smallest weights." in shown.stdout


SHOWN = {
    "passes": ["prune"],
    "evaluators": ["first_word"],
    "kinds": ["factor"],
    "runtimes": ["multiply"],
    "targets": ["fresh"],
    "strategies": ["backwards", "halving"],
}
"""By axis, what the extending page shows; each has its test there."""


def test_the_extending_page_shows_each_axis() -> None:
    (project,) = blocks(PAGE, "toml")
    groups = tomllib.loads(project)["project"]["entry-points"]
    assert {g.removeprefix("paretune."): [*entries] for g, entries in groups.items()} == SHOWN
    assert SHOWN.keys() == BUILTIN.keys()
    suites = {name.removeprefix("check_") for name in paretune.testing.__all__}
    assert suites == {"pass", "evaluator", "kind", "runtime", "target", "strategy"}
    page = PAGE.read_text()
    for suite in suites:
        assert f"    check_{suite}(" in page


def test_what_the_extending_page_shows_passes_its_own_tests(another_package: Path) -> None:
    ran = beside(another_package, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "tests")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed = re.findall(r"^PASSED tests/test_my_package.py::test_(\w+)", ran.stdout, re.MULTILINE)
    assert sorted(passed) == sorted(name for names in SHOWN.values() for name in names)


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_test_that_the_olive_table_names_is_there() -> None:
    table = (ROOT / "docs" / "from-olive.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| ") and ".py" in line]
    assert len(rows) > 30
    for row in rows:
        file = ""
        for path, name in re.findall(r"`([\w./]*\.py)?(?:::(\w+))?`", row):
            file = path or file
            if not path and not name:
                continue
            source = ROOT / "tests" / "config" / "olive" / file
            assert source.is_file(), row
            if name:
                assert f"def {name}(" in source.read_text(), name
