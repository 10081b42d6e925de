"""`target:` as a list: what a study does on each of several targets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from paretune.config.runtimes import RuntimeChoice, tried_anywhere
from paretune.config.schema import DeclaredTarget, TargetSection, TargetUse
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Wrong
from paretune.core.errors import nearest
from paretune.core.jsontools import Json
from paretune.core.resources import physical_cores

DECLARE = (
    "Declare it under `targets:`, such as `targets: {board: {ssh: HOST}}`, or make it known: "
    "`paretune target add HOST`."
)
_BUILDS, _MEASURES = ("build", "both"), ("measure", "both")


@dataclass(frozen=True)
class DeviceUse:
    """A device that measures, as it was written.

    Attributes:
        name: The target's name.
        providers: Execution providers to try.
        threads: Thread counts to try; empty: the default.
        path: The key that holds the settings.
    """

    name: str
    providers: tuple[str, ...]
    threads: tuple[int, ...]
    path: KeyPath = ("target",)


def device_uses(target: TargetSection | Sequence[TargetUse]) -> tuple[DeviceUse, ...]:
    """Return the devices that measure, in order; of a list without any, what stands for one.

    Args:
        target: ``target:``, in either form.
    """
    if isinstance(target, TargetSection):
        name = target.measure or target.name
        return (DeviceUse(name, tuple(target.providers), tuple(target.threads)),)
    found = tuple(
        DeviceUse(use.name, tuple(use.providers or ("cpu",)), tuple(use.threads or ()), path)
        for i, use in enumerate(target)
        if use.does != "build"
        for path in [("target", i)]
    )
    return found or device_uses(TargetSection())


def tried_on(
    use: DeviceUse, choices: Sequence[RuntimeChoice]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the providers and thread counts that are tried on a device with any runtime."""
    threads = tuple(dict.fromkeys(use.threads)) or (physical_cores(),)
    providers = tuple(dict.fromkeys(use.providers))
    return (
        tried_anywhere(choices, "provider", providers),
        tried_anywhere(choices, "threads", threads),
    )


def resolved(use: TargetUse, declared: Collection[str]) -> TargetUse:
    """Return an entry with what it does filled in."""
    does = use.does or ("measure" if use.name in declared else "both")
    return use.model_copy(update={"does": does})


def builders(uses: Sequence[TargetUse]) -> list[TargetUse]:
    """Return the entries that build."""
    return [use for use in uses if use.does in _BUILDS]


def measurers(uses: Sequence[TargetUse]) -> list[TargetUse]:
    """Return the entries that measure."""
    return [use for use in uses if use.does in _MEASURES]


def to_json(
    use: TargetUse, settings: Mapping[str, tuple[Sequence[str], Sequence[int]]]
) -> dict[str, Json]:
    """Return an entry with everything filled in.

    Args:
        use: The entry.
        settings: By name of each device, the providers and thread counts that it tries.
    """
    entry: dict[str, Json] = {"name": use.name, "does": use.does}
    if use.slots is not None:
        entry["slots"] = use.slots
    if use.does in _MEASURES:
        providers, threads = settings[use.name]
        entry |= {"providers": list(providers), "threads": list(threads)}
    return entry


def of_one_device(target: Json) -> dict[str, Json]:
    """Return a resolved ``target:`` in the form for one device: the first one that measures."""
    if not isinstance(target, list):
        return dict(target or {})
    build = next(entry["name"] for entry in target if entry["does"] in _BUILDS)
    first = next(entry for entry in target if entry["does"] in _MEASURES)
    settings = {key: first[key] for key in ("providers", "threads")}
    if build == first["name"]:
        return {"name": build, **settings}
    return {"build": build, "measure": first["name"], **settings}


def check_uses(
    uses: Sequence[TargetUse],
    known: Sequence[str],
    declared: Mapping[str, DeclaredTarget],
    wrong: Wrong,
) -> None:
    """Report what contradicts itself in a list of targets.

    Args:
        uses: The entries (`resolved`).
        known: Names that an entry may have.
        declared: The targets that the configuration declares.
        wrong: Takes a key, what is wrong and what to do.
    """
    first: dict[str, int] = {}
    for i, use in enumerate(uses):
        path: KeyPath = ("target", i)
        if use.name not in known:
            near = nearest(use.name, known)
            hint = near if declared else f"{near} {DECLARE}"
            wrong((*path, "name"), f"no target named {use.name!r}", hint)
            continue
        if use.name in first:
            wrong(
                (*path, "name"),
                f"{use.name!r} stands in entries {first[use.name] + 1} and {i + 1}: expected one "
                "entry for each target",
                "Put both into one entry: `does: both` builds and measures there.",
            )
            continue
        first[use.name] = i
        _check_use(use, path, use.name in declared, wrong)
    if len(first) < len(uses):
        return
    _check_roles(uses, wrong)


def _check_use(use: TargetUse, path: KeyPath, declared: bool, wrong: Wrong) -> None:
    if use.does == "measure" and use.slots is not None:
        wrong(
            (*path, "slots"),
            f"{use.name!r} does not build, and slots are builds at the same time; a device always "
            "measures one at a time",
            "Leave `slots` out, or write `does: both`.",
        )
    if use.does == "build":
        for key in ("providers", "threads"):
            if getattr(use, key) is not None:
                wrong(
                    (*path, key),
                    f"{use.name!r} does not measure, and {key} are what is tried on a device",
                    f"Leave `{key}` out, or write `does: both`.",
                )
    if declared and use.does in _MEASURES and not use.threads:
        wrong(
            (*path, "threads"),
            f"is missing: this machine does not know the number of cores of {use.name!r}",
            "Write the thread counts to try, such as `threads: [1, 2]`.",
        )


def _check_roles(uses: Sequence[TargetUse], wrong: Wrong) -> None:
    build, names = builders(uses), ", ".join(repr(use.name) for use in uses)
    if not measurers(uses):
        wrong(
            ("target",),
            f"no entry measures ({names}): expected at least one",
            "Write `does: both`, or add the device that the model is chosen for.",
        )
    if not build:
        wrong(
            ("target",),
            f"no entry builds ({names}): expected at least one",
            "Add `- {name: local, does: build}`.",
        )
