"""Makes a machine behind ssh known: prepares it, checks it, and measures it once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paretune.bench.device import bench_device
from paretune.bench.device import render as render_figures
from paretune.cli.doctor_checks import BUILD, MEASURE, lacking, render, report_of
from paretune.config.known_targets import known_targets, remember
from paretune.config.schema import DeclaredTarget, TargetSection
from paretune.config.targets import open_target, read_targets
from paretune.core.device_profile import DeviceProfile, profile_file
from paretune.core.errors import StateError, UsageError
from paretune.core.jsontools import Json
from paretune.core.target import Target
from paretune.preflight.far_builds import differences
from paretune.targets.device.providers import check_provider
from paretune.targets.launchers.provision import Device
from paretune.targets.launchers.wish import Wish, buildable_passes
from paretune.targets.transports.ssh import SshHost

Say = Callable[[str], None]


@dataclass(frozen=True)
class Known:
    """A target that is being made known.

    Attributes:
        name: Its name.
        host: The host, as ssh takes it.
        store_root: The artifact store of this machine, where its profile is kept.
        say: Takes each line about a step.
    """

    name: str
    host: str
    store_root: Path
    say: Say


def name_of(host: str) -> str:
    """Return the name of a target by its host: without user, port and brackets."""
    plain = host.removeprefix("ssh://").rpartition("@")[2]
    bracketed = re.match(r"\[(.+)\]", plain)
    if bracketed is not None:
        return bracketed[1]
    return plain.partition(":")[0] if host.startswith("ssh://") else plain


def check_wish(name: str, host: str, wish: Wish) -> None:
    """Refuse what cannot be added, before anything is connected to.

    Raises:
        UsageError: The name, the host or the wish is not valid, or the name is taken.
    """
    wish.check()

    def wrong(_: object, message: str, hint: str | None = None) -> None:
        raise UsageError(f"target {name!r}: {message}", hint=hint)

    given = DeclaredTarget(ssh=host, python=wish.python, store=wish.folder)
    read_targets(TargetSection(), {name: given}, Path.cwd(), wrong)
    before = known_targets().get(name)
    if before is not None and before.ssh != host:
        raise UsageError(
            f"a target {name!r} is known already: {before.ssh or before.python}",
            hint=f"Choose another name (--name), or first: paretune target remove {name}",
        )


def add_target(
    target: Known, wish: Wish, *, with_bench: bool = True, dry_run: bool = False
) -> dict[str, Json]:
    """Prepare a device, make it known, check it and measure it.

    Args:
        target: It.
        wish: What is wanted of it.
        with_bench: Whether its own figures are measured, if it measures and the store has none.
        dry_run: Whether it is only examined.

    Returns:
        ``{"name", "target": its keys, "file", "doctor": its report, "builds": that of a machine
        that measures and builds, "passes": those that it can build with, "profile": file or null,
        "measured": whether the profile is new}``; of a dry run ``{"name", "target", "plan"}``.

    Raises:
        UsageError: Something failed, or is missing there; says what, where and what to do.
    """
    name, host, say = target.name, target.host, target.say
    check_wish(name, host, wish)
    before = known_targets().get(name, DeclaredTarget(ssh=host))
    wish = replace(wish, folder=wish.folder or before.store)
    say(f"{host}: connecting")
    ssh = SshHost(host)
    try:
        device = Device(ssh, wish, say)
        declared = before.model_copy(update={"python": device.python, "store": wish.folder})
        keys = declared.model_dump(exclude_none=True)
        say(device.describe())
        say(device.plan())
        if dry_run:
            bench = ", runs bench there (about a minute)" if with_bench and wish.measures else ""
            say(f"then makes it known as {name!r}, runs doctor there{bench}")
            say("nothing was changed (--dry-run)")
            return {"name": name, "target": keys, "plan": device.plan()}
        device.prepare()
    finally:
        ssh.close()
    file = remember(name, declared)
    say(f"{name}: known in {file}")
    found = checked(target, declared, wish, with_bench=with_bench and wish.measures)
    return {"name": name, "target": keys, "file": str(file), **found}


def checked(
    target: Known, declared: DeclaredTarget, wish: Wish, *, with_bench: bool
) -> dict[str, Json]:
    """Run doctor on a machine, and measure it if the store has no profile of it.

    Args:
        target: It.
        declared: Its keys.
        wish: What it must be able to do; without runtimes, it measures with those there.
        with_bench: Whether it is measured.

    Raises:
        UsageError: It cannot be reached, or something that it needs is missing.
    """
    name, say = target.name, target.say
    opened = open_target(name, {name: declared}, target.store_root)
    found: dict[str, Json] = {"passes": [], "profile": None, "measured": False}
    try:
        say(f"{name}: doctor")
        if wish.builds:
            passes = buildable_passes()
            found |= {"doctor": _fit(opened, BUILD, passes, target), "passes": [*passes]}
            other = differences(opened, passes)
            if other:
                raise UsageError(
                    f"{name} cannot build for this machine: {'; '.join(other)}",
                    hint="Install the same versions on both; then the same command again.",
                )
        if wish.measures:
            builds = {"builds": found["doctor"]} if wish.builds else {}
            found |= builds | {"doctor": _fit(opened, MEASURE, wish.runtimes, target)}
            why = check_provider("cuda", opened.info()) if wish.gpu else None
            if why is not None:
                raise UsageError(f"{name}: {why}", hint="Does `nvidia-smi` list its GPU there?")
        if with_bench:
            found |= _measured(opened, found["doctor"]["device"]["fingerprint"], target)
        return found
    finally:
        opened.close()


def _fit(opened: Target, role: str, wanted: Sequence[str], target: Known) -> dict[str, Json]:
    """Return doctor's report on a machine that can fill a role.

    Raises:
        UsageError: It cannot.
    """
    report = report_of(opened, role, wanted)
    target.say(render(report))
    if not report["ok"]:
        again = "" if role == MEASURE else f" --does {role}"
        raise UsageError(
            f"{target.name} cannot {role}: {'; '.join(lacking(report))}",
            hint=f"Install it there; then: paretune target check {target.name}{again}",
        )
    return report


def _measured(opened: Target, fingerprint: str, target: Known) -> dict[str, Json]:
    """Measure a device if the store has no profile of it."""
    file = profile_file(target.store_root, fingerprint)
    try:
        profile = DeviceProfile.load(target.store_root, fingerprint)
    except StateError:  # measuring again replaces a damaged one
        profile = None
    if profile is not None:
        again = f"paretune bench --target {target.name}"
        target.say(f"{target.name}: measured at {profile.when}, kept in {file}; again: {again}")
        return {"profile": str(file), "measured": False}
    target.say(f"{target.name}: bench, about a minute")
    measured = bench_device(opened, target.store_root, target.say)
    target.say(render_figures(measured))
    target.say(f"{target.name}: kept in {measured['kept']}")
    return {"profile": measured["kept"], "measured": True}
