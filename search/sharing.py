"""What a trial need not measure, because another one of the study did.

Three cases, of which the first two are exact:

- the same bytes under the same settings: the candidate is a duplicate, and nothing is measured;
- the same bytes with another number of threads: what no device matters to is the same;
- the same structure (`paretune.models.structure`) under the same settings: the metrics of the
  device are taken over, each with the number of the candidate that measured it, and with an
  interval that is widened by what such pairs differ by (`paretune/stats/pair_spread.py`).

A value that was taken over is a forecast. It decides no early stop (`search/evidence.py`), no limit
and no pick (`search/summary.py`): a candidate that would be chosen by one is measured first
(`search/confirm/own_measurements.py`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from paretune.core.candidate import Candidate, RuntimeSettings
from paretune.core.measurement import Measurement, Rung
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.evidence import ROUGH_SLACK
from paretune.search.jobs import EvaluatorSlot
from paretune.search.outcomes import built_as, of_structure
from paretune.search.recorder import Recorder
from paretune.search.run import Shortcuts
from paretune.search.trial_state import Trial
from paretune.stats.pair_spread import pair_width, widened
from paretune.stats.process_spread import Spread

_LATEST = 200
"""Candidates from which it is learnt what pairs differ by: the latest, as speeds drift."""
_SOURCES = frozenset({OutcomeKind.OK, OutcomeKind.INFEASIBLE, OutcomeKind.PRUNED})
_TWO_SIDED = 1.960


class SharingServices(Protocol):
    """What sharing needs of a search (`paretune.search.run.SearchRun` describes it)."""

    recorder: Recorder
    shortcuts: Shortcuts
    baseline: str
    noise_floor: float | None

    def spreads(self) -> dict[str, Spread]:
        """Return what processes usually differ by in this study, by metric."""


@dataclass(frozen=True)
class Sharing:
    """What one trial shares with the others of its study.

    Attributes:
        search: What it needs of the search.
        id: The trial's number.
        candidate: What is tried. The baseline takes over no speed: others are compared with it.
    """

    search: SharingServices
    id: int
    candidate: Candidate

    def duplicate_of(self, artifact: str) -> int | None:
        """Return the candidate with the same bytes and settings; None: there is none."""
        if not self.search.shortcuts.duplicates:
            return None
        for other in built_as(self.search.recorder.outcomes, artifact):
            if (
                other.id != self.id  # an earlier try of this one
                and other.candidate.runtime == self.candidate.runtime
                and other.kind is not OutcomeKind.DUPLICATE
            ):
                return other.id
        return None

    def known(
        self,
        slot: EvaluatorSlot,
        rung: Rung,
        artifact: str | None,
        structure: str | None,
        own: Mapping[str, Measurement],
    ) -> dict[str, Measurement] | None:
        """Return what an evaluator need not measure at a rung; None: it has to.

        Args:
            slot: The evaluator.
            rung: Where.
            artifact: Digest of what the candidate built.
            structure: Digest of its structure; None: unknown.
            own: What is known of the candidate so far.
        """
        if slot.on_device:
            return self._of_same_structure(slot, rung, structure, own)
        return self._of_same_bytes(slot, rung, artifact)

    def _of_same_bytes(
        self, slot: EvaluatorSlot, rung: Rung, artifact: str | None
    ) -> dict[str, Measurement] | None:
        """Return what another candidate with the same artifact has, if no device matters to it.

        Only the number of threads may differ: another setting may change what is computed.
        """
        if not self.search.shortcuts.duplicates:
            return None
        runtime = self.candidate.runtime
        for other in built_as(self.search.recorder.outcomes, artifact):
            if replace(other.candidate.runtime, threads=runtime.threads) == runtime and any(
                s.step == f"{slot.name}:{rung.value}" for s in other.seconds
            ):
                # An evaluator that went further there replaced this rung's numbers: better still.
                measured = other.measurements or {}
                names = (spec.name for spec in slot.metrics)
                return {name: measured[name] for name in names if name in measured}
        return None

    def _of_same_structure(
        self,
        slot: EvaluatorSlot,
        rung: Rung,
        structure: str | None,
        own: Mapping[str, Measurement],
    ) -> dict[str, Measurement] | None:
        if not self.search.shortcuts.structures or structure is None:
            return None
        if self.candidate.digest == self.search.baseline or not _may_be_taken(slot, own):
            return None
        source = next(
            (o for o in self._sources(structure) if _measured_itself(o, slot, rung)), None
        )
        if source is None:
            return None
        measured = source.measurements or {}
        names = [spec.name for spec in slot.metrics if spec.device and spec.name in measured]
        return self.taken_from(source, names)

    def taken_from(
        self, source: TrialResult | Trial, names: Sequence[str]
    ) -> dict[str, Measurement]:
        """Return metrics of the device as a build of the same structure takes them over.

        Args:
            source: What measured them.
            names: The metrics.
        """
        measured, widths = source.measurements or {}, self._widths(names)
        return {name: taken_over(measured[name], source.id, widths[name]) for name in names}

    def _sources(self, structure: str) -> Iterator[TrialResult | Trial]:
        """Yield the trials of the same structure and settings, those with an end first."""
        recorder, runtime = self.search.recorder, self.candidate.runtime
        alike = of_structure(recorder.outcomes, structure)
        others: list[TrialResult | Trial] = [*alike, *recorder.paused.values()]
        for other in others:
            if (
                other.structure == structure
                and other.id != self.id
                and other.candidate.runtime == runtime
                and (isinstance(other, Trial) or other.kind in _SOURCES)
            ):
                yield other

    def _widths(self, names: Sequence[str]) -> dict[str, float]:
        """Return by how much the logarithms of such pairs differ, by metric."""
        groups: defaultdict[str, defaultdict[tuple[str, RuntimeSettings], list[float]]]
        groups = defaultdict(lambda: defaultdict(list))
        for o in self.search.recorder.outcomes[-_LATEST:]:
            if o.kind is not OutcomeKind.OK or o.structure is None:
                continue
            for name in names:
                m = (o.measurements or {}).get(name)
                if m is not None and m.value is not None and not m.taken_over:
                    groups[name][(o.structure, o.candidate.runtime)].append(m.value)
        spreads, floor = self.search.spreads(), self.search.noise_floor
        return {
            name: pair_width(_prior(spreads.get(name), floor), groups[name].values())
            for name in names
        }


def taken_over(measured: Measurement, source: int, width: float) -> Measurement:
    """Return a measurement as a candidate has it that takes it over.

    Args:
        measured: What the other candidate measured.
        source: Its number.
        width: See `paretune.stats.pair_spread.pair_width`.
    """
    found = widened(measured, width)
    details = replace(
        found.details,
        early=False,
        processes=None,
        spread=None,
        turns=(),
        level=None,
        interference=None,
        conditions=None,
        outliers=None,
        drift=None,
        taken_from=source,
    )
    return replace(found, samples=(), details=details)


def _prior(spread: Spread | None, floor: float | None) -> float:
    """Return by what share two processes of the same work differ at most, in 95 % of cases."""
    usual = 0.0 if spread is None else _TWO_SIDED * math.sqrt(2 * spread.variance)
    return max(usual, floor or 0.0) or ROUGH_SLACK


def _may_be_taken(slot: EvaluatorSlot, own: Mapping[str, Measurement]) -> bool:
    """Return whether a candidate may take over what an evaluator measures.

    A speed that the candidate has measured itself is not replaced by another one's, and what does
    not depend on the device must be known exactly already.
    """
    for spec in slot.metrics:
        m = own.get(spec.name)
        if spec.device and (spec.weights or (m is not None and not m.taken_over)):
            return False
        if not spec.device and (m is None or not m.protocol.startswith("exact")):
            return False
    return True


def _measured_itself(other: TrialResult | Trial, slot: EvaluatorSlot, rung: Rung) -> bool:
    """Return whether a trial has measured an evaluator's device metrics at a rung, or further."""
    steps = {f"{slot.name}:{r.value}" for r in slot.rungs[slot.rungs.index(rung) :]}
    measured = other.measurements or {}
    found = [measured[s.name] for s in slot.metrics if s.device and s.name in measured]
    return (
        bool(found)
        and not any(m.taken_over for m in found)
        and any(step.step in steps and not step.cached for step in other.seconds)
    )
