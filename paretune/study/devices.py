"""The devices of a study with several: their folders, and what each found.

``STUDY/devices.json`` names the devices in order. The first one's study is ``STUDY`` itself, that
of each further one is ``STUDY/devices/NAME``.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from paretune.core.errors import StateError, UsageError
from paretune.core.jsontools import Json, read_json, write_json
from paretune.study.across import across
from paretune.study.reading import reading
from paretune.study.results import Results, read_results

FILE = "devices.json"
LEASES = "leases.jsonl"
"""What ran on which machine, from when to when (`paretune.core.machines`)."""
_SCHEMA = 1
_MAIN = "."
_OF_DEVICE = ("pareto", "best", "nearest_miss", "sensors", "repeats")


@dataclass(frozen=True)
class DeviceFolder:
    """A device of a study.

    Attributes:
        name: The target's name.
        folder: Where its study is, relative to the study of all.
    """

    name: str
    folder: str

    @property
    def is_main(self) -> bool:
        """Whether its study is the study of all."""
        return self.folder == _MAIN


def device_folder(name: str) -> str:
    """Return where the study of a further device is, relative to the study of all."""
    safe = quote(name, safe="")
    return f"devices/{safe if safe.strip('.') else safe.replace('.', '%2E')}"


def read_devices(study: Path) -> tuple[DeviceFolder, ...]:
    """Return the devices of a study with several, in order; of one with one device, none.

    Raises:
        StateError: The file that names them cannot be read.
    """
    file = study / FILE
    if not file.is_file():
        return ()
    with reading(file, "Remove it: the same `paretune search` writes it again."):
        found = read_json(file)
        return tuple(
            DeviceFolder(str(entry["name"]), _inside(str(entry["folder"])))
            for entry in found["devices"]
        )


def _inside(folder: str) -> str:
    if folder != _MAIN and Path(folder).parts[:1] != ("devices",):
        raise ValueError(f"{folder!r} is not a folder of a device")
    if ".." in Path(folder).parts:
        raise ValueError(f"{folder!r} leads out of the study")
    return folder


def arranged(study: Path, names: Sequence[str]) -> tuple[DeviceFolder, ...]:
    """Return the devices that a search measures on, in the order of the study.

    Args:
        study: The study; one of a single device becomes one of several.
        names: The devices that are configured, in order.

    Raises:
        UsageError: The study's main device is not among them.
        StateError: The file that names the study's devices cannot be read.
    """
    known = read_devices(study)
    main = known[0].name if known else _only_device(study) or names[0]
    if main not in names:
        raise UsageError(
            f"study {str(study)!r} is of the device {main!r}, which is not in `target:` "
            f"({', '.join(names)})",
            hint="Put it back into the list, or begin a new study with --study DIR.",
        )
    before = [device.name for device in known]
    order = [main, *(n for n in before if n in names and n != main)]
    order += [name for name in names if name not in order]
    return tuple(
        DeviceFolder(name, _MAIN if name == main else device_folder(name)) for name in order
    )


def keep_devices(study: Path, devices: Sequence[DeviceFolder]) -> None:
    """Write the devices of a study; those that it had before stay in the file."""
    names = {device.name for device in devices}
    rest = [device for device in read_devices(study) if device.name not in names]
    entries = [{"name": d.name, "folder": d.folder} for d in (*devices, *rest)]
    write_json(study / FILE, {"schema": _SCHEMA, "devices": entries})


def _only_device(study: Path) -> str | None:
    """Return the device of a study of one; None: there is no study yet."""
    file = study / "device.json"
    if not file.is_file() or next(study.glob("candidates/*/outcome.json"), None) is None:
        return None
    with reading(file, "Put it back, or begin a new study with --study DIR."):
        return str(read_json(file).get("name", "local"))


def _written(study: Path) -> Results:
    return read_results(study / "results.json")


def with_other_devices(
    results: Results, study: Path, read: Callable[[Path], Results] = _written
) -> Results:
    """Return a results document with what the study's other devices found.

    Args:
        results: Of the main device.
        study: The study of all.
        read: Returns the document of a device's own study.
    """
    devices = read_devices(study)
    if len(devices) < 2:
        return results
    found: dict[str, dict[str, Json]] = {}
    known: dict[str, Results] = {}
    listed = {row.id for row in results.candidates}
    for device in devices:
        try:
            own = results if device.is_main else read(study / device.folder)
        except (StateError, UsageError):  # it has not got that far
            continue
        found[device.name] = _entry(own, device, listed)
        if _asked(own) == _asked(results):
            known[device.name] = own
        else:  # it was left out of the list when they were changed
            limits = ", ".join(sorted(c.text for c in own.constraints)) or "none"
            wanted = ", ".join(f"{o.direction} {o.metric}" for o in own.objectives)
            found[device.name]["not_compared"] = (
                f"its search had other objectives or limits ({wanted}; limits: {limits})"
            )
    return Results.from_json({**results.to_json(), "devices": found, **across(known)})


def _asked(results: Results) -> Json:
    """Return what decides which candidates are feasible and which one is picked."""
    limits = sorted([c.metric, c.op, c.text or c.value] for c in results.constraints)
    return [[o.to_json() for o in results.objectives], limits, results.prefer]


def _entry(results: Results, device: DeviceFolder, listed: Container[int]) -> dict[str, Json]:
    """Return what a device found, made of the results document of its own study.

    Args:
        results: That document.
        device: The device.
        listed: Numbers of the main device's candidates, which need no description here.
    """
    rows = [entry.to_json() for entry in results.candidates]
    whole = results.to_json()
    return {
        "device": whole["device"],
        "status": results.status,
        "folder": device.folder,
        "metrics": {str(row["id"]): row["metrics"] for row in rows if row["metrics"]},
        "outcomes": {
            str(row["id"]): {key: row[key] for key in ("outcome", "rung", "reason", "feasible")}
            for row in rows
        },
        "candidates": {
            str(row["id"]): {key: row[key] for key in ("recipe", "runtime")}
            for row in rows
            if row["id"] not in listed
        },
        **{key: whole[key] for key in _OF_DEVICE if key in whole},
    }
