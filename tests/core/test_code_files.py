"""What a user's function or a plug-in consists of, told without running it."""

from __future__ import annotations

import importlib
import os
import py_compile
import sys
from importlib import import_module
from pathlib import Path

import pytest

from paretune.core.code_files import code_of, from_source


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write(place: Path, **files: str) -> None:
    for name, text in files.items():
        file = place / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def names(module: str) -> list[str]:
    return [file.name for file in code_of(module).files]


@pytest.mark.parametrize(
    "line",
    [
        "import helper_of_mine",
        "import helper_of_mine as h, math",
        "from helper_of_mine import word",
        "def f():\n    from helper_of_mine import word",
        "try:\n    import helper_of_mine\nexcept ImportError:\n    pass",
    ],
)
def test_modules_beside_it_count(place: Path, line: str) -> None:
    write(place, metric_of_mine=line, helper_of_mine="import words_of_mine", words_of_mine="")
    write(place, not_imported="")
    assert names("metric_of_mine") == ["helper_of_mine", "metric_of_mine", "words_of_mine"]


@pytest.mark.parametrize("init", [True, False])
@pytest.mark.parametrize(
    "line",
    [
        "from . import b",
        "from .b import x",
        "import pack.inner.b",
        "from pack.inner import b",
        "from ..inner import b",
    ],
)
def test_the_rest_of_its_package_counts(place: Path, line: str, init: bool) -> None:
    (place / "pack" / "inner").mkdir(parents=True)
    for name, text in (("a", line), ("b", "")):
        (place / "pack" / "inner" / f"{name}.py").write_text(text)
    packages = ["pack", "pack.inner"] if init else []
    if init:
        (place / "pack" / "__init__.py").write_text("")
        (place / "pack" / "inner" / "__init__.py").write_text("")
    assert names("pack.inner.a") == sorted(["pack.inner.a", "pack.inner.b", *packages])


def test_what_is_installed_is_told_by_its_version(place: Path) -> None:
    write(place, metric_of_mine="import json\nimport numpy as np\nimport yaml\nimport paretune")
    code = code_of("metric_of_mine")
    assert [file.name for file in code.files] == ["metric_of_mine"]
    assert set(code.installed) == {"numpy", "pyyaml"}


def test_nothing_is_run(place: Path) -> None:
    (place / "pack").mkdir()
    (place / "pack" / "__init__.py").write_text("raise SystemExit('run')")
    (place / "pack" / "a.py").write_text("raise SystemExit('run')")
    assert names("pack.a") == ["pack", "pack.a"]


def test_what_is_not_there_or_broken_is_no_error(place: Path) -> None:
    assert names("nowhere.at_all") == []
    write(place, broken_of_mine="def (")
    assert names("broken_of_mine") == ["broken_of_mine"]
    write(place, circle_a="import circle_b", circle_b="import circle_a")
    assert names("circle_a") == ["circle_a", "circle_b"]


def test_another_content_is_another_digest(place: Path) -> None:
    write(place, metric_of_mine="import helper_of_mine", helper_of_mine="x = 1")
    before = {file.name: file.sha256 for file in code_of("metric_of_mine").files}
    write(place, helper_of_mine="x = 2")
    after = {file.name: file.sha256 for file in code_of("metric_of_mine").files}
    assert before["metric_of_mine"] == after["metric_of_mine"]
    assert before["helper_of_mine"] != after["helper_of_mine"]


def test_what_is_run_is_the_source_not_what_was_compiled_of_an_earlier_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Size and time are the same: Python alone would run the compiled file."""
    write(place, metric_compiled="from inner_compiled.part import x", inner_compiled__part="x = 1")
    (place / "inner_compiled" / "__init__.py").write_text("")
    sources = [place / "metric_compiled.py", place / "inner_compiled" / "part.py"]
    for source in sources:
        py_compile.compile(str(source), doraise=True)
    kept = sources[1].stat()
    sources[1].write_text("x = 2")
    os.utime(sources[1], ns=(kept.st_atime_ns, kept.st_mtime_ns))
    with from_source(code_of("metric_compiled")):
        assert import_module("metric_compiled").x == 2
    for name in ("metric_compiled", "inner_compiled.part", "inner_compiled"):
        sys.modules.pop(name)
    importlib.invalidate_caches()
    assert import_module("metric_compiled").x == 1  # as Python does by itself
