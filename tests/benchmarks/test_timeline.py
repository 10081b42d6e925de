"""The timeline of several devices: what it calls a conflict, and what it draws."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from timeline import Use, as_svg, as_text, conflicts, read

from paretune.core.machines import Machines, Work


def use(who: str, kind: str, begin: float, end: float, machine: str = "m") -> Use:
    return Use(machine, who, kind, "", begin, end)


def test_a_measurement_conflicts_with_whatever_runs_beside_it_on_its_machine() -> None:
    first, second = use("a", "measure", 0, 5), use("b", "measure", 4, 6)
    build, after = use("b", "build", 1, 9), use("a", "measure", 9, 10)
    assert conflicts([first, second]) == [(first, second)]
    assert conflicts([build, second, after]) == [(build, second)], "one ends as the other begins"
    assert conflicts([build, use("a", "build", 2, 3), use("a", "choose", 3, 4)]) == []
    assert conflicts([first, use("b", "measure", 0, 5, "another machine")]) == []
    long = use("a", "measure", 0, 100)
    inside = [use("b", "choose", at, at + 1) for at in range(1, 9, 2)]
    assert conflicts([long, *inside]) == [(long, each) for each in inside]


def test_what_the_machines_write_is_read_and_has_no_conflict(tmp_path: Path) -> None:
    machines = Machines(tmp_path / "leases.jsonl")
    for who, work in (("a", Work.MEASURE), ("b", Work.BUILD), ("b", Work.MEASURE)):
        with machines.use("m", who, work, f"{who} works"):
            pass
    uses = read(tmp_path / "leases.jsonl")
    assert [(each.who, each.kind) for each in uses] == [
        ("a", "measure"),
        ("b", "build"),
        ("b", "measure"),
    ]
    assert not conflicts(uses)


def test_it_is_drawn_with_a_row_for_each_device_and_kind() -> None:
    uses = [
        use("a", "measure", 0, 50),
        use("<b>", "measure", 50, 100),
        use("a", "build", 100, 100.5),
    ]
    head, first, second, build = as_text(uses, width=100).splitlines()
    assert head == "100 s; a column is 1.0 s"
    assert first.startswith("a                  measure |" + "#" * 49)
    assert second.partition("|")[2].startswith(" " * 49)
    assert build.count("#") == 1
    picture = ET.fromstring(as_svg(uses))
    assert sum(len(rect) for rect in picture.iter("{http://www.w3.org/2000/svg}rect")) == 3
    titles = [title.text for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert "<b>: measure , 50.00 s" in titles
