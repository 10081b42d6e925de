"""A model to be broken in one place, and what is then found in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.models.checks import Finding, check_folder
from tests.tiny_models import make_tiny_llama

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in which there is nothing to be found: 320 tokens."""
    return make_tiny_llama(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def broken(whole: Path, tmp_path: Path) -> Callable[..., tuple[Finding, ...]]:
    """Return a function that changes JSON files of a copy, and returns what is found then."""

    def change(**files: Change) -> tuple[Finding, ...]:
        folder = tmp_path / "model"
        if not folder.exists():
            shutil.copytree(whole, folder)
        for stem, edit in files.items():
            file = folder / f"{stem}.json"
            content = json.loads(file.read_text()) if file.is_file() else {}
            edit(content)
            file.write_text(json.dumps(content))
        return check_folder(folder)

    return change


def put(**keys: Any) -> Change:
    """Return a change that sets keys."""
    return lambda content: content.update(keys)


def drop(*keys: str) -> Change:
    """Return a change that removes keys."""
    return lambda content: [content.pop(key, None) for key in keys]
