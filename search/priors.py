"""What a strategy expects from earlier studies before anything is measured: priors, never results.

A prior holds the outcomes of one earlier study, each with the candidate of *this* space that it
stands for. A strategy may order candidates by them. Nothing else reads them: no value of another
study, and so of another device, is ever a result, a limit, a reason to stop, or part of the pick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from paretune.core.result import TrialResult


@dataclass(frozen=True)
class Prior:
    """The outcomes of an earlier study, as far as they say something about this space.

    Attributes:
        study: Its folder.
        same_device: Whether it measured on this device, by the fingerprint.
        same_model: Whether its input model has the same content.
        same_data: Whether it trained and measured on data of the same content.
        same_evaluators: Whether its evaluators had the same parameters.
        outcomes: How many outcomes it has.
        results: Those that enter: each with a candidate of this space, and with the metrics that
            this search measures in the same unit. No two are of the same candidate.
        exact: How many of them have a candidate of this space as it is; the others have a value
            near to it, or runtime settings that this space does not have.
    """

    study: str
    same_device: bool
    same_model: bool
    same_data: bool
    same_evaluators: bool
    outcomes: int
    results: Sequence[TrialResult]
    exact: int

    @property
    def ignored(self) -> int:
        """How many of its outcomes are not used here."""
        return self.outcomes - len(self.results)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of which it has a value."""
        return tuple(sorted({name for r in self.results for name in r.measurements or {}}))

    def alike(self, *, device: bool) -> bool:
        """Return whether its values are expected to be about those that are measured here.

        Args:
            device: Whether a metric depends on the device.
        """
        here = self.same_device if device else self.same_data
        return here and self.same_model and self.same_evaluators


@runtime_checkable
class TakesPriors(Protocol):
    """A strategy that reads the priors of its view."""

    takes_priors: bool


def takes_priors(strategy: object) -> bool:
    """Return whether a strategy reads the priors of its view."""
    return isinstance(strategy, TakesPriors) and strategy.takes_priors
