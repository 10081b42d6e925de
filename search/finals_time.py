"""The part of a search's time that is kept for its finalists, and what of it is lent.

It is kept as soon as there is something to decide. What is built already may be measured in up to
half of it, but not in what the finalists need at least, once a candidate is feasible: without it
the pick would not be compared with the next best, or would rest on speeds that it took over.
"""

from __future__ import annotations

from paretune.search.confirm.own_measurements import OwnMeasurements
from paretune.search.confirm.topk import MIN_USEFUL_S, TopK
from paretune.search.run import SearchRun

_MOST = 0.25
"""Largest share of a study's time that is kept."""
_LENT = 0.5
"""Largest share of what is kept that is lent."""


class FinalsTime:
    """Keeps the finalists' time, for one run of a search.

    Args:
        search: The search.
    """

    def __init__(self, search: SearchRun) -> None:
        self._search = search
        self._kept = self._lent = 0.0

    def keep(self, seconds: float, time_s: float) -> float:
        """Keep what the finalists of now need, if anything is undecided.

        Args:
            seconds: To re-measure them; more, up to what they may take at all, if an answer about
                two candidates needs more.
            time_s: Seconds of the whole study.

        Returns:
            Seconds in which nothing else may run: what is kept, less what was lent.
        """
        most, (rounds, own) = _MOST * time_s, self._needs_s()
        self._kept = min(own, most)
        if rounds:
            self._kept += max(seconds, min(rounds, self._search.finals_s, most))
        return self._kept - min(self._lent, self._lendable_s(rounds + own))

    def lend(self, seconds: float, more: float) -> bool:
        """Lend some of it, unless the finalists need it.

        Args:
            seconds: What is asked for.
            more: By how much what is measured in them adds to what the finalists need.

        Returns:
            Whether it is lent.
        """
        if self._lent + seconds > self._lendable_s(sum(self._needs_s()) + more):
            return False
        self._lent += seconds
        return True

    def _lendable_s(self, need: float) -> float:
        """Return what may be lent at all while the finalists need so many seconds."""
        half = _LENT * self._kept
        if not self._search.summary().feasible:
            return half
        return max(0.0, min(half, self._kept - need))

    def _needs_s(self) -> tuple[float, float]:
        """Return the seconds that the finalists need.

        Returns:
            For the fewest rounds that decide anything (0: nothing is undecided), and for what they
            took over and have to measure themselves.
        """
        need = TopK(self._search).needed_s() if self._search.finals_s > 0 else None
        rounds = 0.0 if need is None else max(need, MIN_USEFUL_S)
        return rounds, OwnMeasurements(self._search).needed_s()
