"""Faults of targets, and what came of each: python benchmarks/target_faults.py [--only WORD ...].

Each fault is caused on this machine, with real parts: processes that are killed or stopped, an sshd
of this script's own on loopback that is cut off, stopped or given another host key, Ray nodes on
loopback addresses that are killed or silent, a small file system that is full, a wall clock that is
set (by a library in front of the C library's), programs of another user, and far sides that lie.
Azure is the local server of `tests/azure`, whose job service runs the jobs. `docs/targets.md` says
what has to come of each.

The table has the end of the job (its status, and of the next job), whether it was transient, how
long until it was reported, what has to be done again, and whether that is as expected. The exit
status is 1 if something is not. A fault that cannot be caused here (no root, no C compiler) is
listed with the reason. A new kind of target adds a module with `cases` in ``benchmarks/faulting``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from common import ROOT, save, table

sys.path.insert(0, str(ROOT))

from faulting import (
    azure_jobs,
    connections,
    hostile,
    processes,
    ray_hosts,
    searches,
    surroundings,
)
from faulting.world import Came, CannotRunError, Case, World

MODULES = (processes, connections, ray_hosts, azure_jobs, surroundings, hostile, searches)
KINDS = ("local", "python", "ssh", "ray", "azureml")
"""Their order in the table."""


def main() -> int:
    """Cause the faults; print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="words of the target or the fault")
    given = parser.parse_args()
    chosen = [case for module in MODULES for case in module.cases()]
    if given.only:
        chosen = [c for c in chosen if all(w in f"{c.target}: {c.fault}" for w in given.only)]
    if not chosen:
        print(f"no fault has all of {given.only}", file=sys.stderr)
        return 2
    found: list[dict[str, Any]] = []
    for case in sorted(chosen, key=lambda case: KINDS.index(case.target)):
        begin = time.monotonic()
        came, why = caused(case)
        found.append(
            {
                "target": case.target,
                "fault": case.fault,
                "expected": case.expected,
                "seconds": round(time.monotonic() - begin, 1),
                **({"not_run": why} if came is None else vars(came)),
            }
        )
        line = "not run: " + why if came is None else "ok" if came.ok else f"WRONG: {came}"
        print(f"{case.target}: {case.fault}: {line}", file=sys.stderr, flush=True)
    print(
        table(
            ("target", "fault", "what came", "transient", "told after, s", "lost", ""),
            [row(each) for each in found],
        )
    )
    ran = [each for each in found if "ok" in each]
    right = sum(each["ok"] for each in ran)
    print(f"\n{right} of {len(ran)} as expected, {len(found) - len(ran)} not run")
    print(save("target_faults", {"right": right, "of": len(ran), "faults": found}))
    return 0 if right == len(ran) else 1


def caused(case: Case) -> tuple[Came | None, str]:
    """Cause a fault in a place of its own; return what came of it, or why it was not caused."""
    with tempfile.TemporaryDirectory(prefix="paretune-fault-") as name, ExitStack() as stack:
        try:
            return case.run(World(case.target, Path(name), stack)), ""
        except CannotRunError as error:
            return None, str(error)
        except Exception as error:  # the other faults are still caused
            return Came("the script failed", None, None, "", repr(error), False), ""


def row(each: dict[str, Any]) -> list[Any]:
    """Return the row of the table for a fault."""
    head = [each["target"], each["fault"]]
    if "ok" not in each:
        return [*head, f"not run: {each['not_run']}", None, None, None, ""]
    mark = "ok" if each["ok"] else "**wrong**"
    transient = {True: "yes", False: "no", None: ""}[each["transient"]]
    return [*head, each["what"], transient, each["told_s"], each["lost"], mark]


if __name__ == "__main__":
    sys.exit(main())
