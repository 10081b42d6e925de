"""Refuses data sets of arrays where another machine would read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from paretune.core.errors import UsageError
from paretune.core.target import members_of, shares_folders
from paretune.plugin_identity import data_read_by
from paretune.study.identity import data_of_evaluator, steps_of

if TYPE_CHECKING:
    from paretune.config import Plan
    from paretune.core.candidate import Candidate
    from paretune.core.target import Target
    from paretune.data.catalog import DataCatalog


def check_arrays_near(
    plan: Plan, candidates: Iterable[Candidate], targets: Iterable[Target], catalog: DataCatalog
) -> None:
    """Check that every job finds the files that data sets of arrays name.

    Args:
        plan: A checked configuration.
        candidates: Those beside the space.
        targets: Where builds and measurements run.
        catalog: The plan's data sets.

    Raises:
        UsageError: A target runs jobs where this machine's folders are not.
    """
    refs = {ref for step in steps_of(plan.space, candidates) for ref in data_read_by(step)}
    refs |= {ref for choice in plan.evaluators for ref in data_of_evaluator(choice)}
    arrays = [ref for ref in sorted(refs) if catalog.is_arrays(ref)]
    if not arrays:
        return
    for target in (member for each in targets for member in members_of(each)):
        if not shares_folders(target):
            raise UsageError(
                f"the data set {arrays[0]!r} is one of arrays, and {target.info().name!r} is "
                "another machine: the files that it names do not travel",
                hint="Search on this machine (`target: local`, or another interpreter here as a "
                "target `{python: PATH}`), or run the search there.",
            )
