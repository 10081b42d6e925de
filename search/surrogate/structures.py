"""Which choices change the structure of a build, seen from builds of the same structure.

A speed depends on the structure of a build (`paretune.models.structure`) and not on the values of
its weights. A choice of training therefore tells nothing of it. Which choices these are is not
declared by the passes: where two candidates end in the same step and have the same structure, the
choices in which they differ do not change it. A set of such choices counts only as long as the
others determine the structure of every build that was seen.
"""

from __future__ import annotations

from collections.abc import Iterable

from paretune.core.candidate import Step
from paretune.search.surrogate.layout import Matrix

_Row = tuple[float, ...]


class Structures:
    """Learns which columns of a row of codes do not change the structure.

    Attributes:
        ignored: These columns.

    Args:
        columns: Those of the recipe.
    """

    def __init__(self, columns: Iterable[int]) -> None:
        self.ignored: frozenset[int] = frozenset()
        self._columns = list(columns)
        self._structures: dict[_Row, str] = {}
        self._alike: dict[tuple[str, Step], _Row] = {}
        self._differences: dict[frozenset[int], None] = {}
        self._by_kept: dict[_Row, str] = {}

    def note(self, row: Matrix, structure: str, last: Step) -> bool:
        """Take a build into account.

        Args:
            row: Codes of its candidate.
            structure: Digest of its structure.
            last: Last step of its recipe.

        Returns:
            Whether `ignored` is another set than before.
        """
        whole = tuple(map(float, row))
        if whole in self._structures:
            return False
        self._structures[whole] = structure
        first = self._alike.setdefault((structure, last), whole)
        differing = frozenset(c for c in self._columns if first[c] != whole[c])
        kept = self._kept(whole, self.ignored)
        if differing in self._differences and self._by_kept.get(kept, structure) == structure:
            self._by_kept[kept] = structure  # it fits what was learned, and teaches nothing else
            return False
        self._differences[differing] = None
        before, self.ignored = self.ignored, frozenset()
        for differing in self._differences:
            found = self._determined(self.ignored | differing)
            if found is not None:
                self.ignored, self._by_kept = self.ignored | differing, found
        return self.ignored != before

    def _kept(self, row: _Row, ignored: frozenset[int]) -> _Row:
        return tuple(row[c] for c in self._columns if c not in ignored)

    def _determined(self, ignored: frozenset[int]) -> dict[_Row, str] | None:
        """Return the structures by the other columns; None: these do not determine them."""
        seen: dict[_Row, str] = {}
        for row, structure in self._structures.items():
            if seen.setdefault(self._kept(row, ignored), structure) != structure:
                return None
        return seen

    def same(self, a: Matrix, b: Matrix) -> bool:
        """Return whether two rows are equal in every column that may matter to a speed."""
        return all(c in self.ignored or x == y for c, (x, y) in enumerate(zip(a, b, strict=True)))
