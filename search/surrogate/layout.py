"""What rows of codes mean, and what is known of the quantities that are forecast from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.float64]

ABSENT = -1.0
"""Code of a choice that a candidate does not come by."""


@dataclass(frozen=True)
class Layout:
    """What the columns of a matrix of codes are.

    Attributes:
        ordered: Of each choice, whether its codes are numbers and not labels.
        stages: Of each choice, the number of its stage, from 0 and without gaps.
    """

    ordered: tuple[bool, ...]
    stages: tuple[int, ...]

    def only(self, columns: Sequence[int]) -> Layout:
        """Return the layout of some of the columns."""
        stages = [self.stages[c] for c in columns]
        number = {stage: n for n, stage in enumerate(sorted(set(stages)))}
        return Layout(tuple(self.ordered[c] for c in columns), tuple(number[s] for s in stages))


@dataclass(frozen=True)
class Subject:
    """What is known of a quantity beside its observations.

    Attributes:
        columns: Those that it can depend on; None: all.
        better: 1 if greater values are better, -1 if smaller ones are; 0: neither. Values that are
            much worse than the usual ones count as no worse than a bound, so that a few of them do
            not decide how the good ones differ.
    """

    columns: Sequence[int] | None = None
    better: int = 0
    spread: float = 0.5
