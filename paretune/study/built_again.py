"""The pick's artifact, built once more where the store does not have it any more."""

from __future__ import annotations

from collections.abc import Callable

from paretune.core.errors import StateError
from paretune.core.job import JobStatus
from paretune.core.result import TrialResult
from paretune.core.target import Target
from paretune.search.jobs import JobFactory
from paretune.store.artifacts import Store


def build_again(
    pick: TrialResult,
    store: Store,
    target: Target,
    job_factory: JobFactory,
    note: Callable[[str], None],
) -> None:
    """Build a candidate again if its artifact was cleaned, damaged or left behind.

    Args:
        pick: The candidate's outcome.
        store: Where its artifact should lie.
        target: What builds it.
        job_factory: Makes the job.
        note: Receives a message that it is built again.

    Raises:
        StateError: It cannot be built, or the build is not the model that was measured.
        KeyboardInterrupt: The job was cancelled.
    """
    name = pick.artifact
    if not pick.candidate.recipe or name is None or store.is_intact(name):
        return
    gone = f"candidate {pick.id}, the pick, is not in the store {str(store.root)!r} any more"
    note(f"{gone}: it is built again")
    result = target.submit(job_factory.build(pick.candidate)).result()
    if result.status is JobStatus.CANCELLED:
        raise KeyboardInterrupt
    problem = None
    if result.status is not JobStatus.OK:
        problem = f"cannot be built again: {result.reason}"
    elif result.value.model.digest != name:
        problem = "what its recipe builds now is not what was measured"
    if problem is not None:
        raise StateError(
            f"{gone}, and {problem}",
            hint="Put the store back (--store DIR), or start a new search with --study DIR.",
        )
