"""Makes a device behind ssh known: prepares it, checks it, and measures it once."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from paretune.bench.device import bench_device
from paretune.bench.device import render as render_figures
from paretune.cli.doctor_checks import MEASURE, lacking, render, report_of
from paretune.config.known_targets import known_targets, remember
from paretune.config.schema import DeclaredTarget, TargetSection
from paretune.config.targets import open_target, read_targets
from paretune.core.device_profile import DeviceProfile, profile_file
from paretune.core.errors import StateError, UsageError, nearest
from paretune.core.jsontools import Json
from paretune.core.target import Target
from paretune.registry import names
from paretune.targets.launchers.provision import Device, Wish
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
        UsageError: The name, the host or a runtime is not valid, or the name is taken.
    """
    for runtime in wish.runtimes:
        if runtime not in names("runtimes"):
            raise UsageError(
                f"no runtime named {runtime!r}", hint=nearest(runtime, names("runtimes"))
            )
    if wish.wheelhouse is not None and not wish.wheelhouse.is_dir():
        raise UsageError(
            f"there is no folder {str(wish.wheelhouse)!r}", hint="Give a folder with wheels."
        )

    def wrong(_: object, message: str, hint: str | None) -> None:
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
        with_bench: Whether its own figures are measured, if the store has none.
        dry_run: Whether it is only examined.

    Returns:
        ``{"name", "target": its keys, "file", "doctor": its report, "profile": file or null,
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
            bench = ", runs bench there (about a minute)" if with_bench else ""
            say(f"then makes it known as {name!r}, runs doctor there{bench}")
            say("nothing was changed (--dry-run)")
            return {"name": name, "target": keys, "plan": device.plan()}
        device.prepare()
    finally:
        ssh.close()
    file = remember(name, declared)
    say(f"{name}: known in {file}")
    found = checked(target, declared, wish, with_bench=with_bench)
    return {"name": name, "target": keys, "file": str(file), **found}


def checked(
    target: Known, declared: DeclaredTarget, wish: Wish | None = None, *, with_bench: bool
) -> dict[str, Json]:
    """Run doctor on a device, and measure it if the store has no profile of it.

    Args:
        target: It.
        declared: Its keys.
        wish: What it must be able to run; None: whatever is installed there.
        with_bench: Whether it is measured.

    Raises:
        UsageError: It cannot be reached, or something that a measuring device needs is missing.
    """
    name, say = target.name, target.say
    opened = open_target(name, {name: declared}, target.store_root)
    try:
        say(f"{name}: doctor")
        wanted = () if wish is None else tuple(wish.runtimes)
        doctor = report_of(opened, MEASURE, wanted)
        say(render(doctor))
        if not doctor["ok"]:
            raise UsageError(
                f"{name} cannot measure: {'; '.join(lacking(doctor))}",
                hint=f"Install it there; then: paretune target check {name}",
            )
        found: dict[str, Json] = {"doctor": doctor, "profile": None, "measured": False}
        if not with_bench:
            return found
        return {**found, **_measured(opened, doctor["device"]["fingerprint"], target)}
    finally:
        opened.close()


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
