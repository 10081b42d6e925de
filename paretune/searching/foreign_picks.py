"""Measures on each device what the other devices picked, so that the picks can be compared.

A device's own search stops early what cannot be its pick, and has its own settings. What another
device picked is therefore measured once more, completely, after all searches have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from paretune.core.candidate import Candidate
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.engine import Engine
from paretune.search.outcomes import of_candidate, with_id
from paretune.search.run import Shortcuts
from paretune.search.stop_rule import Stopping
from paretune.search.strategies.base import Event, Request, Start, View

_STOPPED = (OutcomeKind.PRUNED, OutcomeKind.INFEASIBLE)
"""Ends after which a candidate may still be measured completely."""


class _Listed:
    """Asks for some candidates, and nothing else."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._left = list(candidates)

    def ask(self, view: View) -> Request | None:
        return Start(self._left.pop(0)) if self._left else None

    def tell(self, event: Event) -> None:
        """Nothing depends on it."""


def picked(engine: Engine) -> TrialResult | None:
    """Return the outcome of a device's pick."""
    return with_id(engine.recorder.outcomes, engine.summary().best)


def to_measure(engine: Engine, foreign: Sequence[TrialResult]) -> list[Candidate]:
    """Return what a device still has to measure of the picks of others.

    Args:
        engine: The device's search.
        foreign: The outcomes of their picks.
    """
    own, outcomes = picked(engine), engine.recorder.outcomes
    found: dict[str, Candidate] = {}
    for pick in foreign:
        recipe = pick.candidate.recipe
        if any(o.kind is OutcomeKind.OK and o.candidate.recipe == recipe for o in outcomes):
            continue
        here = _with_settings_of(engine, pick.candidate, own)
        known = of_candidate(outcomes, here.digest)
        if (known is None or known.kind in _STOPPED) and engine.look(here).reason is None:
            found[here.digest] = here
    return list(found.values())


def _with_settings_of(engine: Engine, pick: Candidate, own: TrialResult | None) -> Candidate:
    """Return a pick with settings that the device tries: its own, else those of its pick."""
    wanted = [pick] if own is None else [pick, Candidate(pick.recipe, own.candidate.runtime)]
    for candidate in wanted:
        if engine.space.index(candidate) is not None:
            return candidate
    return Candidate(pick.recipe, engine.space.runtimes_of(engine.space.kind_of(pick.recipe)).at(0))


def measure(engine: Engine, candidates: Sequence[Candidate]) -> None:
    """Measure candidates completely, as far as there is time.

    Args:
        engine: The device's search, which has ended.
        candidates: What is measured.
    """
    known = {c.digest: of_candidate(engine.recorder.outcomes, c.digest) for c in candidates}
    replace(
        engine,
        strategy=_Listed([c for c in candidates if known[c.digest] is None]),
        again=[outcome for outcome in known.values() if outcome is not None],
        shortcuts=Shortcuts(early_stops=False, duplicates=True, structures=False, parents=False),
        stopping=Stopping(),
        trials=None,
        beyond_trials=frozenset(known),
        finals_s=0.0,
    ).run()
