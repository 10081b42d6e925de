"""Which of several candidates a strategy proposes where the time that is left is short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from paretune.core.candidate import Candidate
from paretune.search.strategies.base import View

T = TypeVar("T")


def first_fitting(ranked: Sequence[T], view: View, candidate: Callable[[T], Candidate]) -> T:
    """Return the first one that can end in the time that is left; if none can, the first.

    Args:
        ranked: The best one first; at least one.
        view: Tells what fits.
        candidate: Returns the candidate of one of them.
    """
    if view.left_s is None:
        return ranked[0]
    return next((one for one in ranked if view.fits(candidate(one))), ranked[0])
