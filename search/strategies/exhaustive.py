"""Tries everything, in an order that makes the most of what was built already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from paretune.core.candidate import Candidate
from paretune.core.result import TrialResult
from paretune.search.constraints import Objective
from paretune.search.space import Space


class Exhaustive:
    """Every candidate once, those first that begin as the first ones do.

    The baseline's adapter, say, is there when the search begins: what is built on it comes before
    another is trained. Otherwise the space's own order holds, in which neighbours share prefixes.

    Args:
        space: What may be proposed.
        objectives: Not used.
        seed: Not used.
        first: Candidates to propose before all others.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        first: Sequence[Candidate] = (),
    ) -> None:
        del objectives, seed
        self._seen: set[str] = set()
        self._queue = self._order(space, tuple(first))

    @staticmethod
    def _order(space: Space, first: tuple[Candidate, ...]) -> Iterator[Candidate]:
        yield from first
        for step in dict.fromkeys(c.recipe[0] for c in first if c.recipe):
            for numbers in space.tree.beginning_with(step):
                yield from map(space.at, numbers)
        yield from space  # what was proposed above is passed over

    def ask(self) -> Candidate | None:
        """Return the next candidate; None once there is no more."""
        for candidate in self._queue:
            if candidate.digest not in self._seen:
                self._seen.add(candidate.digest)
                return candidate
        return None

    def tell(
        self, candidate: Candidate, outcome: TrialResult, violations: Sequence[float] = ()
    ) -> None:
        """Note that a candidate is done with."""
        del outcome, violations
        self._seen.add(candidate.digest)
