"""Functions given as objects (a notebook's metric), written to a module that workers import.

A metric runs in another process, and nothing is pickled: the function's source is written to a
module, with the imports, the constants and the other functions that it uses.
"""

from __future__ import annotations

import ast
import inspect
import math
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from paretune.core.errors import UsageError

_HINT = "Move it into the function, or put both into a file and write `function: module:function`."


def place_of(function: Callable[..., Any], folder: Path) -> str:
    """Return the `module:function` under which workers find a function.

    Args:
        function: A function that was defined with ``def`` at the top of a module, a script or a
            notebook.
        folder: Where a module is written if the function is in no importable one. It has to be on
            the workers' path.

    Raises:
        UsageError: It is not such a function, or it uses something that has no source.
    """
    name = getattr(function, "__name__", repr(function))
    if not isinstance(function, FunctionType) or name == "<lambda>" or function.__closure__:
        raise UsageError(
            f"the metric {name} is not a function defined with def outside of other functions",
            hint="Define it at the top of the notebook or script: def my_metric(session, examples)",
        )
    module = function.__module__
    if _is_importable(module) and function.__qualname__ == name:
        return f"{module}:{name}"
    own = f"given_{name}"
    (folder / f"{own}.py").write_text(module_source(function), encoding="utf-8")
    return f"{own}:{name}"


def module_source(function: FunctionType) -> str:
    """Return the text of a module that holds a function and all that it uses.

    Raises:
        UsageError: A global that it uses is neither a module, nor importable, nor a function with
            source, nor a plain value.
    """
    parts: dict[str, str] = {}
    _collect(function, parts)
    body = "\n\n".join(part.rstrip("\n") for part in parts.values())
    return f"from __future__ import annotations\n\n{body}\n"


def _collect(function: FunctionType, parts: dict[str, str]) -> None:
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise UsageError(
            f"the source of the function {function.__name__} was not found: {error}", hint=_HINT
        ) from error
    parts[function.__name__] = ""  # a function that calls itself is met again
    for used in _globals_of(source):
        if used not in parts and used in function.__globals__:
            _add(used, function.__globals__[used], function, parts)
    del parts[function.__name__]  # what it uses stands before it
    parts[function.__name__] = source


def _add(name: str, value: Any, user: FunctionType, parts: dict[str, str]) -> None:
    if isinstance(value, ModuleType):
        parts[name] = f"import {value.__name__} as {name}"
        return
    module, qualified = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if isinstance(module, str) and _is_importable(module) and qualified.isidentifier():
        parts[name] = f"from {module} import {qualified} as {name}"
        return
    if isinstance(value, FunctionType):
        if value.__name__ != name or value.__closure__:
            raise UsageError(
                f"{user.__name__} uses {name}, a function that another function created (a closure "
                "or decorator), so its source cannot be written out",
                hint=_HINT,
            )
        _collect(value, parts)
        return
    if not _is_plain(value):
        raise UsageError(
            f"{user.__name__} uses {name}, a {type(value).__name__} that exists only in this "
            "session; the process that measures cannot access it",
            hint=_HINT,
        )
    parts[name] = f"{name} = {value!r}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, (list, tuple, set)) and type(value) in (list, tuple, set):
        return all(_is_plain(item) for item in value)
    if type(value) is dict:
        return all(_is_plain(k) and _is_plain(v) for k, v in value.items())
    return value is None or type(value) in (bool, int, str, bytes)


def _is_importable(module: str) -> bool:
    if module == "__main__":
        return False
    if module in sys.builtin_module_names:
        return True
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


class _Names(ast.NodeVisitor):
    """Collects names that are read; annotations are never evaluated, and do not count."""

    def __init__(self) -> None:
        self.read: dict[str, None] = {}

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.read[node.id] = None

    def visit_arg(self, node: ast.arg) -> None:
        return

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        node.returns = None
        self.generic_visit(node)


def _globals_of(source: str) -> list[str]:
    names = _Names()
    names.visit(ast.parse(source))
    return list(names.read)


def without_functions(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a configuration in which each function object is replaced by its import name.

    Args:
        config: A configuration; ``evaluate: [{custom: {function: ...}}]`` may have functions.
        folder: Where their modules are written.

    Raises:
        UsageError: A function is at another key, or cannot be written out.
    """
    entries = config.get("evaluate")
    if not isinstance(entries, (list, tuple)):
        return dict(config)
    return {**config, "evaluate": [_named(entry, folder) for entry in entries]}


def _named(entry: Any, folder: Path) -> Any:
    params = entry.get("custom") if isinstance(entry, Mapping) else None
    if not isinstance(params, Mapping) or not callable(params.get("function")):
        return entry
    return {**entry, "custom": {**params, "function": place_of(params["function"], folder)}}


@contextmanager
def importable(config: Any) -> Iterator[tuple[Any, Path | None]]:
    """Yield a configuration without function objects, and the folder of their modules.

    Workers look for modules where this process does, so the folder is on its path until the end.

    Args:
        config: What `paretune.optimize` was given; only a mapping can hold functions.
    """
    if not isinstance(config, Mapping):
        yield config, None
        return
    with tempfile.TemporaryDirectory(prefix="paretune-given-") as folder:
        plain = without_functions(config, Path(folder))
        sys.path.append(folder)
        try:
            yield plain, Path(folder)
        finally:
            sys.path.remove(folder)
