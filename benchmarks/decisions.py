"""How often a search decides wrongly: python benchmarks/decisions.py [--parts pick] [--studies N].

Simulated studies whose true values are known go through the code that decides in a search. Each
part is one module of ``benchmarks/deciding/`` with a function
``run(studies, seed) -> (table, figures)``:

- ``pick``: is the model that is shipped within the tolerance of the best, and how sure is that;
- ``limits``: what is said of a model that lies a little below, or above, an accuracy's limit;
- ``stops``: who is stopped early, and should not be, or should;
- ``p95``: intervals of speeds: how often given, how often right, how wide;
- ``finals``: which finalists run in the rounds of the re-measurement: right picks at equal time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from common import save

PARTS = ("pick", "limits", "stops", "p95", "finals")
Part = Callable[[int, int], tuple[str, dict[str, Any]]]


def part(name: str) -> Part:
    """Return a part's function."""
    found: Part = import_module(f"deciding.{name}").run
    return found


def main() -> None:
    """Run the parts; print their tables; write the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="which, separated by commas")
    parser.add_argument("--studies", type=int, default=400, help="simulated studies a case")
    parser.add_argument("--seed", type=int, default=0, help="0: that of the figures in README.md")
    given = parser.parse_args()
    wanted = given.parts.split(",")
    unknown = sorted(set(wanted) - set(PARTS))
    if unknown:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    told: dict[str, Any] = {"studies": given.studies, "seed": given.seed}
    for name in wanted:
        start = time.perf_counter()
        shown, figures = part(name)(given.studies, given.seed)
        told[name] = {**figures, "seconds": round(time.perf_counter() - start, 1)}
        print(f"{name}\n\n{shown}\n", flush=True)
        path = save("decisions", told)
    print(path)


if __name__ == "__main__":
    main()
