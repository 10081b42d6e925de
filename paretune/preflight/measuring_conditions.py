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
from paretune.core.user_paths import default_store
from paretune.preflight.prepared import PreparedSearch
from paretune.stats.intervals import samples_needed
from paretune.targets.device.environment import Environment, inspect_environment, issues

_WATCHED_S = 0.3
_OLD_AFTER = timedelta(days=30)


def advice(
    prepared: PreparedSearch, look: Callable[[float], Environment] = inspect_environment
) -> list[str]:
    """Return what a user should know before speeds are measured, a line each.

    Args:
        prepared: What is about to be searched; nothing is said if it times nothing.
        look: Looks around for so many seconds.
    """
    if not any(slot.on_device for slot in prepared.evaluators):
        return []
    around = look(_WATCHED_S)
    if all(provider == "cpu" for provider in prepared.plan.providers):
        around = replace(around, gpu=())  # whoever computes there is in nobody's way
    lines = [trouble.warning for trouble in issues(around)]
    lines += [f"warning: {line}" for line in unsupported(prepared)]
    about = about_profile(prepared.profile, prepared.store.root, datetime.now(UTC))
    return lines if about is None else [*lines, f"note: {about}"]


def unsupported(prepared: PreparedSearch) -> list[str]:
    """Return which percentiles of requests are asked of candidates, and may have no value.

    A limit on what has no value is met by nobody.
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
            f"{metric} needs {needed} requests, and without them has no value; "
            f"`generation: {{requests: {needed}}}` sees to it that there are so many"
            for metric in asked
            if metric.startswith(of_requests)
        ]
    return found


def about_profile(profile: DeviceProfile | None, store_root: Path, now: datetime) -> str | None:
    """Return why the device should be measured (again) before a search, and how; None: no need.

    Args:
        profile: What the store has of this device.
        store_root: The store.
        now: With a time zone.
    """
    command = bench_command(store_root)
    if profile is None:
        return (
            f"this device was not measured yet; `{command}` (a minute) lets a search use the "
            "device's own noise floor and roof"
        )
    if not profile.calm:
        return (
            f"the device's own figures are not used: while they were measured "
            f"{Interference(profile.others, profile.stolen)}; run `{command}` (a minute) when "
            "the machine is quiet"
        )
    age = now - profile.measured_at
    if age > _OLD_AFTER:
        return (
            f"the device's own figures are {age.days} days old; `{command}` (a minute) "
            "measures them again"
        )
    return None


def bench_command(store_root: Path) -> str:
    """Return the command that measures the device for a store."""
    try:
        own = store_root.resolve() == default_store().resolve()
    except (StateError, UsageError):  # no home folder: there is no default
        own = False
    return "paretune bench" if own else f"paretune bench --store {shlex.quote(str(store_root))}"
