"""Candidates by what the store already has of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from paretune.core.candidate import Candidate
from paretune.core.result import OutcomeKind
from paretune.search.run import SearchRun

_OF_EACH = 2000
"""Most candidates that are checked for one first pass."""


def beginning_as_the_best(search: SearchRun, known: Collection[str]) -> Iterator[Candidate]:
    """Yield candidates that begin with the first pass of one that was measured.

    Those of the best feasible candidate come first, then those of the front, then of the others.

    Args:
        search: The search.
        known: Digests of candidates to leave out, beside those that have an outcome.
    """
    summary = search.summary()
    outcomes = {o.id: o for o in search.recorder.outcomes if o.kind is OutcomeKind.OK}
    order = [*([] if summary.best is None else [summary.best]), *summary.front, *outcomes]
    known = {*known, *(o.candidate.digest for o in search.recorder.outcomes)}
    firsts = dict.fromkeys(
        outcomes[id].candidate.recipe[0] for id in order if outcomes[id].candidate.recipe
    )
    for step in firsts:
        numbers = (n for some in search.space.tree.beginning_with(step) for n in some)
        for number in islice(numbers, _OF_EACH):
            candidate = search.space.at(number)
            if candidate.digest not in known:
                yield candidate
