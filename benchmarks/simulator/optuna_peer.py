"""Optuna's samplers over whole candidates, as its users write a study.

A number is an integer parameter over the positions of its values, in order; everything else is
categorical; what only some candidates have is suggested only there. The sampler
receives the relative violation of each constraint.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Mapping
from typing import Any

from simulator.alone import Runner
from simulator.problem import Problem

from paretune.core.candidate import Candidate
from paretune.search.strategies.proposing import Choice, choices, choices_of, propose

_REPEATS = 8
"""How often in a row a sampler may propose what was tried before; then it gets a new candidate."""
_SCANNED = 10_000


def search(
    problem: Problem,
    seed: int,
    *,
    sampler: str,
    asks: int,
    ordered: bool = True,
    limits: bool = True,
    **settings: Any,
) -> Runner:
    """Search with one of Optuna's samplers; returns what it has run.

    Args:
        problem: What is searched for.
        seed: Of the sampler and of the noise.
        sampler: ``tpe``, ``nsga2``, ``gp`` or ``random``.
        asks: Most candidates.
        ordered: Whether numbers are ordered parameters, or categories.
        limits: Whether the sampler receives by how much a limit is broken.
        settings: Of the sampler.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    start = time.process_time()
    kinds = {
        "tpe": optuna.samplers.TPESampler,
        "nsga2": optuna.samplers.NSGAIISampler,
        "gp": optuna.samplers.GPSampler,
        "random": optuna.samplers.RandomSampler,
    }
    study = optuna.create_study(
        directions=[o.direction for o in problem.objectives],
        sampler=kinds[sampler](seed=seed, **settings),
    )
    runner, repeats = Runner(problem, seed, asks), 0
    if problem.baseline is not None:
        runner.run(problem.baseline)
    draw = random.Random(seed)
    while not runner.done:
        if repeats > _REPEATS:
            unseen = _unseen(problem, runner, draw)
            if unseen is None:
                break
            study.enqueue_trial(_params(problem, unseen, ordered=ordered))
        trial = study.ask()
        candidate = _candidate(problem, trial, ordered=ordered)
        if problem.table.missing(candidate) is not None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            repeats += 1
            continue
        repeats = 0 if runner.known(candidate) is None else repeats + 1
        _tell(study, trial, problem, runner.run(candidate), limits=limits)
    runner.shared.cpu_s = runner.alone.cpu_s = time.process_time() - start
    return runner


def _candidate(problem: Problem, trial: Any, *, ordered: bool) -> Candidate:
    def choose(choice: Choice) -> int:
        count = len(choice.labels)
        if count == 1:
            return 0
        if ordered and choice.numbers is not None:
            position: int = trial.suggest_int(choice.name, 0, count - 1)
            return position
        return choice.labels.index(trial.suggest_categorical(choice.name, choice.labels))

    return propose(problem.space, choose)


def _params(problem: Problem, candidate: Candidate, *, ordered: bool) -> dict[str, Any]:
    """Return a candidate as a trial's parameters."""
    space = problem.space
    chosen, known = choices_of(space, candidate), choices(space)
    assert chosen is not None, "it is one of the space"
    return {
        name: position if ordered and known[name].numbers is not None else chosen.labels[name]
        for name, position in chosen.positions.items()
        if len(known[name].labels) > 1
    }


def _unseen(problem: Problem, runner: Runner, draw: random.Random) -> Candidate | None:
    """Return a recorded candidate that was not run, from a random place on; None: there is none."""
    space = problem.space
    start = draw.randrange(space.size)
    for offset in range(min(space.size, _SCANNED)):
        candidate = space.at((start + offset) % space.size)
        if runner.known(candidate) is None and problem.table.missing(candidate) is None:
            return candidate
    return None


def _tell(
    study: Any, trial: Any, problem: Problem, values: Mapping[str, float], *, limits: bool
) -> None:
    for limit in problem.limits if limits else ():
        trial.set_constraint(limit.text, limit.violation(values.get(limit.metric)))
    study.tell(trial, [values[o.metric] for o in problem.objectives])
