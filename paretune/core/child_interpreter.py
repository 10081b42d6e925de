"""The command lines of Python processes that paretune starts for one function of its own."""

from __future__ import annotations

import json
import sys

_CALL = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "module, _, name = sys.argv[2].partition(':'); del sys.argv[1:3]; "
    "getattr(importlib.import_module(module), name)()"
)


def calling(function: str, *arguments: str) -> list[str]:
    """Return the command line of a new interpreter that calls a function.

    It finds modules where this interpreter does, and nowhere else: ``-m`` would have it look into
    the working folder first, where a ``numpy.py`` may lie.

    Args:
        function: ``module:function``, of no arguments; it reads ``sys.argv[1:]``.
        *arguments: What stands there.
    """
    return [sys.executable, "-P", "-c", _CALL, json.dumps(sys.path), function, *arguments]


def importing(*modules: str) -> list[str]:
    """Return the command line of a new interpreter that imports some modules, and ends."""
    code = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); import {', '.join(modules)}"
    return [sys.executable, "-P", "-c", code, json.dumps(sys.path)]
