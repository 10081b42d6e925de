"""The pick's recipe is repeated with other training seeds, after the pick is decided.

What a training reaches depends on its seed, and the pick may be a lucky one. `repeat_pick: N` shows
by how much: N more builds of the recipe with the next seeds, measured by the evaluators whose
metrics depend on the weights. A repeat is not a candidate: it is kept beside the pick, and nothing
is chosen by it. If a continued search picks another one, that one is repeated, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from paretune.core.candidate import Candidate
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.forecast import built_seconds
from paretune.search.jobs import EvaluatorSlot, Reseeds, resumed_share
from paretune.search.outcomes import with_id
from paretune.search.run import OutOfTimeError, SearchRun
from paretune.search.sharing import Sharing
from paretune.search.trial import TrialRunner
from paretune.search.trial_state import Trial

_MOST_KEPT = 0.5
"""Largest share of a study's time that is kept for the repeats."""
_MORE_TIME = "the same command with a larger --time makes it"


class RepeatedPick:
    """Builds and measures the pick again with other seeds, as far as that was not done before.

    Args:
        search: The search, which has ended.

    Attributes:
        reason: Why fewer repeats were made than asked for; None: all were made, or there is no
            pick.
    """

    def __init__(self, search: SearchRun) -> None:
        self._search = search
        self.reason: str | None = None

    def run(self) -> None:
        """Make what is missing; each repeat is durable before the next one begins.

        Raises:
            KeyboardInterrupt: As it came; what was in flight is unrecorded.
        """
        search, factory = self._search, self._search.job_factory
        pick = with_id(search.recorder.outcomes, search.summary().best)
        if not search.repeat_pick or pick is None:
            return
        if not isinstance(factory, Reseeds) or not factory.seeds(pick.candidate):
            self._lacks(
                f"nothing is repeated: no pass of the pick (candidate {pick.id}) trains with a seed"
            )
            return
        known = {repeat.candidate.digest for repeat in search.recorder.repeats_of(pick)}
        for number in range(1, search.repeat_pick + 1):
            candidate = factory.reseeded(pick.candidate, number)
            if candidate.digest in known:
                continue
            seeds = factory.seeds(candidate)
            told = f"training seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
            left, needed = search.left(), self._seconds(pick, candidate)
            if left is not None and (left <= 0 or left < needed):
                self._lacks(
                    f"the pick (candidate {pick.id}) was not repeated with {told}: that takes "
                    f"about {needed:.0f} s, and {left:.0f} s are left; {_MORE_TIME}"
                )
                return
            search.watcher.note(
                f"the pick (candidate {pick.id}) is repeated with {told} "
                f"({number} of {search.repeat_pick})"
            )
            search.watcher.candidate(pick.id, candidate)
            if not self._repeat(pick, candidate, told):
                return

    def _repeat(self, pick: TrialResult, candidate: Candidate, told: str) -> bool:
        """Make one repeat; returns whether there is time for another one."""
        search, begun = self._search, self._search.clock()
        try:
            found = self._measured(pick, candidate)
        except OutOfTimeError:
            search.target.cancel()
            search.recorder.waste(search.clock() - begun)
            self._lacks(
                f"the time ran out while the pick (candidate {pick.id}) was repeated with {told}; "
                f"{_MORE_TIME}"
            )
            return False
        except BaseException:
            search.target.cancel()
            raise
        spent = search.clock() - begun
        if found.transient:
            search.recorder.waste(spent)
            self._lacks(
                f"the pick (candidate {pick.id}) could not be repeated with {told}: "
                f"{found.kind.value}: {found.reason}"
            )
            return True
        search.recorder.add_repeat(pick, replace(found, wall_s=spent))
        search.on_update(search.summary())
        return True

    def _measured(self, pick: TrialResult, candidate: Candidate) -> TrialResult:
        search = self._search
        log = search.recorder.begin(pick.id, pick.candidate) / "worker.log"
        runner = TrialRunner(search, Trial(pick.id, candidate), log=log)
        found = runner.measure_itself(measured_again(search, pick))
        if found.kind is not OutcomeKind.OK:
            return found
        speeds = {s.name for slot in search.evaluators for s in slot.metrics if s.device}
        own = {name: m for name, m in (found.measurements or {}).items() if name not in speeds}
        return replace(found, measurements={**own, **self._not_measured(pick, found, own)})

    def _not_measured(
        self, pick: TrialResult, found: TrialResult, own: Mapping[str, Measurement]
    ) -> dict[str, Measurement]:
        """Return the pick's other metrics: taken over where the structure is the same."""
        search, measured = self._search, pick.measurements or {}
        specs = {spec.name: spec for slot in search.evaluators for spec in slot.metrics}
        others = [name for name in measured if name in specs and name not in own]
        same = found.structure is not None and found.structure == pick.structure
        shared = [n for n in others if same and specs[n].device and not specs[n].weights]
        taken = Sharing(search, pick.id, found.candidate).taken_from(pick, shared)
        why = "it was not measured again, and its structure is not known to be the pick's"
        if same:
            why = "it depends on the weights as well, and speeds are not measured again"
        for name in others:
            m = measured[name]
            if same and not specs[name].device:  # an exact one, such as the size
                taken[name] = replace(m, samples=()).noting(taken_from=pick.id)
            elif name not in taken:
                taken[name] = Measurement(name, None, m.unit, reason=why)
        return taken

    def _seconds(self, pick: TrialResult, candidate: Candidate) -> float:
        """Return about how long a repeat takes, without what the store has of it already."""
        factory = self._search.job_factory
        steps = _build_seconds(pick)
        built = factory.built_steps(candidate)
        if built < len(steps):
            steps[built] *= 1 - resumed_share(factory, candidate)
        return sum(steps[built:]) + _measuring_s(self._search, pick)

    def _lacks(self, reason: str) -> None:
        self.reason = reason
        self._search.watcher.note(f"note: {reason}")


def measured_again(search: SearchRun, pick: TrialResult) -> list[EvaluatorSlot]:
    """Return the evaluators that measure what another training changes, apart from speeds.

    Args:
        search: The search.
        pick: What is repeated.
    """
    measured = pick.measurements or {}

    def changes(name: str) -> bool:
        return name in measured and not measured[name].protocol.startswith("exact")

    return [
        slot
        for slot in search.evaluators
        if any(not spec.device and changes(spec.name) for spec in slot.metrics)
    ]


def kept_for_repeats(search: SearchRun) -> float:
    """Return the seconds to keep for the repeats of the pick as things stand.

    Each takes as long as the pick, at most half of the study's time together. 0: nothing is to be
    repeated, or there is no limit of time.
    """
    factory = search.job_factory
    if not search.repeat_pick or search.time_s is None or not isinstance(factory, Reseeds):
        return 0.0
    pick = with_id(search.recorder.outcomes, search.summary().best)
    if pick is None or not factory.seeds(pick.candidate):
        return 0.0
    missing = search.repeat_pick - len(search.recorder.repeats_of(pick))
    each = sum(_build_seconds(pick)) + _measuring_s(search, pick)
    return min(max(0, missing) * each, _MOST_KEPT * search.time_s)


def _build_seconds(pick: TrialResult) -> list[float]:
    """Return what each step of the pick's recipe takes from its beginning."""
    steps = built_seconds(pick)
    return [step.s / (1 - step.resumed) if step.resumed < 1 else step.s for step in steps]


def _measuring_s(search: SearchRun, pick: TrialResult) -> float:
    """Return the seconds of the evaluators that measure a repeat.

    The pick may have taken a measurement over from the same build with other threads: then what
    the slowest candidate took counts.
    """
    total = 0.0
    for slot in measured_again(search, pick):
        own = _slot_s(slot, pick)
        others = search.recorder.outcomes if not own else ()
        total += own or max((_slot_s(slot, outcome) for outcome in others), default=0.0)
    return total


def _slot_s(slot: EvaluatorSlot, outcome: TrialResult) -> float:
    return sum(step.s for step in outcome.seconds if step.step.partition(":")[0] == slot.name)
