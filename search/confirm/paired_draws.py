"""Draws of the finalists' speeds that use the rounds which they share with the pick.

In a round, what the machine did at that moment hits all finalists alike, so the ratio of two is
known more precisely than either speed. A draw takes the rounds with replacement (a bootstrap of
whole rounds, the same ones for all finalists), and of each finalist the median ratio to the pick
over those of them that both ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from paretune.core.measurement import Measurement
from paretune.stats.paired import log_ratios

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

_FEWEST = 5
"""Shared rounds from which on they are used: fewer do not show how far they spread."""


class PairedDraws:
    """Ratios of one metric of finalists to the pick's.

    Args:
        pick: The pick.
        ids: Whose draws there are, by column.
        measured: Of all of them, by id.
        metric: The metric.
    """

    def __init__(
        self,
        pick: int,
        ids: Sequence[int],
        measured: Mapping[int, Mapping[str, Measurement]],
        metric: str,
    ) -> None:
        self._pick = list(ids).index(pick)
        found = {
            column: log_ratios(measured[id], measured[pick], metric)
            for column, id in enumerate(ids)
            if id != pick
        }
        self._ratios = {c: ratios for c, ratios in found.items() if len(ratios) >= _FEWEST}

    def applied(self, drawn: Array) -> Array:
        """Return draws in which the finalists' follow from the pick's by their ratio.

        Args:
            drawn: One row per draw, one column per candidate; where there are no rounds, it stays.
        """
        import numpy as np

        if not self._ratios:
            return drawn
        made = drawn.copy()
        numbers = sorted({number for ratios in self._ratios.values() for number in ratios})
        even = np.full(len(numbers), 1 / len(numbers))
        times = np.random.default_rng(11).multinomial(len(numbers), even, len(drawn))
        place = {number: i for i, number in enumerate(numbers)}
        for column, ratios in self._ratios.items():
            ordered = sorted(ratios, key=lambda number: ratios[number])
            weight = times[:, [place[number] for number in ordered]].cumsum(axis=1)
            # A draw has none of its rounds once in exp(rounds), and then takes the least ratio.
            middle = (2 * weight >= weight[:, -1:]).argmax(axis=1)
            made[:, column] = made[:, self._pick] * np.exp(
                np.array([ratios[number] for number in ordered])[middle]
            )
        return made
