"""The source folders as the package that they install as, by links, for tools that read files."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS = {folder: package for package, folder in CONFIG["package-dir"].items()}


def link_tree(folder: Path) -> Path:
    """Make `folder`/paretune, with every source folder inside it, and return it."""
    tree = folder / "paretune"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for source in (ROOT / "paretune").iterdir():
        (tree / source.name).symlink_to(source)
    for name in FOLDERS.keys() - {"paretune"}:
        (tree / name).symlink_to(ROOT / name)
    return tree
