"""How the devices of a study compare: each one's pick on all of them, and what it costs there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paretune.reporting.answer import number, shipped
from paretune.study.repeats_entry import sentences as seed_sentences
from paretune.study.results import Results
from paretune.study.results_across import AcrossEntry, PickOnDevice, ReachedValue


@dataclass(frozen=True)
class Cell:
    """What a pick reaches on a device.

    Attributes:
        lines: Its objectives, each with what it costs.
        note: Which candidate it is there, or why there is none.
        own: Whether it is the device's own pick.
    """

    lines: tuple[str, ...]
    note: str
    own: bool


@dataclass(frozen=True)
class Row:
    """A device's pick.

    Attributes:
        of: The device.
        id: The candidate.
        cells: By device, in order.
    """

    of: str
    id: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class DevicesSection:
    """The table of devices.

    Attributes:
        devices: Their names, in order.
        rows: A pick each.
        sentences: What follows from it.
    """

    devices: tuple[str, ...]
    rows: tuple[Row, ...]
    sentences: tuple[str, ...]


def devices_section(results: Results) -> DevicesSection | None:
    """Return what the report says of several devices; None if there is one."""
    if len(results.devices) < 2:
        return None
    names = tuple(n for n, device in results.devices.items() if device.not_compared is None)
    rows = tuple(
        Row(pick.of, pick.id, tuple(_cell(pick, name) for name in names)) for pick in results.picks
    )
    return DevicesSection(names, rows, tuple(_together(results)))


def device_sentences(results: Results) -> list[str]:
    """Return what to ship on each further device, and what one pick for all would cost."""
    if len(results.devices) < 2:
        return []
    main, *further = results.devices
    told = [f"This is the answer for {main}, the first device."]
    known = {row.id: row for row in results.candidates}
    for name in further:
        best, status = results.devices[name].best, results.devices[name].status
        if results.devices[name].not_compared is not None:
            continue
        if best is None:
            told.append(f"On {name}, no candidate meets every constraint.")
        else:
            pick = known.get(best) or results.devices[name].candidates.get(str(best))
            what = "" if pick is None else f": {shipped(pick)}"
            told.append(f"On {name}, ship candidate {best}{what}.")
        if status != "finished":
            told[-1] += " Its search was not finished."
        wanted = [o.metric for o in results.objectives]
        told += [
            f"On {name}: {line}" for line in seed_sentences(results.devices[name].repeats, wanted)
        ]
    return [*told, *_together(results)]


def _together(results: Results) -> list[str]:
    """Return a sentence on each device that is not compared, and one on a model for the others."""
    told = [
        f"{name} is not compared: {device.not_compared}. Put it back into `target:`, and the same "
        "command searches it by those of today."
        for name, device in results.devices.items()
        if device.not_compared is not None
    ]
    if len(results.picks) < 2:
        return told
    chosen = results.one_for_all
    if chosen is None:
        return [
            *told,
            "What one model for all devices would cost is not known: no pick was measured "
            "completely, and meets every constraint, on all of them.",
        ]
    whose = f"candidate {chosen.id} (the pick for {chosen.of})"
    if not chosen.worst:
        return [*told, f"One model serves all devices without loss: {whose}."]
    return [
        *told,
        f"If one model is to serve all devices, {whose} costs least: at most "
        f"{chosen.worst:.1%} against a device's own pick ({chosen.metric} on {chosen.device}).",
    ]


def _cell(pick: AcrossEntry, name: str) -> Cell:
    there = pick.on[name]
    if there.id is None:
        return Cell((), f"not known: {there.reason}", own=False)
    own = pick.of == name
    lines = tuple(
        f"{metric} {number(value.value)}{'' if own else _cost(value)}"
        for metric, value in there.values.items()
    )
    return Cell(lines, _note(pick, there), own)


def _note(pick: AcrossEntry, there: PickOnDevice) -> str:
    notes: Sequence[str] = (
        *(() if there.id == pick.id else (f"as candidate {there.id}, with other settings",)),
        *(() if there.feasible else ("does not meet every constraint there",)),
    )
    return "; ".join(notes)


def _cost(value: ReachedValue) -> str:
    if value.cost is None:
        return " (cost not known)"
    if value.cost == 0:
        return " (the same)"
    said = f"{abs(value.cost):.1%} {'worse' if value.cost > 0 else 'better'}"
    if value.cost_low is None or value.cost_high is None:
        return f" ({said})"
    if value.cost_low <= 0 <= value.cost_high:
        ends = f"{-value.cost_low:.1%} better to {value.cost_high:.1%} worse"
        return f" ({said}, within the noise: {ends})"
    near, far = sorted((abs(value.cost_low), abs(value.cost_high)))
    return f" ({said}: {near:.1%} to {far:.1%})"
