"""Errors and notes before the first job of a search; the dry run and the search share them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretune.core.candidate import counted
from paretune.preflight.energy_counters import check_energy
from paretune.preflight.node_names import check_nodes
from paretune.preflight.token_checks import check_tokens
from paretune.preflight.training_notes import training_notes
from paretune.preflight.uncompared import uncompared_notes
from paretune.search.sample import WHOLE
from paretune.search.space import Space
from paretune.targets.split import near_target

if TYPE_CHECKING:
    from paretune.preflight.prepared import PreparedSearch


def told_before(prepared: PreparedSearch) -> tuple[str, ...]:
    """Check a plan with the model's tokenizer and on this device.

    Returns:
        Notes, without those on the configuration alone (`Plan.notes`).

    Raises:
        UsageError: No candidate could work, or no candidate as the configuration intends it.
    """
    plan, baseline, target = prepared.plan, prepared.baseline, prepared.target
    energy = check_energy(plan, target)
    nodes = check_nodes(prepared)
    with near_target(target, prepared.store.root) as near:
        tokens = check_tokens(plan, baseline, near, prepared.catalog)
    return (
        *energy,
        *tokens,
        *prepared.model_notes,
        *prepared.data_notes,
        *nodes,
        *thread_notes(prepared),
        *training_notes(plan, baseline, target),
        *uncompared_notes(plan, baseline),
        *_sample_notes(plan.space),
    )


def _sample_notes(space: Space) -> tuple[str, ...]:
    """Return a note if only a part of the candidates was checked."""
    if space.size <= WHOLE:
        return ()
    return (
        f"the space has {space.size} candidates: before the search, tokens, names of nodes and "
        "precisions were checked for a sample that contains each alternative and up to 20 values "
        "of each parameter; every candidate is checked before its first job",
    )


def thread_notes(prepared: PreparedSearch) -> tuple[str, ...]:
    """Return a note if candidates would run with more threads than there are cores to run them."""
    device, plan = prepared.device, prepared.plan
    if not device.processor:  # a target that does not describe its processor
        return ()
    asked = {*plan.threads, *(c.runtime.threads for c in (prepared.baseline, *plan.try_first))}
    more = sorted(count for count in asked if count > device.logical_cores)
    if not more:
        return ()
    cores = counted(device.logical_cores, "core")
    return (
        f"threads: {', '.join(map(str, more))}: a process can use {cores} here; more threads than "
        "cores wait for each other, so their times are not meaningful",
    )
