"""Refuses evaluators that lack a package on another machine, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.core.code_files import code_beside
from paretune.core.errors import UsageError
from paretune.core.file_functions import located, names_function
from paretune.core.job import Call, JobStatus, Limits
from paretune.core.target import members_of
from paretune.preflight.asking import ask
from paretune.registry import evaluator_packages

if TYPE_CHECKING:
    from paretune.config import EvaluatorChoice
    from paretune.core.target import Target

_LIMITS = Limits(seconds=300.0)


def check_far_evaluators(choices: Iterable[EvaluatorChoice], root: Path, target: Target) -> None:
    """Check that each machine that measures has the packages of the evaluators.

    Those that a function of the user's imports belong to its evaluator.

    Args:
        choices: The evaluators.
        root: Where relative paths in their parameters start.
        target: Measures with another interpreter.

    Raises:
        TargetLostError: It was lost meanwhile, and stays away.
        UsageError: One lacks a package.
    """
    needed = {choice.name: _packages(choice, root) for choice in choices}
    wanted = sorted(set().union(*needed.values()))
    for member in members_of(target) if wanted else ():
        result = ask(member, Call("paretune.core.packages:missing", {"names": wanted}), _LIMITS)
        where = member.info().name
        if result.status is not JobStatus.OK or not isinstance(result.value, list):
            raise UsageError(
                f"{where!r} does not say which packages it has; the job {result.status}: "
                f"{result.reason}",
                hint="`paretune doctor --target NAME` checks what a worker needs there.",
            )
        for name, packages in needed.items():
            absent = sorted(packages.intersection(result.value))
            if absent:
                raise UsageError(
                    f"the evaluator {name} needs {', '.join(absent)}, not installed where "
                    f"{where!r} runs",
                    hint=f"Install it there: `paretune target add HOST --evaluator {name}` does "
                    "it on a machine behind ssh.",
                )


def _packages(choice: EvaluatorChoice, root: Path) -> set[str]:
    found = {*evaluator_packages(choice.name)}
    for value in choice.params.values():
        if isinstance(value, str) and names_function(value):
            file, _ = located(value, root, choice.name)
            found |= code_beside(file).installed.keys()
    return found
