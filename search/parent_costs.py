"""Whether measuring a parent pays: what it costs against what a stop would save.

The rule: a parent is measured (its rough rung, or more of its examples) if the expected saving of
this measurement is larger than its cost.

- **Cost**: the seconds of earlier measurements of parents in this study. Before any: twice what
  the same rung and the loading took of the baseline, as PyTorch runs in full precision.
- **Saving**: the number of builds of this parent that may still be tried, times the seconds that
  each takes before its own rough accuracy could stop it (the median of the study's candidates:
  their builds without the training, loading, rough rungs), times the chance that the parent is
  hopeless: by Laplace's rule (1 + those that were) / (2 + those that were measured).
- The builds that may still be tried are those of the space from this parent that have no outcome,
  not more than the trials and the time that are left allow.

So a parent with one build that is cheaper than that is not measured, nor one that is built
already, and after many good parents the measurements become rarer.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from paretune.core.candidate import Candidate, Step
from paretune.core.measurement import Rung
from paretune.core.parent import STEP
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.jobs import EvaluatorSlot
from paretune.search.space import Space
from paretune.search.stages import slots_of

SLOWER = 2.0
"""How much longer a parent takes in PyTorch than the baseline took, before one was measured."""
_NOT_SAVED = frozenset({STEP, "finals", "confirm"})
_LATE = frozenset({Rung.FULL.value, "part"})


def measuring_s(
    slot: EvaluatorSlot, outcomes: Sequence[TrialResult], baseline: TrialResult
) -> float:
    """Return what the first measurement of a parent is expected to take, in seconds."""
    seen = [s.s for o in outcomes if o.parent is not None for s in o.seconds if s.step == STEP]
    if seen:
        return statistics.median(seen)
    names = {"smoke", f"{slot.name}:{slot.rungs[0].value}"}
    return SLOWER * sum(s.s for s in baseline.seconds if s.step in names)


def saving_s(
    candidate: Candidate,
    parent: Sequence[Step],
    space: Space,
    outcomes: Sequence[TrialResult],
    *,
    trials_left: int | None,
    left_s: float | None,
) -> float:
    """Return the expected saving of measuring a parent, in seconds.

    Args:
        candidate: Whose parent it is.
        parent: The parent's recipe.
        space: What may be tried.
        outcomes: Of the study.
        trials_left: Trials that may still begin, this one included; None: no limit.
        left_s: Seconds left to search in; None: no limit.
    """
    each = _build_s(parent, outcomes)
    own = tuple(parent)
    tried = sum(
        o.candidate.recipe[: len(own)] == own and o.candidate.digest != candidate.digest
        for o in outcomes
    )
    builds: float = max(1, builds_of(own, space) - tried)
    if trials_left is not None:
        builds = min(builds, trials_left)
    if left_s is not None and each > 0:
        builds = min(builds, left_s / each)
    return _chance(outcomes) * builds * each


def builds_of(parent: Sequence[Step], space: Space) -> int:
    """Return about how many candidates of a space are built from a parent."""
    names = {step.name for step in parent}
    sizes = [stage.size for stage in space.stages]
    whole = math.prod(sizes)
    last = max(
        (i for i, stage in enumerate(space.stages) if names & {s.name for s in slots_of(stage)}),
        default=-1,
    )
    return max(1, space.size * math.prod(sizes[last + 1 :]) // whole) if whole else 1


def _build_s(parent: Sequence[Step], outcomes: Sequence[TrialResult]) -> float:
    """Return what one build takes before its own accuracy could stop it, in seconds."""
    names = {step.name for step in parent} | _NOT_SAVED
    took = [
        sum(
            s.s
            for s in o.seconds
            if not s.cached and s.step not in names and s.step.rpartition(":")[2] not in _LATE
        )
        for o in outcomes
        if o.artifact is not None and o.kind is not OutcomeKind.DUPLICATE
    ]
    return statistics.median(took) if took else 0.0


def _chance(outcomes: Sequence[TrialResult]) -> float:
    """Return the probability that a parent is hopeless, by Laplace's rule of succession."""
    parents = {o.parent.artifact: o.stopped_by_parent for o in outcomes if o.parent is not None}
    return (1 + sum(parents.values())) / (2 + len(parents))
