"""The search that is killed: python victim.py (fakes|real) CONFIG.

Study and store lie beside the configuration. The step of the mirror is named here, because SQLite
renames nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from paretune.search.mirror import Mirror


def name_the_mirrors_step() -> None:
    """Tell the journal before and after each trial that goes into ``study.db``."""
    from sitecustomize import reached

    add = Mirror.add

    def wrapped(self: Mirror, *arguments: Any) -> None:
        reached("mirror", "before")
        add(self, *arguments)
        reached("mirror", "after")

    Mirror.add = wrapped  # type: ignore[method-assign]


def main(kind: str, config: Path) -> None:
    """Search to the end, if nothing comes in between."""
    os.environ["CHAOS_ROOT"] = str(os.getpid())
    name_the_mirrors_step()
    if kind == "fakes":
        from fake_study import search

        search(config)
    else:
        from paretune import optimize

        optimize(config, study=config.parent / "study", store=config.parent / "store")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
