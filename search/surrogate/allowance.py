"""What the models of a search may cost: at most 2 % of the time that the trials themselves take.

An `Allowance` keeps account. Trials earn: each adds `SHARE` of its own seconds. The seconds that
the search waits for its models, for fits and forecasts, are spent. `FREE_S` seconds may be spent
before anything is earned, so that a study of a few short trials is not restricted; over a whole
study, the models therefore cost at most 2 % of the trials' time and these seconds, but for the
answer that goes beyond.

Beyond the allowance the models get cheaper, in two steps:

- more than is allowed: the hyperparameters stay as they are, and only the posterior is computed
  with the new observations;
- more than twice as much: fewer candidates are compared, too.

As long as the allowance is not used up, proposals are a function of the seed and the results. Where
trials are so short that it is, they depend on the clock, and two runs may differ. A fit of a few
metrics takes tenths of a second, so that this concerns trials of a few seconds and less. The clock
is the search's own. In virtual time no answer takes any time, so that simulated searches are never
restricted and always repeat.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from paretune.core.result import TrialResult

T = TypeVar("T")

SHARE = 0.02
"""Of the trials' seconds, what the models may take."""
FREE_S = 10.0
"""Seconds that they may take anyway."""
FEW = 100
"""Candidates that are compared beyond twice the allowance."""


class Allowance:
    """Keeps account of what the models of one search cost.

    Args:
        clock: Gives the seconds of the search.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._earned = 0.0
        self._spent = 0.0
        self._used = False

    def ended(self, result: TrialResult) -> None:
        """Take a trial into account.

        Of a trial of an earlier run, what choosing it took is spent.

        Args:
            result: How it ended.
        """
        self._earned += SHARE * result.spent_s
        if not self._used:
            self._spent += result.asked_s or 0.0

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count the seconds until the block ends."""
        self._used = True
        start = self._clock()
        try:
            yield
        finally:
            self._spent += self._clock() - start

    @property
    def allowed_s(self) -> float:
        """Seconds that may be spent so far."""
        return FREE_S + self._earned

    @property
    def fits(self) -> bool:
        """Whether hyperparameters may be fitted."""
        return self._spent <= self.allowed_s

    @property
    def compares_all(self) -> bool:
        """Whether every candidate of a pool may be compared."""
        return self._spent <= 2 * self.allowed_s

    def thinned(self, pool: list[T], draw: random.Random) -> list[T]:
        """Return what may be compared of a pool, in its order.

        Args:
            pool: The candidates.
            draw: Chooses some of them.
        """
        if self.compares_all or len(pool) <= FEW:
            return pool
        return [pool[place] for place in sorted(draw.sample(range(len(pool)), FEW))]
