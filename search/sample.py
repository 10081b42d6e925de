"""Some candidates in place of all: what checks take of a space that is too large to go through."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

from paretune.core.candidate import Candidate
from paretune.search.choices import Choice
from paretune.search.space import Space

WHOLE = 2000
"""Largest space of which every candidate is checked."""
SPREAD = 200
_EACH = 20


def spread(space: Space, count: int = SPREAD) -> list[Candidate]:
    """Return candidates from equal parts of a space, one of each at random; always the same.

    Args:
        space: With at least so many candidates.
        count: How many.
    """
    draw, ends = random.Random(0), [i * space.size // count for i in range(count + 1)]
    return [space.at(draw.randrange(a, b)) for a, b in pairwise(ends)]


def covering(space: Space) -> list[Candidate]:
    """Return every candidate of a space; of a large one a sample with all that differs in kind.

    It holds each alternative and each value of each parameter, of a long list 20 values that are
    spread over it (fewer where there are more than a hundred parameters), and candidates that are
    spread over the space. It does not hold every combination of values.
    """
    if space.size <= WHOLE:
        return list(space)
    known, draw = space.tree.choices, random.Random(0)
    found = spread(space)
    most = max(2, min(_EACH, WHOLE // len(known)))
    for choice in known.values():
        for position in _positions(choice, most):
            taken, above = {choice.name: position}, choice.parent
            while above is not None:
                taken[above[0]] = above[1]
                above = known[above[0]].parent
            found.append(
                space.tree.propose(
                    lambda c, taken=taken: taken.get(c.name, draw.randrange(len(c.values)))  # type: ignore[misc]
                )
            )
    return list({candidate.digest: candidate for candidate in found}.values())


def _positions(choice: Choice, most: int) -> Sequence[int]:
    count = len(choice.values)
    if count <= most:
        return range(count)
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})
