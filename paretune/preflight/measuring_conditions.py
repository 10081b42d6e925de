"""What to know before a search measures: what around it would spoil a speed, what it lacks."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from paretune.core.device_profile import DeviceProfile
from paretune.core.errors import StateError, UsageError
from paretune.core.interference import Interference
from paretune.core.job import Call, JobStatus, Limits
from paretune.core.jsontools import Json
from paretune.core.target import Target, is_far
from paretune.core.user_paths import default_store
from paretune.preflight.asking import ask
from paretune.preflight.prepared import PreparedSearch
from paretune.search.confirm.interleaved import ON_PROCESSOR
from paretune.stats.intervals import samples_needed
from paretune.targets.device.environment import Environment, Issue, inspect_environment, issues
from paretune.targets.split import measurer_of

_WATCHED_S = 0.3
_OLD_AFTER = timedelta(days=30)


def advice(
    prepared: PreparedSearch, look: Callable[[float], Environment] = inspect_environment
) -> list[str]:
    """Return warnings and notes for the user before speeds are measured, one per line.

    Args:
        prepared: The search; there are no lines if it measures no speed.
        look: Observes the machine for a number of seconds.
    """
    if not any(slot.on_device for slot in prepared.evaluators):
        return []
    # Programs on the GPU do not disturb the processor.
    gpu = not ON_PROCESSOR.issuperset(prepared.plan.providers)
    lines = [each.warning for each in issues_on(prepared.target, look, gpu=gpu)]
    lines += [f"warning: {line}" for line in unsupported(prepared)]
    plan, more = prepared.plan, ""
    if plan.target.measure in plan.target.declared:
        more = f" --target {plan.target.measure} --config {shlex.quote(str(plan.file))}"
    about = about_profile(prepared.profile, prepared.store.root, datetime.now(UTC), more)
    return lines if about is None else [*lines, f"note: {about}"]


def issues_on(
    target: Target,
    look: Callable[[float], Environment] = inspect_environment,
    seconds: float = _WATCHED_S,
    *,
    gpu: bool = True,
) -> tuple[Issue, ...]:
    """Return what disturbs measurements on the machine of a target.

    Args:
        target: Where speeds are measured.
        look: Observes this machine for a number of seconds.
        seconds: How long.
        gpu: Whether programs on the GPU count.
    """
    there = measurer_of(target)
    if not is_far(there):
        around = look(seconds)
        return issues(around if gpu else replace(around, gpu=()))
    args: dict[str, Json] = {"seconds": seconds, "gpu": gpu}
    call = Call("paretune.targets.device.environment:issues_found", args)
    result = ask(there, call, Limits(seconds=120.0))
    if result.status is not JobStatus.OK:
        return (
            Issue(
                f"what else runs on the device is not known (the check {result.status}: "
                f"{result.reason})",
                "other programs may disturb the measurements",
                "Compare `interference` in the measurements' conditions.",
            ),
        )
    return tuple(Issue(**each) for each in result.value)


def unsupported(prepared: PreparedSearch) -> list[str]:
    """Return the configured percentiles that have too few requests for a value.

    No candidate can meet a limit on a metric without a value.
    """
    plan = prepared.plan
    asked = dict.fromkeys(
        [o.metric for o in plan.objectives] + [c.metric for c in plan.constraints]
    )
    needed, found = samples_needed(0.95), []
    for choice in plan.evaluators:
        params = choice.params
        if choice.name != "generation" or params.get("requests", 0) >= needed:
            continue
        of_requests = (
            ("ttft_ms_p95", "decode_ms_p95") if params.get("streams", 1) > 1 else ("ttft_ms_p95",)
        )
        found += [
            f"{metric} has a value only with {needed} requests or more; "
            f"set `generation: {{requests: {needed}}}`"
            for metric in asked
            if metric.startswith(of_requests)
        ]
    return found


def about_profile(
    profile: DeviceProfile | None, store_root: Path, now: datetime, more: str = ""
) -> str | None:
    """Return why the device should be measured (again) before a search, and how; None: no need.

    Args:
        profile: What the store has of this device.
        store_root: The store.
        now: With a time zone.
        more: Options of the command that measures the device.
    """
    command = bench_command(store_root) + more
    if profile is None:
        return (
            f"this device was not measured yet; run `{command}` (takes a minute), so that searches "
            "use the device's own noise floor and roofline"
        )
    if not profile.calm:
        return (
            f"the device's own figures are not used: while they were measured "
            f"{Interference(profile.others, profile.stolen)}; run `{command}` (takes a minute) "
            "when the machine is quiet"
        )
    age = now - profile.measured_at
    if age > _OLD_AFTER:
        return (
            f"the device's own figures are {age.days} days old; run `{command}` (takes a minute) "
            "to measure them again"
        )
    return None


def bench_command(store_root: Path) -> str:
    """Return the command that measures the device for a store."""
    try:
        own = store_root.resolve() == default_store().resolve()
    except (StateError, UsageError):  # no home folder: there is no default
        own = False
    return "paretune bench" if own else f"paretune bench --store {shlex.quote(str(store_root))}"
