"""The source files that a user's function or a plug-in consists of, found without running them.

A module's own file counts, and what it imports of code that is not installed: modules beside it,
the rest of its package, other folders on Python's path. Of installed code, the versions of the
distributions count. Imports are read from the source (also those inside functions); what is
imported by a computed name is not seen.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType

from paretune.core.distributions import brought_by
from paretune.core.stamps import Stamped, take

SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES)
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True)
class Code:
    """What a module consists of.

    Attributes:
        files: Its source files and those that it imports, by path, each with its digest.
        installed: The distributions that it imports, with their versions.
    """

    files: tuple[Stamped, ...]
    installed: dict[str, str]


def code_of(module: str) -> Code:
    """Return what a module consists of; nothing if Python would not find it.

    Args:
        module: Its dotted name.
    """
    _see_new_files()
    found: dict[str, Path] = {}
    imported: set[str] = set()
    start_is_installed = _is_installed_name(module)
    left = [module]
    while left:
        name = left.pop()
        if name in found:
            continue
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top == "paretune":
            continue
        mine = top == module.partition(".")[0]
        if not mine and (start_is_installed or _is_installed_name(top)):
            imported.add(top)
            continue
        for inner, file in _chain(name):
            if inner not in found:
                found[inner] = file
                left += _imports(inner, file)
    installed: dict[str, str] = {}
    for top in imported:
        installed |= brought_by(top)
    named = sorted((name, file) for name, file in found.items())
    return Code(tuple(take(file, name) for name, file in named), dict(sorted(installed.items())))


def code_beside(file: Path) -> Code:
    """Return what a file consists of that is imported as `function_of` imports it.

    Args:
        file: Modules beside it can be imported.
    """
    sys.path.insert(0, str(file.parent))
    try:
        return code_of(file.stem)
    finally:
        sys.path.remove(str(file.parent))


def modules_of(file: Path, code: Code | None = None) -> dict[str, Path]:
    """Return a file and what it imports that is not installed, by their places beside it.

    Args:
        file: Of a function that a user names.
        code: What it consists of (`code_beside`), where that is known.
    """
    found = {file.name: file}  # whatever else Python finds under its name
    for each in (code or code_beside(file)).files:
        inner = Path(*each.name.split("."))
        name = inner / each.path.name if each.path.stem == "__init__" else inner
        found.setdefault(name.with_suffix(each.path.suffix).as_posix(), each.path)
    return found


@contextmanager
def from_source(code: Code) -> Iterator[None]:
    """Have these modules imported from their source, whatever lies in ``__pycache__``.

    Python takes a compiled file for the source's if size and time agree: after a change that keeps
    both it would run what is not there any more.

    Args:
        code: What is imported meanwhile; the rest is imported as ever.
    """
    finder = _FromSource({file.name: file.path for file in code.files})
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _FromSource(MetaPathFinder):
    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._files.get(fullname)
        if file is None or file.suffix != ".py":
            return None
        inner = [str(file.parent)] if file.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            fullname,
            file,
            loader=_Uncompiled(fullname, str(file)),
            submodule_search_locations=inner,
        )


class _Uncompiled(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        compiled: CodeType = self.source_to_code(self.get_data(path), path)
        return compiled


def _chain(name: str) -> Iterator[tuple[str, Path]]:
    """Yield a module's packages and itself with their files, as far as there are such."""
    top, *inner = name.split(".")
    spec = _spec(top)
    if spec is None:
        return
    if spec.origin is not None and spec.has_location and Path(spec.origin).is_file():
        yield top, Path(spec.origin)
    known, places = top, list(spec.submodule_search_locations or ())
    for part in inner:
        known, file, places = f"{known}.{part}", *_inside(places, part)
        if file is not None:
            yield known, file


def _see_new_files() -> None:
    """Have modules found that were written a moment ago, outside of installed packages.

    Python knows a folder's files until the folder's time changes, which is coarse. To forget what
    it knows of the installed packages too (`importlib.invalidate_caches`) takes milliseconds.
    """
    for place, finder in list(sys.path_importer_cache.items()):
        if finder is None:
            del sys.path_importer_cache[place]
        elif isinstance(finder, FileFinder) and not _INSTALLED.intersection(place.split(os.sep)):
            finder.invalidate_caches()


def _spec(top: str) -> ModuleSpec | None:
    """Return where Python would find a top-level module; nothing is imported."""
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):  # a module that was made by hand
        return None


def _inside(places: list[str], part: str) -> tuple[Path | None, list[str]]:
    """Return the file of a module in a package, and where its own modules lie.

    By hand, as Python's own search imports the packages on the way.
    """
    folders = []
    for place in places:
        folder = Path(place, part)
        for suffix in SUFFIXES:
            if (folder / f"__init__{suffix}").is_file():
                return folder / f"__init__{suffix}", [str(folder)]
        for suffix in SUFFIXES:
            file = Path(place, part + suffix)
            if file.is_file():
                return file, []
        if folder.is_dir():  # a package without __init__ may lie in several places
            folders.append(str(folder))
    return None, folders


def _imports(name: str, file: Path) -> list[str]:
    """Return the names of the modules that a source file imports, and what may be one."""
    if file.suffix != ".py":
        return []
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    return list(_imported_by(file.read_bytes(), package))


@lru_cache(maxsize=256)
def _imported_by(source: bytes, package: str) -> tuple[str, ...]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):  # its digest counts; what it is to import not
        return ()
    found: list[str] = []
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            if base is not None:
                found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(found)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield all statements, inner ones included; expressions, most of a tree, hold none."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            left += getattr(node, part, ())


def _absolute(node: ast.ImportFrom, package: str) -> str | None:
    if node.level == 0:
        return node.module
    parts = package.split(".")
    if not package or node.level > len(parts):
        return None
    base = ".".join(parts[: len(parts) - node.level + 1])
    return f"{base}.{node.module}" if node.module else base


def _is_installed_name(name: str) -> bool:
    """Return whether a top-level module lies where installed packages do."""
    spec = _spec(name.partition(".")[0])
    if spec is None:
        return False
    places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    return any(_is_installed(Path(place).resolve()) for place in places if place is not None)


def _is_installed(place: Path) -> bool:
    if _INSTALLED.intersection(place.parts):  # of this environment, or of one below it
        return True
    return any(place.is_relative_to(folder) for folder in _installed_folders())


@cache
def _installed_folders() -> frozenset[Path]:
    paths = sysconfig.get_paths()
    places = [paths["purelib"], paths["platlib"], paths["stdlib"], *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        places.append(site.getusersitepackages())
    return frozenset(Path(place).resolve() for place in places)
