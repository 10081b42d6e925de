"""Does a measurement over ssh agree with a local one? python benchmarks/ssh_agreement.py.

SmolLM2 in 4 bits generates in a new process each time, with the same workload and threads: started
by this process, by this process once more, and by the agent behind an sshd of this script's own on
loopback, which is this same machine. Each round runs all three in random order, one at a time. The
second local process is the control: its ratios show what two equal processes differ by.

The noise floor is that of `paretune bench` (two processes of equal work lie within it 95 times of
100), of the local processes of this run. The bound is that floor, and 10 % where the floor is
larger, as a disturbed machine would call anything equal. A metric **agrees** if the whole 95 %
interval of the median ratio ssh / local is within the bound, **differs** if the whole interval is
beyond it; else more rounds are needed. The exit status is 1 unless both metrics agree, and the
control does, too.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from common import ROOT, save, table
from verdicts import build

from paretune.bench.profile import noise_floor
from paretune.comparing.runner import ComparedModels, medians
from paretune.comparing.subjects import open_entrants
from paretune.comparing.workloads import Workload
from paretune.core.interference import watching
from paretune.core.packages import RUNTIMES
from paretune.core.resources import physical_cores
from paretune.stats.sequential import MedianSequence
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.launchers.ssh import SshTarget

sys.path.insert(0, str(ROOT))

from tests.targets.sshd import start

_HOST = "board"
_ALPHA = 0.05
_MAX_BOUND = math.log1p(0.10)
"""A noise floor beyond this is that of a disturbed machine, on which everything would agree."""
LOCAL, CONTROL, SSH = "local", "local again", "ssh"

Round = Mapping[str, Mapping[str, float]]
"""How a process was started to metric to the process's median."""


@dataclass(frozen=True)
class Agreement:
    """How far two ways to measure agree.

    Attributes:
        ratio: Median of the ratios of a round.
        low: Of its 95 % interval.
        high: The same.
        floor: The noise floor: a share.
        verdict: ``agrees``, ``differs`` or ``not known``.
    """

    ratio: float
    low: float
    high: float
    floor: float
    verdict: str


def agreement(rounds: Sequence[Round], metric: str, way: str) -> Agreement:
    """Compare a way to measure with the local one.

    Args:
        rounds: What was measured.
        metric: Of which metric.
        way: Which way.
    """
    sequence = MedianSequence(_ALPHA)
    for each in rounds:
        sequence.add(math.log(each[way][metric] / each[LOCAL][metric]))
    floor = noise_floor([each[name][metric] for name in (LOCAL, CONTROL) for each in rounds])
    bound = min(floor, _MAX_BOUND)
    verdict = "not known"
    if -bound <= sequence.low and sequence.high <= bound:
        verdict = "agrees"
    elif sequence.low > bound or sequence.high < -bound:
        verdict = "differs"
    low, high = math.exp(sequence.low), math.exp(sequence.high)
    return Agreement(math.exp(sequence.median or 0.0), low, high, math.expm1(floor), verdict)


def main() -> int:
    """Measure, print a table, save the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0, help="of sampling in each process")
    parser.add_argument("--packages", type=Path, help="where the package is, or is built")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="paretune-agreement-") as name:
        place = Path(name)
        package = build(given.packages or place / "packages", ["int4"])["int4"]
        sshd = start(place / "sshd")
        os.environ["PATH"] = f"{sshd.client}:{os.environ['PATH']}"
        try:
            with watching() as watch:
                rounds = measured(place, package, given.rounds, given.seconds)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):  # a connection that ends meanwhile
                sshd.stop()
            sshd.process.kill()
    rows: list[list[Any]] = []
    found: dict[str, dict[str, Any]] = {}
    for metric in Workload.metrics:
        for way in (SSH, CONTROL):
            value = agreement(rounds, metric, way)
            found.setdefault(metric, {})[way] = vars(value)
            interval = f"{value.low:.4f} to {value.high:.4f}"
            middle = [statistics.median(each[w][metric] for each in rounds) for w in (way, LOCAL)]
            floor = f"{value.floor:.1%}"
            rows.append([metric, way, *middle, value.ratio, interval, floor, value.verdict])
    print(
        table(("metric", "way", "ms", "local, ms", "ratio", "95 %", "noise floor", "verdict"), rows)
    )
    ok = all(each["verdict"] == "agrees" for ways in found.values() for each in ways.values())
    print(f"\n{len(rounds)} rounds; {watch.seen}")
    print(
        "a measurement over ssh agrees with a local one within the noise floor"
        if ok
        else "**it was not shown** that a measurement over ssh agrees with a local one"
    )
    content = {"ok": ok, "metrics": found, "rounds": rounds, "interference": vars(watch.seen)}
    print(save("ssh_agreement", content))
    return 0 if ok else 1


def measured(place: Path, package: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Return each round's medians."""
    order, found = random.Random(0), list[dict[str, Any]]()
    with ExitStack() as stack:
        near = stack.enter_context(LocalTarget(place / "near"))
        far = stack.enter_context(
            SshTarget(
                place / "near",
                name=_HOST,
                host=_HOST,
                python=sys.executable,
                store=str(place / "far"),
            )
        )
        for target in (near, far):
            target.preload(RUNTIMES)
        subject = open_entrants([package, package], near.info(), threads=physical_cores())[0]
        workload = Workload(block_s=seconds)
        here, there = (
            stack.enter_context(ComparedModels([subject], target, workload))
            for target in (near, far)
        )
        ways = {LOCAL: here, CONTROL: here, SSH: there}
        for number in range(rounds):
            values = {}
            for way in order.sample(list(ways), len(ways)):
                values[way] = {
                    metric: statistics.median(blocks)
                    for metric, blocks in medians(ways[way].block(subject)).items()
                }
            found.append(values)
            if (number + 1) % 10 == 0:
                print(f"{number + 1} of {rounds} rounds", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
