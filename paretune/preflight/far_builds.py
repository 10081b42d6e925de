"""Refuses builds on another machine that would not be the builds of this one, before anything runs.

A step is stored under a key that both machines must compute alike (`docs/targets.md`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from paretune.core.errors import UsageError
from paretune.core.job import Call, JobStatus, Limits
from paretune.plugin_identity import data_read_by, files_named
from paretune.preflight.asking import ask
from paretune.registry import find_pass
from paretune.study.identity import steps_of
from paretune.targets.worker.pass_identities import pass_identities

if TYPE_CHECKING:
    from paretune.config import Plan
    from paretune.core.candidate import Candidate
    from paretune.core.target import Target
    from paretune.data.catalog import DataCatalog

_LIMITS = Limits(seconds=300.0)
_SHOWN = 80
_LOCAL = "Build here: `target: {build: local, ...}`."


def check_far_builds(
    plan: Plan, candidates: Iterable[Candidate], builder: Target, catalog: DataCatalog
) -> None:
    """Check that another machine builds what this one would.

    Args:
        plan: A checked configuration.
        candidates: Those beside the space.
        builder: Builds elsewhere.
        catalog: The plan's data sets.

    Raises:
        UsageError: A pass is another one there, or reads what does not travel.
    """
    steps = tuple(steps_of(plan.space, candidates))
    name = builder.info().name
    for step in steps:
        for file in files_named(find_pass(step.name).Params, step.params, plan.root):
            raise UsageError(
                f"pass {step.name}: its file {file.name!r} lies on this machine, and {name!r} "
                "builds",
                hint=f"Files that parameters name do not travel. {_LOCAL}",
            )
        for ref in data_read_by(step):
            travels = catalog.is_arrays(ref) or catalog.files(ref)
            if not travels and catalog.far(ref) is None:
                raise UsageError(
                    f"pass {step.name}: the data set {ref!r} is not a file of this machine, and "
                    f"{name!r} builds",
                    hint=f"Data sets of the hub do not travel. {_LOCAL}",
                )
    found = differences(builder, sorted({step.name for step in steps}))
    if found:
        raise UsageError(
            f"{name!r} cannot build for this machine: {'; '.join(found)}",
            hint="Install the same versions on both, so that an artifact is the same wherever it "
            "is built. Or build here: `target: {build: local, ...}`.",
        )


def differences(builder: Target, names: Sequence[str]) -> list[str]:
    """Return what differs between a builder's passes and those of this interpreter, as text.

    Args:
        builder: Where a job is run that says what there is.
        names: The passes.

    Raises:
        TargetLostError: It was lost meanwhile, and stays away.
        UsageError: The job failed there.
    """
    call = Call("paretune.targets.worker.pass_identities:pass_identities", {"names": list(names)})
    result = ask(builder, call, _LIMITS)
    if result.status is not JobStatus.OK:
        raise UsageError(
            f"{builder.info().name!r} does not say which passes it has; the job {result.status}: "
            f"{result.reason}",
            hint=f"`paretune doctor --target NAME` checks what a worker needs there. {_LOCAL}",
        )
    here, there = pass_identities(names), result.value
    found = []
    for name in names:
        theirs = there.get(name) if isinstance(there, dict) else None
        for key in dict.fromkeys((*here[name], *(theirs if isinstance(theirs, dict) else ()))):
            other = theirs.get(key) if isinstance(theirs, dict) else None
            if other != here[name].get(key):
                found.append(
                    f"{name}: {key} is {_short(other)} there, {_short(here[name].get(key))} here"
                )
    return found


def _short(value: object) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
