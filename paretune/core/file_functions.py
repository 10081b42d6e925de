"""A function of a user's file, named as ``file.py:function``."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from paretune.core.errors import UsageError, nearest

_FORM = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


def names_function(text: str) -> bool:
    """Return whether a text has the form of a function in a file."""
    return _FORM.fullmatch(text) is not None


def file_of(text: str) -> str:
    """Return the file of a function in a file; any other text as it is."""
    form = _FORM.fullmatch(text)
    return text if form is None else form["file"]


def require_trust(text: str, who: str, trusted: bool) -> None:
    """Refuse to run a function of a user's file unless that was allowed.

    Args:
        text: Such as ``steps.py:prepare``.
        who: What names it, for messages.
        trusted: Whether code that the configuration names may run.

    Raises:
        UsageError: It may not.
    """
    if not trusted:
        raise UsageError(
            f"{who}: {text} is code that the configuration names, which does not run by default",
            hint="If you trust this code, allow it with --trust-remote-code.",
        )


def located(text: str, root: Path, who: str) -> tuple[Path, str]:
    """Return the file that a function is in, and the function's name; nothing is run.

    Args:
        text: Such as ``steps.py:prepare``.
        root: Where a relative path starts.
        who: What names it, for messages.

    Raises:
        UsageError: It has another form, or there is no such file.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise UsageError(
            f"{who}: {text!r} is not a function in a file", hint="Expected file.py:function."
        )
    path = (root / form["file"]).resolve()
    if not path.is_file():
        raise UsageError(
            f"{who}: no file {form['file']!r}", hint=f"Relative paths start at {root.resolve()}."
        )
    return path, form["name"]


def function_of(text: str, root: Path, who: str) -> Callable[..., Any]:
    """Import a file and return a function of it; modules beside the file can be imported.

    Args:
        text: Such as ``steps.py:prepare``.
        root: Where a relative path starts.
        who: What names it, for messages.

    Raises:
        UsageError: There is no such file or function, or the file does not run.
    """
    path, name = located(text, root, who)
    module = _module(path, who)
    found = getattr(module, name, None)
    if not callable(found):
        known = [each for each, value in vars(module).items() if callable(value)]
        raise UsageError(
            f"{who}: {file_of(text)} has no function {name!r}",
            hint=nearest(name, known) if known else "It has no function at all.",
        )
    made: Callable[..., Any] = found
    return made


class _SourceLoader(SourceFileLoader):
    """Reads the source alone: a compiled file beside it may be of another one."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _module(path: Path, who: str) -> Any:
    """Import a file under a name of its content, so that a changed one is read again."""
    source = path.read_bytes()
    name = f"paretune_user_{sha256(bytes(path) + source).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    loader = _SourceLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        del sys.modules[name]
        raise UsageError(
            f"{who}: {path.name} does not run: {type(error).__name__}: {error}",
            hint=f"Try: python {path.name}",
        ) from error
    finally:
        sys.path.remove(str(path.parent))
    return module
