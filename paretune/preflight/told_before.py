"""What is told before the first job of a search, by the dry run and the search alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretune.core.candidate import counted
from paretune.preflight.node_names import check_nodes
from paretune.preflight.token_checks import check_tokens
from paretune.preflight.training_notes import training_notes
from paretune.preflight.uncompared import uncompared_notes

if TYPE_CHECKING:
    from paretune.preflight.prepared import PreparedSearch


def told_before(prepared: PreparedSearch) -> tuple[str, ...]:
    """Hold a plan against the model's tokenizer and this device.

    Returns:
        What should be known; what the configuration alone tells (`Plan.notes`) is not repeated.

    Raises:
        UsageError: No candidate, or none that the configuration means, could work.
    """
    plan, baseline, target = prepared.plan, prepared.baseline, prepared.target
    nodes = check_nodes(prepared)
    return (
        *check_tokens(plan, baseline, target, prepared.catalog),
        *prepared.model_notes,
        *nodes,
        *thread_notes(prepared),
        *training_notes(plan, baseline, target),
        *uncompared_notes(plan, baseline),
    )


def thread_notes(prepared: PreparedSearch) -> tuple[str, ...]:
    """Return a note if candidates would run with more threads than there are cores to run them."""
    device, plan = prepared.device, prepared.plan
    if not device.processor:  # a target that says nothing of its processor
        return ()
    asked = {*plan.threads, *(c.runtime.threads for c in (prepared.baseline, *plan.try_first))}
    more = sorted(count for count in asked if count > device.logical_cores)
    if not more:
        return ()
    cores = counted(device.logical_cores, "core")
    return (
        f"threads: {', '.join(map(str, more))}: this machine gives a process {cores}; more threads "
        "than cores wait for each other, and their times say little",
    )
