"""Modules under the names that plug-ins of version 0.1 import them by.

Only what `docs/extending.md` named then; code of paretune itself uses today's names.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "paretune.errors": "paretune.core.errors",
    "paretune.evaluators.statistics": "paretune.stats.intervals",
    "paretune.jsontools": "paretune.core.jsontools",
    "paretune.measurement": "paretune.core.measurement",
    "paretune.search.candidate": "paretune.core.candidate",
    "paretune.search.outcome": "paretune.core.result",
    "paretune.targets.local": "paretune.targets.launchers.local",
}
RENAMED = {"paretune.search.outcome": {"Outcome": "TrialResult"}}


class _OldNames:
    """Finds and loads the modules of `MOVED`; the import system asks it last."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how a module is loaded, if it is one of them."""
        del path, target
        return ModuleSpec(name, self) if name in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Have an empty module made."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill it with what stands under today's name."""
        moved = vars(import_module(MOVED[module.__name__]))
        module.__dict__.update({k: v for k, v in moved.items() if not k.startswith("__")})
        for old, new in RENAMED.get(module.__name__, {}).items():
            module.__dict__[old] = moved[new]


def install() -> None:
    """Let the old names be imported."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        sys.meta_path.append(_OldNames())
