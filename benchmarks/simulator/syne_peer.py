"""Syne Tune's MOASHA and EHVI, in a Python of their own (`syne_worker.py` runs there).

The worker suggests a configuration and receives its values, a JSON line each. What one trains
further is the rung of MOASHA: it says after each rung whether the trial goes on.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulator.alone import Runner
from simulator.problem import Problem

from paretune.search.strategies.proposing import candidate_of, choices

_WORKER = Path(__file__).with_name("syne_worker.py")
_REPEATS = 50


def available(python: str | None) -> bool:
    """Return whether a Python has Syne Tune and BoTorch."""
    if python is None:
        return False
    asked = [python, "-c", "import syne_tune.optimizer.baselines, botorch"]
    try:
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


class _Worker:
    def __init__(self, python: str, told: Mapping[str, Any]) -> None:
        self._process = subprocess.Popen(
            [python, str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.say(told)

    def say(self, message: Mapping[str, Any]) -> Any:
        """Send a message; returns the answer.

        Raises:
            RuntimeError: The worker ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{_WORKER.name} ended: {self._process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def search(
    problem: Problem, seed: int, *, python: str, scheduler: str, asks: int, **settings: Any
) -> Runner:
    """Search with one of Syne Tune's schedulers; returns what it has run.

    Args:
        problem: What is searched for.
        seed: Of the scheduler and of the noise.
        python: Has Syne Tune.
        scheduler: ``moasha`` or ``ehvi``.
        asks: Most candidates.
        settings: Of the scheduler.
    """
    space, table = problem.space, problem.table
    rungs = {f"{way}.{param}" for way, param in table.continued.items()}
    known = choices(space)
    rung = next((n for n in known if n.split(".", 1)[1] in rungs), None)
    if scheduler != "moasha":
        rung = None
    rungs_count = 1 if rung is None else len(known[rung].labels)
    told = {
        "scheduler": scheduler,
        "seed": seed,
        "settings": settings,
        "metrics": [o.metric for o in problem.objectives],
        "rungs": rungs_count,
        "choices": {
            name: {"labels": list(choice.labels), "ordered": choice.numbers is not None}
            for name, choice in known.items()
            if name != rung and len(choice.labels) > 1
        },
    }
    runner, repeats, worker = Runner(problem, seed, asks), 0, _Worker(python, told)
    if problem.baseline is not None:
        runner.run(problem.baseline)
    try:
        while not runner.done and repeats < _REPEATS:
            positions = worker.say({"do": "suggest"})
            for _ in range(_REPEATS):  # it repeats itself: a random candidate instead
                first = candidate_of(space, positions)
                if runner.known(first) is None and table.missing(first) is None:
                    break
                positions = worker.say({"do": "instead"})
            new = False
            for number in range(rungs_count):
                chosen = positions if rung is None else {**positions, rung: number}
                candidate = candidate_of(space, chosen)
                if table.missing(candidate) is not None:
                    break
                new |= runner.known(candidate) is None
                values = runner.run(candidate, goes_on=number > 0)
                report = {"do": "report", "rung": number + 1, "values": _scaled(problem, values)}
                if not worker.say(report) or runner.done:
                    break
            worker.say({"do": "end"})
            repeats = 0 if new else repeats + 1
        cpu = worker.say({"do": "cpu"})
    finally:
        worker.close()
    runner.shared.cpu_s = runner.alone.cpu_s = cpu
    return runner


def _scaled(problem: Problem, values: Mapping[str, float]) -> list[float]:
    """Return the objectives for Syne Tune, which minimizes.

    Its EHVI has a fixed reference point, at -2 of each metric. So the problem's reference point is
    put there, with a scale on which the range of the exhaustive front is 1. It has no constraints:
    what breaks a limit is moved beyond the reference point, by how much it breaks it.
    """
    reference, best = problem.loss(problem.reference), problem.ideal
    broken = sum(limit.violation(values.get(limit.metric)) for limit in problem.limits)
    return [
        (value - worst) / (worst - good) - 2.0 + (0.0 if not broken else 1.0 + broken)
        for value, worst, good in zip(problem.loss(values), reference, best, strict=True)
    ]
