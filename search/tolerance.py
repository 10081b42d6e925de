"""How much worse than the best a candidate may be on an objective and still be shipped.

``0.01`` is in the metric's unit; ``1%`` is relative to the best. The default is ``1%``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from paretune.core.jsontools import Json

_FORM = re.compile(r"\s*\+?((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%?)\s*")
_ROUNDING = 1e-9
"""Share of a value that arithmetic on two measured values may be off by."""
EXPECTED = (
    "expected a number in the metric's unit, such as 0.01, or a share of the best, such as 1%"
)


@dataclass(frozen=True)
class Tolerance:
    """A distance from the best.

    Attributes:
        amount: In the metric's unit, or a share of the best (0.01 for ``1%``); not negative.
        relative: Whether it is a share of the best.
    """

    amount: float
    relative: bool = False

    def reach(self, best: float) -> float:
        """Return the distance in the metric's unit.

        Args:
            best: The best value.
        """
        return self.amount * abs(best) if self.relative else self.amount

    def holds(self, shortfall: float, best: float) -> bool:
        """Return whether a value lies within the tolerance.

        Args:
            shortfall: By how much it is worse than the best.
            best: The best value.
        """
        if shortfall <= 0:
            return True
        reach = self.reach(best)
        return shortfall <= reach + _ROUNDING * max(abs(best), reach)

    def to_json(self) -> Json:
        """Return it as a configuration has it: a number, or a text such as ``1%``."""
        return f"{100 * self.amount:.12g}%" if self.relative else self.amount

    def __str__(self) -> str:
        return str(self.to_json()) if self.relative else f"{self.amount:g}"


DEFAULT = Tolerance(0.01, relative=True)


def parse_tolerance(value: Json) -> Tolerance:
    """Read a tolerance.

    Args:
        value: A number, or a text such as ``0.01``, ``1e-2`` or ``1%``.

    Raises:
        ValueError: It is neither, negative, or not finite; says what was expected.
    """
    relative = False
    if isinstance(value, str):
        found = _FORM.fullmatch(value)
        if found is None:
            raise ValueError(EXPECTED)
        amount, relative = float(found[1]), bool(found[2])
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            amount = float(value)
        except OverflowError:
            raise ValueError(EXPECTED) from None
    else:
        raise ValueError(EXPECTED)
    if not math.isfinite(amount) or amount < 0:
        raise ValueError(EXPECTED)
    return Tolerance(amount / 100 if relative else amount, relative)
