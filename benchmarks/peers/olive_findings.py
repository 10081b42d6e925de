"""What was seen of a defect, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """One claim about Olive and what was seen of it; ``shown`` is None where nothing was run."""

    claim: str
    shown: bool | None
    observed: str


@dataclass(frozen=True)
class Finding:
    """A defect by its number, with the claims that it is made of."""

    defect: int
    title: str
    parts: tuple[Part, ...]

    @property
    def shown(self) -> bool | None:
        """Whether every claim that could be run showed; None if none could be."""
        ran = [part.shown for part in self.parts if part.shown is not None]
        return all(ran) if ran else None

    @property
    def observed(self) -> str:
        """What was seen of all parts."""
        return "; ".join(part.observed for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """Return the finding with its parts."""
        whole = {"defect": self.defect, "title": self.title, "shown": self.shown}
        return {**whole, "observed": self.observed, "parts": [asdict(p) for p in self.parts]}


def table(findings: Sequence[Finding]) -> str:
    """Return one row a defect as a Markdown table."""
    word = {True: "yes", False: "no", None: "not run"}
    rows = [f"| {f.defect} | {f.title} | {word[f.shown]} | {f.observed} |" for f in findings]
    return "\n".join(["| # | defect | shown | observed |", "|---|---|---|---|", *rows])
