"""What this machine can run, and what each missing piece needs, by what it is used for."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from paretune.bench.device import value_of
from paretune.core.device import TargetInfo
from paretune.core.distributions import normal, variants
from paretune.core.errors import ParetuneError, StateError, UsageError
from paretune.core.job import Call, Job, JobStatus, Limits
from paretune.core.jsontools import Json
from paretune.core.packages import (
    RUNTIMES,
    TOKENIZERS,
    WORKER,
    install_hint,
    is_installed,
    missing,
    requirements,
)
from paretune.core.target import Target
from paretune.core.user_paths import default_store
from paretune.registry import find, names
from paretune.runtimes.base import GENERATES
from paretune.targets.device.fingerprint import device, free_disk
from paretune.targets.device.providers import FLAVOURS, PROVIDERS, check_provider, clashes
from paretune.targets.launchers.local import LocalTarget

SEARCH, MEASURE, BUILD = "search", "measure", "build"
"""Roles: a machine that searches, builds and measures; one that only measures, or only builds."""
_TESTED_PYTHON = ((3, 11), (3, 13))
_LITTLE_MEMORY = {SEARCH: 4e9, BUILD: 4e9, MEASURE: 0.5e9}
_TO_TRAIN = "train a model of 135 million weights"
_MEMORY_FOR = {SEARCH: _TO_TRAIN, BUILD: _TO_TRAIN, MEASURE: "run a small model"}
_LITTLE_DISK = {SEARCH: 5e9, BUILD: 5e9, MEASURE: 1e9}
_VERDICTS = {
    SEARCH: ("A search can run here.", "Something that a search needs is missing."),
    MEASURE: ("Models can be measured here.", "Something that a measurement needs is missing."),
    BUILD: ("Models can be built here.", "Something that a build needs is missing."),
}
_COUNTED = ("Machine", "Workers", "Packages", "Passes")
"""Not the evaluators: few studies use those with packages of their own, and are refused without."""


def report(
    store_root: Path | str | None = None, role: str = SEARCH, wanted: Sequence[str] = ()
) -> dict[str, Json]:
    """Check this machine; takes some seconds, because a worker imports the runtimes.

    Args:
        store_root: The store to check; None: the default one.
        role: What it is judged for, `SEARCH`, `MEASURE` or `BUILD`.
        wanted: Runtimes that a device that measures must be able to run (empty: those that are
            installed, one at least); passes that a machine that builds must be able to run
            (empty: all).

    Returns:
        ``{"ok": bool, "role": str, "device": TargetInfo as JSON, "sections": {title: [{"name",
        "ok", "found", "needs"}, ...]}}``. ``ok`` is false if it cannot fill the role with the
        processor; a missing GPU does not count, nor does a package that one evaluator needs.
        ``needs`` says what to do about an item that is not ok.
    """
    store_root = None if store_root is None else Path(store_root)
    if store_root is None:
        with contextlib.suppress(StateError, UsageError):  # no home folder: told below
            store_root = default_store()
    with LocalTarget() as target:
        info = device(target.name, store_root)
        needed = _needed(role, wanted)
        runtimes = _ask_worker(target, needed)
    every = names("passes")
    asked = {SEARCH: every, BUILD: wanted or every, MEASURE: ()}[role]
    passes = {name: _plug_in("passes", name) for name in every}
    sections = {
        "Machine": _machine(info, store_root, role),
        "Workers": runtimes,
        "Packages": _packages(needed),
        "Execution providers": [_flavours(), *_providers(info)],
        "Passes": [i if name in asked else _not_needed(i) for name, i in passes.items()],
        "Evaluators": [_plug_in("evaluators", name) for name in names("evaluators")],
    }
    return {
        "ok": all(item["ok"] for title in _COUNTED for item in sections[title]),
        "role": role,
        "device": info.to_json(),
        "sections": sections,
    }


def report_of(target: Target, role: str = MEASURE, wanted: Sequence[str] = ()) -> dict[str, Json]:
    """Check the machine of a target: `report` runs there, with the target's store.

    Args:
        target: It.
        role: As in `report`.
        wanted: As in `report`.

    Raises:
        UsageError: The connection was lost, or the job failed for another transient cause.
        ParetuneError: It did not come to its end.
    """
    info = target.info()
    store: Path | None = getattr(target, "store", None)
    arguments: dict[str, Json] = {"role": role, "wanted": [*wanted]}
    if store is not None:
        arguments["store_root"] = str(store)
    call = Call("paretune.cli.doctor_checks:report", arguments)
    found: dict[str, Json] = value_of(target, Job(call, Limits(seconds=300.0)))
    return {**found, "device": info.to_json()}


def _needed(role: str, wanted: Sequence[str]) -> frozenset[str] | None:
    """Return the distributions that a role needs; None: all that a search uses."""
    if role == SEARCH:
        return None
    if role == MEASURE:
        return needed_to_measure(wanted)
    used = map(_packages_of, wanted or names("passes"))
    return frozenset({*WORKER, *TOKENIZERS}.union(*used))


def _packages_of(name: str) -> Sequence[str]:
    """Return the distributions that a pass needs; none of one that its own item reports."""
    try:
        found: Sequence[str] = getattr(find("passes", name), "packages", ())
    except (ImportError, ParetuneError):
        return ()
    return found


def needed_to_measure(wanted: Sequence[str]) -> frozenset[str]:
    """Return the distributions that a device needs to measure.

    Args:
        wanted: Runtimes that it must be able to run; empty: those that are installed, or
            onnxruntime.
    """
    runtimes = {name: find("runtimes", name) for name in names("runtimes")}
    first = {name: [group[0] for group in r.packages] for name, r in runtimes.items()}
    there = [name for name, packages in first.items() if packages and not missing(packages)]
    chosen = [*wanted] or there or ["onnxruntime"]
    text = any(GENERATES in runtimes[name].offers for name in chosen)
    packages = {package for name in chosen for package in first[name]}
    return frozenset({*WORKER, *packages, *(TOKENIZERS if text else ())})


def lacking(found: Mapping[str, Json]) -> list[str]:
    """Return what is missing for the role of a report, with what each needs."""
    return [
        f"{item['name']}: {item['found']} (needs: {item['needs']})"
        for title in _COUNTED
        for item in found["sections"][title]
        if not item["ok"]
    ]


def render(found: dict[str, Json]) -> str:
    """Return a report as lines of text."""
    lines = []
    for title, items in found["sections"].items():
        lines += ["", title]
        width = max(len(item["name"]) for item in items) + 2
        for item in items:
            lines.append(
                f"  {'ok' if item['ok'] else '--'}  {item['name']:<{width}}{item['found']}"
            )
            if not item["ok"]:
                lines.append(f"      {'':<{width}}needs: {item['needs']}")
    verdict = _VERDICTS[found["role"]][0 if found["ok"] else 1]
    return "\n".join([*lines[1:], "", verdict])


def _item(name: str, found: str, needs: str | None = None) -> dict[str, Json]:
    return {"name": name, "ok": needs is None, "found": found, "needs": needs}


def _not_needed(item: dict[str, Json]) -> dict[str, Json]:
    """Return an item that the role does not need, whether it is there or not."""
    if item["ok"]:
        return item
    return _item(item["name"], f"{item['found']} (incomplete, and not needed)")


def _machine(info: TargetInfo, store_root: Path | None, role: str = SEARCH) -> list[Json]:
    first, last = _TESTED_PYTHON
    python_fits = sys.version_info[:2] >= first
    tested = first <= sys.version_info[:2] <= last
    items = [
        _item("system", info.os + ("" if sys.platform == "linux" else " (only Linux is tested)")),
        _item(
            "python",
            info.python + ("" if tested else " (newer than the tested versions)"),
            None if python_fits else "Python 3.11 or later",
        ),
        _item("processor", info.processor),
        _item("cores", f"{info.cores} physical, {info.logical_cores} logical available"),
        _item("instructions", ", ".join(info.flags) or "unknown"),
        _item(
            "memory",
            f"{info.memory / 1e9:.1f} GB, {info.memory_free / 1e9:.1f} GB free",
            None
            if info.memory_free >= _LITTLE_MEMORY[role]
            else f"{_LITTLE_MEMORY[role] / 1e9:.3g} GB free to {_MEMORY_FOR[role]}",
        ),
        _item("GPUs", ", ".join(info.gpus) or "none"),
    ]
    return [*items, _store(store_root, role)]


def _store(root: Path | None, role: str = SEARCH) -> dict[str, Json]:
    """Check whether the store can be written, without creating it."""
    if root is None:
        needs = "a folder: --store DIR or $PARETUNE_STORE (this user has no home folder)"
        return _item("store", "none", needs)
    folder = root.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = free_disk(folder)
    shown = f"{root}, {free / 1e9:.1f} GB free"
    if not os.access(folder, os.W_OK | os.X_OK):
        return _item("store", shown, "a folder that can be written: --store DIR or $PARETUNE_STORE")
    if free < _LITTLE_DISK[role]:
        return _item(
            "store",
            shown,
            f"{_LITTLE_DISK[role] / 1e9:.0f} GB of free disk space, or --store DIR on another disk",
        )
    return _item("store", shown)


def import_runtime(module: str) -> dict[str, Json]:
    """Import one runtime in a worker and return its version and providers."""
    imported = __import__(module)
    if module == "onnxruntime":
        providers = [
            name.removesuffix("ExecutionProvider") for name in imported.get_available_providers()
        ]
        return {"found": f"{imported.__version__}, offers {', '.join(providers)}"}
    return {"found": str(getattr(imported, "__version__", "imported"))}


def _ask_worker(target: LocalTarget, needed: Container[str] | None) -> list[Json]:
    """Import each runtime in its own worker, so that a broken one affects nothing else.

    Args:
        target: Starts the workers.
        needed: Distributions that must be there; None: all.
    """
    items = []
    for module in RUNTIMES:
        name = module.replace("_", "-")
        if needed is not None and not is_installed(name):
            lacks = f"pip install {name}" if name in needed else None
            items.append(_item(module, "absent" if lacks else "absent, not needed", lacks))
            continue
        call = Call("paretune.cli.doctor_checks:import_runtime", {"module": module})
        result = target.submit(Job(call, Limits(seconds=120.0))).result()
        if result.status is JobStatus.OK:
            items.append(_item(module, result.value["found"]))
        else:
            needs = "a repaired installation: pip install --force-reinstall paretune"
            items.append(_item(module, f"{result.status}: {result.reason}", needs))
    return items


def _packages(needed: Container[str] | None = None) -> list[Json]:
    """Compare the installed versions with those that paretune was released against.

    Args:
        needed: Distributions that must be there; None: all that a search uses.
    """
    from packaging.requirements import Requirement

    items: dict[str, Json] = {}
    for text in requirements():
        wanted = Requirement(text)
        if needed is not None and normal(wanted.name) not in needed:
            continue
        if wanted.marker is not None and not any(
            wanted.marker.evaluate({"extra": extra}) for extra in ("", *_extras())
        ):
            continue
        found, name = variants(wanted.name), normal(wanted.name)
        if found and name not in found:
            continue  # another variant does its work
        version = found.get(name)
        fits = version is not None and wanted.specifier.contains(version, prereleases=True)
        needs = f"pip install '{wanted.name}{wanted.specifier}'"
        items[wanted.name] = _item(wanted.name, version or "absent", None if fits else needs)
    items.pop("paretune", None)  # an extra that names others
    return list(items.values())


def _extras() -> tuple[str, ...]:
    """Return the extras that a search on this machine uses: one variant of the runtimes."""
    others = {"gpu": "onnxruntime-gpu", "directml": "onnxruntime-directml"}
    variant = next((extra for extra, name in others.items() if name in variants(name)), "cpu")
    return ("search", "train", "genai", variant)


def _flavours() -> dict[str, Json]:
    """Check that exactly one variant of each runtime is installed, and which."""
    every = [name for group in FLAVOURS for name in group if name in variants(name)]
    clashing = clashes(every)
    if not every:
        return _item("run-time", "none", "pip install 'paretune[cpu]'")
    if not clashing:
        return _item("run-time", ", ".join(every))
    # The last one of a group is the special one; the first came with paretune.
    kept = [group[-1] for group in clashing]
    exact = " ".join(f"{name}=={importlib.metadata.version(name)}" for name in kept)
    return _item(
        "run-time",
        f"{'; '.join(' and '.join(group) for group in clashing)} overwrite each other's files",
        f"one of them: pip uninstall -y {' '.join(n for group in clashing for n in group)} && "
        f"pip install --no-deps {exact}",
    )


def _providers(info: TargetInfo) -> list[Json]:
    items = []
    for name in PROVIDERS:
        why = check_provider(name, info)
        needs = None if why is None else why.partition("it needs ")[2]
        items.append(_item(name, "available" if why is None else "not available", needs))
    return items


def _plug_in(group: str, name: str) -> dict[str, Json]:
    """Check whether a plug-in can be imported and its packages are installed."""
    try:
        found = find(group, name)
    except (ImportError, ParetuneError) as error:
        return _item(name, "cannot be imported", f"{type(error).__name__}: {error}")
    absent = missing(getattr(found, "packages", ()))
    summary = (found.__doc__ or "").strip().partition("\n")[0]
    return _item(name, summary, install_hint(absent).removeprefix("Run: ") if absent else None)
