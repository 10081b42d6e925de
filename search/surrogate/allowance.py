"""What choosing by models may cost: at most 2 % of the time that the trials themselves take.

An `Allowance` keeps account. Trials earn: each adds `SHARE` of its own seconds. The seconds that a
choice takes are spent: fits, forecasts, and the comparison of candidates by them. Before a choice,
what choices took last tells how much of an `Effort` the rest of the allowance pays for:

- all: hyperparameters are fitted, and all candidates of a pool are compared;
- no fit: only the posterior is computed with the new observations;
- few: the same, and fewer candidates are compared;
- none: the next candidates of the last comparison are taken, until enough is earned.

After more than `MANY` trials few candidates are compared, and by fewer observations, however long
the trials are: comparing all would take seconds for each choice. Hyperparameters are still fitted.

Over a study the models therefore cost at most 2 % of the trials' time, but for one choice of each
kind that takes longer than the one before. Not counted is the first answer of a search's models:
it starts their process, which takes about two seconds of processor time.

As long as all can be paid, proposals are a function of the seed and the results. Where trials are
so short that it cannot, they depend on the clock, and two runs may differ. A choice takes tenths of
a second, so that this concerns trials of about ten seconds and less. The clock is the search's own.
In virtual time no choice takes any time, so that simulated searches are never restricted and always
repeat.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TypeVar

from paretune.core.result import TrialResult

T = TypeVar("T")

SHARE = 0.02
"""Of the trials' seconds, what the models may take."""
FEW = 100
"""Candidates that are compared with little effort, or after many trials."""
MANY = 500
"""Trials, or observations of a metric, after which choices are made in a cheaper way."""


class Effort(IntEnum):
    """What is done for a choice; each includes those before it."""

    NONE = 0
    FEW = 1
    NO_FIT = 2
    ALL = 3


class Allowance:
    """Keeps account of what the models of one search cost.

    Attributes:
        effort: That of the choice that is being made.
    """

    def __init__(self) -> None:
        self.effort = Effort.ALL
        self._earned = 0.0
        self._spent = 0.0
        self._took: dict[Effort, float] = {}
        self._uncounted = 0.0
        self._used = False
        self._trials = 0

    def ended(self, result: TrialResult) -> None:
        """Take a trial into account.

        Of a trial of an earlier run, what choosing it took is spent.

        Args:
            result: How it ended.
        """
        self._trials += 1
        self._earned += SHARE * result.spent_s
        if not self._used:
            self._spent += result.asked_s or 0.0

    @property
    def compares_few(self) -> bool:
        """Whether only some candidates of a pool are compared for this choice."""
        return self.effort <= Effort.FEW or self._trials > MANY

    @property
    def payable(self) -> Effort:
        """The most that can be done for a choice now."""
        left = self._earned - self._spent
        efforts = (e for e in reversed(Effort) if e and self._took.get(e, 0.0) <= left)
        return next(efforts, Effort.NONE)

    @contextmanager
    def choosing(self, effort: Effort, clock: Callable[[], float]) -> Iterator[None]:
        """Count the seconds until the block ends.

        Args:
            effort: Of the choice.
            clock: Gives the seconds of the search.
        """
        self._used, self.effort = True, effort
        start, self._uncounted = clock(), 0.0
        try:
            yield
        finally:
            taken = clock() - start - self._uncounted
            self._took[effort] = taken
            self._spent += taken

    @contextmanager
    def starting(self, clock: Callable[[], float]) -> Iterator[None]:
        """Do not count the seconds until the block ends: what is asked starts first.

        Args:
            clock: Gives the seconds of the search.
        """
        start = clock()
        try:
            yield
        finally:
            self._uncounted += clock() - start

    def thinned(self, pool: list[T], draw: random.Random) -> list[T]:
        """Return what is compared of a pool, in its order.

        Args:
            pool: The candidates.
            draw: Chooses some of them.
        """
        if not self.compares_few or len(pool) <= FEW:
            return pool
        return [pool[place] for place in sorted(draw.sample(range(len(pool)), FEW))]
