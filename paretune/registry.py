"""Passes and evaluators by name; what else plugs in is found by `paretune.core.plugins` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretune.core.plugins import BUILTIN, entries, find, is_ours, names, table

if TYPE_CHECKING:
    from paretune.evaluators.base import Evaluator
    from paretune.passes.base import Pass

__all__ = [
    "BUILTIN",
    "entries",
    "find",
    "find_evaluator",
    "find_pass",
    "is_ours",
    "names",
    "table",
]


def find_pass(name: str) -> Pass:
    """Return a pass by name, ready to use."""
    found: Pass = find("passes", name)()
    return found


def find_evaluator(name: str) -> type[Evaluator]:
    """Return an evaluator's class by name; it is made with its parameters."""
    found: type[Evaluator] = find("evaluators", name)
    return found


def evaluator_packages(name: str) -> tuple[str, ...]:
    """Return the distributions that an evaluator needs beside its runtime's; one need not say."""
    return tuple(getattr(find_evaluator(name), "packages", ()))
