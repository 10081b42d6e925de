"""Imports run one way: import-linter and a search for cycles, on the tree as it installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.installed_tree import ROOT, link_tree

# Prints "module imported-module" of every import, those behind TYPE_CHECKING and in functions too.
_PRINT_IMPORTS = """
import grimp
graph = grimp.build_graph("paretune", cache_dir=None)
for module in graph.modules:
    for imported in graph.find_modules_directly_imported_by(module):
        print(module, imported)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("importlinter")
    return link_tree(tmp_path_factory.mktemp("installed"))


def run(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python beside a tree, so that it is the one that is found as `paretune`."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=tree.parent,
        env={**os.environ, "PYTHONPATH": str(tree.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    linter = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return run(tree, "-c", linter, "--no-cache", str(ROOT / "pyproject.toml"))


def test_imports_run_one_way(tree: Path) -> None:
    checked = lint(tree)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("core/errors.py", "from paretune.study import folder", "Imports run one way"),
        ("search/space.py", "from paretune import passes", "The search knows values"),
        ("passes/base.py", "from paretune.search import space", "Imports run one way"),
        ("targets/worker/main.py", "from paretune.targets.launchers import local", "A launcher"),
    ],
)
def test_a_forbidden_import_is_seen(
    tree: Path, tmp_path: Path, module: str, line: str, contract: str
) -> None:
    planted = tmp_path / "paretune"
    shutil.copytree(tree, planted, ignore=shutil.ignore_patterns("__pycache__"))
    file = planted / module
    file.write_text(file.read_text() + f"\n\ndef planted() -> None:\n    {line}\n")
    checked = lint(planted)
    assert checked.returncode == 1
    assert f"{contract}" in checked.stdout
    assert "BROKEN" in checked.stdout


def imports_of(tree: Path) -> dict[str, set[str]]:
    printed = run(tree, "-c", _PRINT_IMPORTS)
    assert printed.returncode == 0, printed.stderr
    found: dict[str, set[str]] = {}
    for line in printed.stdout.splitlines():
        module, imported = line.split()
        found.setdefault(module, set()).add(imported)
    return found


def test_no_module_imports_itself_by_way_of_others(tree: Path) -> None:
    imports = imports_of(tree)
    assert len(imports) > 200, "the whole tree was read"
    TopologicalSorter(imports).prepare()


def test_a_cycle_behind_type_checking_is_seen(tree: Path, tmp_path: Path) -> None:
    planted = tmp_path / "paretune"
    shutil.copytree(tree, planted, ignore=shutil.ignore_patterns("__pycache__"))
    file = planted / "search" / "run.py"
    guarded = "if TYPE_CHECKING:\n    from paretune.search.engine import Engine\n"
    file.write_text(f"{file.read_text()}\n\nfrom typing import TYPE_CHECKING\n{guarded}")
    with pytest.raises(CycleError):
        TopologicalSorter(imports_of(planted)).prepare()
