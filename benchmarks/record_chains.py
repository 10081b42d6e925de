"""Records the table `own` of search_power.py: python benchmarks/record_chains.py --part PART...

SmolLM2 learns phrase-tone in 12 trainings (`recording/plan.py`: half of the combinations of r,
learning rate, longest example and target modules), each with checkpoints at 12, 24 and 48 steps.
Of each, 12 builds are recorded. The passes, the checkpoints and the evaluator are the project's
own, and so is the order in which examples are taken: one pass over them tells the accuracy at any
number of examples.

Parts, in any order; each goes on where it was ended, and a kill loses the job at hand at most:

- ``trainings``, ``builds``: adapters, builds, sizes, structures, accuracies. They do not depend on
  what else runs. Several processes may work at once, each on one core (``--core``).
- ``timings``: seconds of trainings, merges and builds, of loading and judging, and speeds with 1
  and 2 threads (`recording/timings.py`). Nothing else may run meanwhile; ``--provisional`` marks
  figures that were taken otherwise, and they count only where there are no others.
- ``pairs``: `structure_pairs.py`, speeds of builds of equal structure. Nothing else may run.
- ``write``: from all this ``benchmarks/data/chains.jsonl.gz``. Its header says what is
  provisional.

What is recorded is kept in ``benchmarks/out/record_chains/log.jsonl``, to which lines are only
appended. Builds are removed once they are measured. ``--work`` names
another folder for the log.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from common import OUT, ROOT
from recording.plan import name_of
from recording.timings import Timings
from recording.work import Place, build_all, make_place, train
from recording.writing import lines, write
from simulator.recorded import read_table

from paretune.core.candidate import Candidate, recipe_from_json
from paretune.core.device import TargetInfo
from paretune.core.estimate import DataSize
from paretune.core.packages import RUNTIMES
from paretune.models.handle import inspect
from paretune.registry import find_pass
from paretune.search.prechecks import Prechecks
from paretune.targets.device.fingerprint import device
from paretune.targets.launchers.local import LocalTarget

WORK = OUT / "record_chains"
TABLE = ROOT / "benchmarks" / "data" / "chains.jsonl.gz"
PAIRS = OUT / "structure_pairs.json"
PARTS = ("trainings", "builds", "timings", "pairs", "write")


def estimates(place: Place) -> dict[str, float | None]:
    """Return what the last pass of each recorded recipe, and of what leads to it, says beforehand.

    Raises:
        SystemExit: A recipe would not have been tried by a search.
    """

    def size(ref: str) -> DataSize:
        examples = place.data.load(ref).examples
        return DataSize(len(examples), sum(len(e.prompt) + len(e.answer) for e in examples))

    look = Prechecks(inspect(place.base.path), TargetInfo("local"), find_pass, size=size).look
    found: dict[str, float | None] = {}
    for told in place.log.entries():
        if told["kind"] not in ("training", "build"):
            continue
        recipe = recipe_from_json(told["recipe"])
        foreseen = look(Candidate(recipe))
        if foreseen.reason is not None:
            raise SystemExit(f"{told['key']}: {foreseen.reason}")
        for count, estimate in enumerate(foreseen.estimates, start=1):
            found[name_of(recipe[:count])] = estimate.seconds
    return found


def write_table(place: Place, path: Path) -> None:
    """Write what is recorded, read it again, and print how much it is."""
    pairs = None
    if PAIRS.is_file():
        told: dict[str, Any] = json.loads(PAIRS.read_text(encoding="utf-8"))
        pairs = {name: told[name] for name in ("date", "threads", "summary", "pairs")}
    here = device("local", Path(".")).to_json()
    where = {name: here[name] for name in ("processor", "cores", "flags", "python", "packages")}
    write(path, lines(place.log, estimates(place), pairs, where))
    table = read_table(path)
    structures = Counter(table.structure(one.recipe) for one in table.distinct())
    print(f"{path}: {path.stat().st_size} bytes, {table.header['recorded']}")
    print(f"{sum(structures.values())} candidates of {len(structures)} structures")
    print(f"provisional: {', '.join(table.header['provisional']) or 'nothing'}")


def main() -> None:
    """Do the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=PARTS, required=True)
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no job after these")
    parser.add_argument("--core", type=int, help="use this core only")
    parser.add_argument("--first", type=int, help="work on the first trainings only")
    parser.add_argument("--rounds", type=int, default=6, help="processes of each speed")
    parser.add_argument("--provisional", action="store_true", help="other work runs meanwhile")
    parser.add_argument("--out", type=Path, default=TABLE, help="the table to write")
    parser.add_argument("--work", type=Path, default=WORK, help="where the log is kept")
    given = parser.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    os.environ["PYTHONPATH"] = str(ROOT / "benchmarks")  # of the jobs' processes
    deadline = time.monotonic() + 60 * given.minutes
    place = make_place(given.work)
    for part in given.part:
        if part == "write":
            write_table(place, given.out)
        elif part == "pairs":
            script = ROOT / "benchmarks" / "structure_pairs.py"
            subprocess.run([sys.executable, script], check=True)
        else:
            with LocalTarget(place.store.root) as target:
                target.preload(RUNTIMES)
                if part == "trainings":
                    train(place, target, deadline, given.first)
                elif part == "builds":
                    build_all(place, target, deadline, given.first)
                else:
                    quiet = not given.provisional
                    timed = Timings(place, target, deadline, quiet=quiet, rounds=given.rounds)
                    timed.run()


if __name__ == "__main__":
    main()
