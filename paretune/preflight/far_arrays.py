"""Data sets of arrays where a job runs on another machine: their rows travel, not their files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from paretune.core.errors import UsageError
from paretune.core.target import members_of, shares_folders
from paretune.study.identity import data_of

if TYPE_CHECKING:
    from paretune.config import Plan
    from paretune.core.candidate import Candidate
    from paretune.core.target import Target
    from paretune.data.catalog import DataCatalog


def travelling_arrays(
    plan: Plan, candidates: Iterable[Candidate], targets: Iterable[Target], catalog: DataCatalog
) -> tuple[str, ...]:
    """Return the data sets of arrays whose rows are sent to another machine.

    A row may name images, and its pre-processing a processor or a function: what they make here is
    sent, so that every device measures on the same arrays.

    Args:
        plan: A checked configuration.
        candidates: Those beside the space.
        targets: Where builds and measurements run.
        catalog: The plan's data sets.

    Raises:
        UsageError: One lies in Azure, and this machine does not read it.
    """
    arrays = tuple(ref for ref in data_of(plan, candidates, catalog) if catalog.is_arrays(ref))
    if all(shares_folders(member) for each in targets for member in members_of(each)):
        return ()
    for ref in arrays:
        if catalog.far(ref) is not None:
            raise UsageError(
                f"the data set {ref!r} is one of arrays and lies in Azure, where only texts are "
                "read in place",
                hint="Copy its files to this machine, and name the copy.",
            )
    return arrays
