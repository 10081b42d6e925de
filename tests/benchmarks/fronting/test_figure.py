"""The figure of the front is whole XML with a mark per timed variant."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from fronting.figure import draw

_CIRCLE = "{http://www.w3.org/2000/svg}circle"


def test_a_mark_per_timed_variant_that_says_what_it_is(tmp_path: Path) -> None:
    rows = {
        "paretune: a & b": {"maker": "paretune", "name": "a & b"},
        "Olive: c": {"maker": "Olive", "name": "c", "outside": "a reason"},
        "not timed": {"maker": "Olive", "name": "d", "kl_per_token": 1.0},
    }
    for place, name in enumerate(list(rows)[:2]):
        rows[name] |= {"kl_per_token": 0.1 * place + 0.0, "token_ms_p50": 5.0 + place}
    path = draw(rows, ["paretune: a & b"], tmp_path / "front.svg")
    root = ElementTree.parse(path).getroot()
    titles = [each[0].text for each in root.iter(_CIRCLE) if len(each)]
    assert [title.split(":")[0] for title in titles if title] == ["paretune", "Olive"]
