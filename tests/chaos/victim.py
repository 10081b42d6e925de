"""The search that is killed: python victim.py (fakes|real) CONFIG.

Study and store lie beside the configuration. The steps of the mirror and of the log are named here,
because neither SQLite nor an append renames anything.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from paretune.search.mirror import Mirror
from paretune.study.outcome_log import OutcomeLog


def name_steps() -> None:
    """Tell the journal before and after each trial in ``study.db`` and ``outcomes.jsonl``."""
    from sitecustomize import reached

    def named(point: str, method: Any) -> Any:
        def wrapped(self: Any, *arguments: Any) -> None:
            reached(point, "before")
            method(self, *arguments)
            reached(point, "after")

        return wrapped

    Mirror.add = named("mirror", Mirror.add)  # type: ignore[method-assign]
    OutcomeLog.append = named("log", OutcomeLog.append)  # type: ignore[method-assign]


def main(kind: str, config: Path) -> None:
    """Search to the end, if nothing comes in between."""
    os.environ["CHAOS_ROOT"] = str(os.getpid())
    name_steps()
    if kind == "fakes":
        from fake_study import search

        search(config)
    else:
        from paretune import optimize

        optimize(config, study=config.parent / "study", store=config.parent / "store")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
