"""The finalists are measured again, interleaved, until it is known which one is better.

A search measures each candidate in its own minute. The candidates that the pick is between, those
that another measurement of a speed could make feasible, and the baseline then run in rounds: each
once per round, in a new process, interleaved in short blocks, so that disturbances of the machine
affect all of them equally. All run in the first round, and then those on whom the decision depends
(`search/confirm/allocation.py`). Rounds continue until each finalist is distinguished from the
pick, or found the same, on every speed that counts, and every speed is decided to be on one side of
its limit, or until the time for it is used up.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from paretune.core.job import JobStatus
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.borderline import reaches_over, side_of
from paretune.search.confirm.allocation import Challenger, chosen, open_challengers
from paretune.search.confirm.closeness import likeliest_first, nearest_to_limits
from paretune.search.confirm.levels import levels_of
from paretune.search.confirm.rounds import BLOCK_S, InterleavedRounds, Subject
from paretune.search.constraints import Limit
from paretune.search.pareto import surely_dominated
from paretune.search.run import OutOfTimeError, SearchRun
from paretune.search.summary import StudySummary, rests_on_others
from paretune.stats.paired import (
    in_rounds,
    limit_alpha,
    pair_alpha,
    rounds_of,
)
from paretune.stats.pooling import last_round, pool, round_count
from paretune.stats.sequential import least_rounds

_MAX_FINALISTS = 6
MIN_USEFUL_S = 5.0
"""Less time than this is not worth beginning with."""


class TopK:
    """The last part of a search.

    Args:
        engine: The search.
        seconds: How long it may take; None: the search's own `finals_s`.
    """

    def __init__(self, engine: SearchRun, seconds: float | None = None) -> None:
        self._engine = engine
        self._seconds = seconds
        self._slots = [slot for slot in engine.evaluators if slot.on_device and slot.processes > 1]
        specs = {spec.name: spec for slot in self._slots for spec in slot.metrics}
        self._speeds = specs.keys()
        self._objectives = [o for o in engine.objectives if o.metric in specs]
        self._asked: list[tuple[int, str]] = []
        self._begun = self._engine.clock()
        self._order = random.Random(0)
        self._number = 0

    def run(self) -> None:
        """Measure on; each round is durable before the next begins.

        Raises:
            KeyboardInterrupt: As it came; the round in flight is unrecorded.
        """
        ids = self.finalists()
        self._asked = self._near_limits(ids)
        seconds = self._engine.finals_s if self._seconds is None else self._seconds
        end = self._engine.clock() + seconds
        left = self._engine.left()
        if left is not None:
            end = min(end, self._engine.clock() + left)
        if self.decided(ids):
            return
        if end - self._engine.clock() < MIN_USEFUL_S:
            self._engine.watcher.note(
                f"the finalists are not measured again: no time is left for candidates "
                f"{', '.join(map(str, ids))}; the same command with a larger --time does"
            )
            return
        ids = self._affordable(ids, end - self._engine.clock())
        if not ids:
            return
        self._engine.watcher.note(
            f"the finalists are measured again, interleaved: candidates {', '.join(map(str, ids))}"
        )
        try:
            with ExitStack() as stack:
                found = [self._finalist(id, stack) for id in ids]
                ready = [finalist for finalist in found if finalist is not None]
                if len(ready) == len(ids):
                    self._rounds(ready, end)
        except OutOfTimeError:  # the round in flight is unrecorded
            self._engine.target.cancel()
            self._engine.recorder.waste(self._engine.clock() - self._begun)

    def needed_s(self) -> float | None:
        """Return the seconds that an answer about the first two finalists takes; None: none asked.

        The baseline is measured with them, unless it can be left out. What is near a limit alone
        needs the time of one.
        """
        ids = self.finalists()
        self._asked = self._near_limits(ids)
        if self.decided(ids):
            return None
        base = self._base(ids)
        others = [id for id in ids if id not in base][:2]
        first = others if len(others) > 1 and self._spared(base, others) else [*others, *base]
        questions = [self._alpha(first)] if len(first) > 1 and self._objectives else []
        if any(id in first for id, _ in self._asked):
            questions.append(self._limit_alpha(first))
        if not questions:
            return None
        return least_rounds(min(questions)) * sum(map(self._block_s, first))

    def _rounds(self, finalists: Sequence[Subject], end: float) -> None:
        """Measure round after round; after the first one it is known what a round takes."""
        ids, first = [finalist.id for finalist in finalists], True
        # A number is given to one round only, whoever was measured in it, now or before.
        self._number = max(last_round(o.measurements or {}) for o in self._engine.recorder.outcomes)
        while ids and self._engine.clock() < end and not self.decided(ids):
            start = self._engine.clock()
            some = ids if first else self.members(ids)
            if not self._round([finalist for finalist in finalists if finalist.id in some]):
                return
            if first:
                now = self._engine.clock()
                pace = (now - start) / sum(map(self._block_s, ids))
                self._keep_answerable(ids)
                ids, first = self._affordable(ids, end - now, pace), False

    def _keep_answerable(self, ids: Sequence[int]) -> None:
        """Forget the questions about metrics that a short process does not yield."""
        yielded = {
            metric
            for metric in self._speeds
            if all(rounds_of(self._outcome(id).measurements or {}, metric) for id in ids)
        }
        limits = self._limits()
        asked = {o.metric for o in self._objectives}
        asked |= {limits[text].metric for _, text in self._asked}
        lost = sorted(asked - yielded)
        if lost:
            self._engine.watcher.note(
                f"{', '.join(lost)} cannot be measured in short interleaved blocks; the finalists "
                "keep the intervals of the search"
            )
        self._objectives = [o for o in self._objectives if o.metric in yielded]
        self._asked = [(id, text) for id, text in self._asked if limits[text].metric in yielded]

    def finalists(self) -> list[int]:
        """Return the front, what may be on it for all one knows, and the baseline."""
        engine = self._engine
        summary = engine.summary()
        outcomes = {o.id: o for o in engine.recorder.outcomes if o.kind is OutcomeKind.OK}
        front = {id: outcomes[id].measurements or {} for id in summary.front}
        decisive = {*(o.metric for o in engine.objectives), *(x.metric for x in summary.limits)}
        near = [
            id
            for id in sorted((summary.feasible | self._may_be_feasible(summary)) - set(front))
            if surely_dominated(outcomes[id].measurements or {}, front, engine.objectives) is None
            and not rests_on_others(outcomes[id], decisive)
        ]
        measured = {id: o.measurements or {} for id, o in outcomes.items()}
        base = [o.id for o in outcomes.values() if o.candidate.digest == engine.baseline]
        some = {*summary.front, *near}
        pick = summary.best
        if pick is None:
            pick = nearest_to_limits(some, measured, summary.limits)
        chosen = [] if pick is None else likeliest_first(pick, some, measured, engine.objectives)
        chosen = chosen[:_MAX_FINALISTS]
        return list(dict.fromkeys((*chosen, *base))) if len(chosen) > 1 else chosen

    def _affordable(self, ids: Sequence[int], seconds: float, pace: float = 1.0) -> list[int]:
        """Return as many of them as there can be an answer about.

        Fewer rounds than `least_rounds` decide nothing, however far apart two are. A baseline that
        is dominated, and that no speed's limit is relative to, is the first to be left out.

        Args:
            ids: Who may take part.
            seconds: For all rounds together.
            pace: What a round takes, over what was expected of it.
        """
        base = self._base(ids)
        others = [id for id in ids if id not in base]
        spared = base if self._spared(base, others) else []
        some: list[int] = []
        for count in range(len(others), -1, -1):
            ways = [[*others[:count], *base], *([others[:count]] if spared else [])]
            some = next((way for way in ways if self._enough(way, seconds / pace)), [])
            if some:
                break
        self._asked = [(id, text) for id, text in self._asked if id in some]
        if not some or set(ids) - set(some) - set(spared):
            who = f"only {len(some)} of them" if some else "none of them"
            what = "can be distinguished" if len(ids) > 1 else "is known to meet its limit"
            self._engine.watcher.note(
                f"{len(ids)} candidates may be the best; {who} {what} "
                f"in {seconds:.0f} s; `search: {{finals: 5m}}` gives this more time"
            )
        return some

    def _enough(self, ids: Sequence[int], seconds: float) -> bool:
        """Return whether so many seconds suffice for any answer about them."""
        asked = any(id in ids for id, _ in self._asked)
        questions = ([self._alpha(ids)] if len(ids) > 1 and self._objectives else []) + (
            [self._limit_alpha(ids)] if asked else []
        )
        if not questions:
            return False
        done = min(round_count(self._outcome(id).measurements or {}) for id in ids)
        rounds = max(1, least_rounds(min(questions)) - done)
        return rounds * sum(map(self._block_s, ids)) <= seconds

    def _spared(self, base: Sequence[int], others: Sequence[int]) -> bool:
        """Return whether the baseline can be left out: no question is about it."""
        relative = [c for c in self._engine.constraints if c.relative is not None]
        if any(c.metric in self._speeds for c in relative):
            return False
        if any(id in base for id, _ in self._asked):
            return False
        measured = {id: self._outcome(id).measurements or {} for id in (*base, *others)}
        return all(
            surely_dominated(measured[id], {other: measured[other]}, [objective]) is not None
            for id in base
            for other in others
            for objective in self._objectives
        )

    def _block_s(self, id: int) -> float:
        """Return about how long one process of a candidate takes: to load, and to be measured."""
        loading = [step.s for step in self._outcome(id).seconds if step.step == "smoke"]
        return sum(loading[-1:]) + 2 * BLOCK_S

    def _may_be_feasible(self, summary: StudySummary) -> set[int]:
        """Return who breaks nothing but speeds' limits that its intervals still reach over."""
        return {
            o.id
            for o in self._engine.recorder.outcomes
            if o.kind is OutcomeKind.OK
            and o.id not in summary.feasible
            and summary.limits
            and all(
                self._near(o, limit)
                for limit in summary.limits
                if not limit.holds(o.value(limit.metric))
            )
        }

    def _near(self, outcome: TrialResult, limit: Limit) -> bool:
        """Return whether a speed is on both sides of a limit for all one knows."""
        is_baseline = outcome.candidate.digest == self._engine.baseline
        return limit.metric in self._speeds and reaches_over(
            outcome, limit, is_baseline=is_baseline
        )

    def _near_limits(self, ids: Sequence[int]) -> list[tuple[int, str]]:
        """Return who is near which limit; by its text, as one relative to the baseline moves."""
        limits = self._engine.summary().limits
        return [(id, x.text) for id in ids for x in limits if self._near(self._outcome(id), x)]

    def decided(self, ids: Sequence[int]) -> bool:
        """Return whether all that is asked of the finalists is answered."""
        return not self._challengers(ids) and not self._undecided(ids)

    def members(self, ids: Sequence[int]) -> list[int]:
        """Return who is measured in the next round."""
        challengers, undecided = self._challengers(ids), self._undecided(ids)
        some = {id for id, _ in undecided}
        if challengers:
            some |= {self._pick(ids), *chosen(challengers)}
        if any(limit.relative is not None for _, limit in undecided):
            some |= set(self._base(ids))
        return [id for id in ids if id in some]

    def _pick(self, ids: Sequence[int]) -> int:
        best = self._engine.summary().best
        return best if best is not None and best in ids else ids[0]

    def _base(self, ids: Sequence[int]) -> list[int]:
        return [id for id in ids if self._outcome(id).candidate.digest == self._engine.baseline]

    def _challengers(self, ids: Sequence[int]) -> list[Challenger]:
        """Return who may be better than the pick in a speed, by the rounds."""
        if len(ids) < 2:
            return []
        pick = self._pick(ids)
        others = [id for id in ids if id != pick]
        measured = {id: self._outcome(id).measurements or {} for id in ids}
        return open_challengers(pick, others, measured, self._objectives, self._alpha(ids))

    def _undecided(self, ids: Sequence[int]) -> list[tuple[int, Limit]]:
        """Return the limits that are asked about and not decided, with the candidate."""
        base, limits = self._engine.baseline_outcome(), self._limits()
        reference = {} if base is None else base.measurements or {}
        alpha = self._limit_alpha(ids)
        return [
            (id, limits[text])
            for id, text in self._asked
            if side_of(limits[text], self._outcome(id).measurements or {}, reference, alpha) is None
        ]

    def _limits(self) -> dict[str, Limit]:
        """Return the limits in force by their texts."""
        return {limit.text: limit for limit in self._engine.summary().limits}

    def _alpha(self, ids: Sequence[int]) -> float:
        return pair_alpha(self._subjects(ids), len(self._objectives))

    def _limit_alpha(self, ids: Sequence[int]) -> float:
        count = sum(limit.metric in self._speeds for limit in self._limits().values())
        return limit_alpha(self._subjects(ids), count)

    def _subjects(self, ids: Sequence[int]) -> int:
        """Return among how many the error is shared: those of earlier rounds count, too."""
        return len({*ids, *(o.id for o in in_rounds(self._engine.recorder.outcomes))})

    def _round(self, finalists: Sequence[Subject]) -> bool:
        """Measure some finalists once, and record it; False if one of them could not be."""
        engine = self._engine
        rounds = InterleavedRounds(engine, self._slots, finalists, self._order)
        start = self._engine.clock()
        self._begun = self._engine.clock()
        engine.watcher.timing(True)
        try:
            found = rounds.measure()
        finally:
            engine.watcher.timing(False)
        if found is None:
            return False
        spent = StepTime("finals", (self._engine.clock() - start) / len(found), False)
        self._number = number = self._number + 1
        levels, spreads = self._levels(found), engine.spreads()
        for id, block in found.items():
            outcome = self._outcome(id)
            measured = dict(outcome.measurements or {})
            known = {n: measured[n] for n in block if n in measured and not measured[n].taken_over}
            here = {
                name: m.noting(level=levels[name]) if name in levels else m
                for name, m in block.items()
            }
            parts, of = ((known, here), (None, number)) if known else ((here,), (number,))
            measured |= pool(parts, engine.noise_floor, of, spreads)
            engine.recorder.update(outcome.after(spent, measured))
        engine.on_update(engine.summary())
        return True

    def _levels(self, found: Mapping[int, Mapping[str, Measurement]]) -> dict[str, float]:
        """Return a round's level by metric; none where the speed itself is near a limit."""
        limits = self._limits()
        asked = [limits[text] for _, text in self._asked]
        absolute = {limit.metric for limit in asked if limit.relative is None}
        known = {id: self._outcome(id).measurements or {} for id in found}
        levels = levels_of(found, known)
        return {name: level for name, level in levels.items() if name not in absolute}

    def _finalist(self, id: int, stack: ExitStack) -> Subject | None:
        """Return a finalist with its package, from the store."""
        engine, candidate = self._engine, self._outcome(id).candidate
        result = engine.submit(engine.job_factory.build(candidate))
        if result.status is JobStatus.CANCELLED:
            raise KeyboardInterrupt
        if result.status is not JobStatus.OK:
            engine.watcher.note(
                f"the finalists are not measured again: {result.status}: {result.reason}"
            )
            return None
        built = result.value.model
        package = stack.enter_context(engine.job_factory.packaged(built, candidate.runtime))
        return Subject(id, candidate, package)

    def _outcome(self, id: int) -> TrialResult:
        return next(o for o in self._engine.recorder.outcomes if o.id == id)
