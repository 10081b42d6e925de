"""A strategy that measures each candidate of a proposer up to its last rung."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import cast

from paretune.core.measurement import Rung
from paretune.search.strategies.base import (
    Built,
    Ended,
    Event,
    Measured,
    Promote,
    Proposer,
    Request,
    Start,
    Strategy,
    View,
)
from paretune.search.trial_state import Trial


class FullTrials:
    """Starts each candidate that a proposer proposes, up to the last rung.

    Trials that another strategy left paused in the study are promoted first.

    Args:
        proposer: What proposes them.
    """

    def __init__(self, proposer: Proposer) -> None:
        self.proposer = proposer
        self._open: set[str] = set()

    def ask(self, view: View) -> Request | None:
        """Return the next trial; None once the proposer has no candidate left."""
        for id in view.paused:
            return Promote(id)
        candidate = self.proposer.ask()
        while candidate is not None and candidate.digest in self._open:
            candidate = self.proposer.ask()
        return None if candidate is None else Start(candidate)

    def tell(self, event: Event) -> None:
        """Report results to the proposer; what is started or paused is not started once more."""
        if not isinstance(event, Ended):
            self._open.add(event.trial.candidate.digest)
            return
        result = event.result
        self._open.discard(result.candidate.digest)
        self.proposer.tell(result.candidate, result, violations=event.violations)


def as_strategy(made: Strategy | Proposer) -> Strategy:
    """Return a strategy as it is, and a proposer as a strategy that runs whole trials.

    Args:
        made: What the registry has; ``ask`` of a strategy takes the view, that of a proposer
            nothing.
    """
    given = inspect.signature(made.ask).parameters.values()
    if any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in given):
        return cast(Strategy, made)
    return FullTrials(cast(Proposer, made))


def rebuild(strategy: Strategy, ended: Iterable[Ended], paused: Iterable[Trial] = ()) -> None:
    """Report to a strategy what an earlier run of its study has yielded.

    Args:
        strategy: A new one.
        ended: Results, by number.
        paused: Trials that were paused: each one's build and rungs are reported.
    """
    for event in ended:
        strategy.tell(event)
    for trial in paused:
        strategy.tell(Built(trial.at(None)))
        for rung in Rung:
            if rung in trial.measured:
                strategy.tell(Measured(trial.at(rung)))
