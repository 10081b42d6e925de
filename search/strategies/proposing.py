"""A candidate as named choices: the one encoding that strategies and their models share.

Each parameter, each alternative, each optional stage and each setting of a runtime is one choice,
named by its place: ``0.lora.r``, ``2.any``, ``1.merge``, ``runtime.threads``. A `Choice` says
whether its values are ordered (`numbers`, and on which scale: `log`), and on which other choice it
depends (`parent`). A candidate is a position for each choice on its way; choices that are not on
the way are absent. `choices_of` and `candidate_of` are each other's inverse, except that a recipe
which two alternatives give has one encoding, that of its first number.

All of it is proportional to the space's tree and to a candidate's recipe, never to the number of
candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from paretune.core.candidate import Candidate
from paretune.search.choices import Choice
from paretune.search.space import Space
from paretune.search.tree import Choose

__all__ = ["Choice", "Choose", "Chosen", "candidate_of", "choices", "choices_of", "propose"]


class Chosen(NamedTuple):
    """What a candidate takes.

    Attributes:
        labels: Choice to the text of what is taken.
        positions: Choice to the position of what is taken, in its `values`.
    """

    labels: dict[str, str]
    positions: dict[str, int]


def choices(space: Space) -> Mapping[str, Choice]:
    """Return every choice of a space by its name, parents before children."""
    return space.tree.choices


def choices_of(space: Space, candidate: Candidate) -> Chosen | None:
    """Return what a candidate takes at each choice on its way, in the order of the walk.

    Args:
        space: The space.
        candidate: One of its candidates.

    Returns:
        None if the candidate is not in the space.
    """
    positions = space.tree.positions(candidate)
    if positions is None:
        return None
    known = choices(space)
    return Chosen({n: known[n].labels[taken] for n, taken in positions.items()}, positions)


def candidate_of(space: Space, positions: Mapping[str, int]) -> Candidate:
    """Return the candidate that takes these positions.

    Args:
        space: The space.
        positions: By name; those off the way are passed over, and missing ones are 0.
    """
    return propose(space, lambda choice: positions.get(choice.name, 0))


def propose(space: Space, choose: Choose) -> Candidate:
    """Walk through a space, choosing at every fork and for every parameter.

    Args:
        space: The space.
        choose: Called once for each choice on the way, in order; returns a position.
    """
    return space.tree.propose(choose)
