"""``priors.json`` of a study: which earlier studies its search takes priors from.

A search that continues without naming any uses them again; one that names others replaces them.
No outcome depends on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paretune.core.jsontools import read_json, write_json
from paretune.core.schemas import expect_schema
from paretune.study.reading import reading

FILE = "priors.json"
SCHEMA = 1


@dataclass(frozen=True)
class Remembered:
    """Earlier studies that a study knows.

    Attributes:
        studies: Folders that its search takes priors from.
        before: Those that it took priors from earlier, and does not any more.
    """

    studies: tuple[str, ...] = ()
    before: tuple[str, ...] = ()

    @classmethod
    def read(cls, study: Path) -> Remembered:
        """Return what a study remembers; nothing if it never had priors.

        Raises:
            StateError: The file is damaged, or was written by a later version.
        """
        file = study / FILE
        if not file.is_file():
            return cls()
        with reading(
            file, "Remove it: it only names the studies that this search takes priors from."
        ):
            content = read_json(file)
            expect_schema(content["schema"], SCHEMA)
            return cls(_texts(content["studies"]), _texts(content["before"]))

    def now(self, studies: Sequence[str]) -> Remembered:
        """Return what to remember when priors come from these studies."""
        known = dict.fromkeys((*self.before, *self.studies))
        return Remembered(tuple(studies), tuple(s for s in known if s not in studies))

    def write(self, study: Path) -> None:
        """Write it into a study; nothing if there is nothing to remember."""
        if self.studies or self.before:
            content = {"schema": SCHEMA, "studies": [*self.studies], "before": [*self.before]}
            write_json(study / FILE, content)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("expected a list of folders")
    return tuple(value)
