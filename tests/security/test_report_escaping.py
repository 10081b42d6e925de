"""Text from models, data and logs stays text in the report: the page has the same parts without."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from paretune.reporting.page import write_report
from paretune.study.results import Results
from tests.security.documents import document
from tests.security.hostile import CONTROLS, MARKUP


class Page(HTMLParser):
    """Keeps a page's elements with their attributes' names, its texts, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[tuple[str, ...]] = []
        self.attributes: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._within: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append((tag, *(name for name, _ in attrs)))
        self.attributes += [value or "" for _, value in attrs]
        self._within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.parts.append((f"/{tag}",))
        self._within = []

    def handle_comment(self, data: str) -> None:
        self.parts.append(("!--",))

    def handle_decl(self, decl: str) -> None:
        self.parts.append(("!", decl))

    def handle_pi(self, data: str) -> None:
        self.parts.append(("?",))

    def handle_data(self, data: str) -> None:
        (self.scripts if self._within[-1:] == ["script"] else self.texts).append(data)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Page]:
    """Return a function that makes a report of a text and reads it, without Plotly's megabytes."""
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "// plotly")

    def read(text: str) -> Page:
        write_report(Results.from_json(document(text, text)), tmp_path / "r.html", {"paired": {}})
        return Page((tmp_path / "r.html").read_text(encoding="utf-8"))

    return read


@pytest.mark.parametrize("text", [*MARKUP, *CONTROLS, "".join(MARKUP)])
def test_no_element_and_no_attribute_comes_from_a_text(
    page: Callable[..., Page], text: str
) -> None:
    found, plain = page(text), page("plain")
    assert found.parts == plain.parts
    assert len(found.scripts) == len(plain.scripts)


@pytest.mark.parametrize("text", [t for t in MARKUP if "\u2028" not in t])
def test_a_text_is_shown_as_it_is(page: Callable[..., Page], text: str) -> None:
    found = page(text)
    assert text in found.texts  # the reason, as a cell of its own
    assert text in found.attributes  # the reason of a missing value, as a title


_BROWSER = """
const elements = {};
const element = id => elements[id] ||= { value: "", addEventListener() {}, rows: [], append() {} };
globalThis.document = { getElementById: element, querySelector: () => element("body"),
  querySelectorAll: () => [], documentElement: {} };
globalThis.getComputedStyle = () => ({ getPropertyValue: () => "#000" });
globalThis.Plotly = {
  react: (_, traces, layout) => console.log(JSON.stringify({ traces, layout })) };
"""


@pytest.fixture
def drawn(page: Callable[..., Page]) -> Any:
    """What Plotly is handed by the script of a hostile report."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not here to run the report's script")
    (script,) = [s for s in page("".join(MARKUP)).scripts if "Plotly.react" in s]
    ran = subprocess.run(
        [node, "-"], input=_BROWSER + script, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_labels_of_marks_hold_no_markup_but_their_own(drawn: Any) -> None:
    """Plotly draws a few elements (b, i, a, br, ...) that it finds in a label."""
    labels = [label for trace in drawn["traces"] for label in trace["text"]]
    assert len(labels) == 2
    for label in labels:
        assert set(re.findall(r"<[^>]*>?", label)) == {"<b>", "</b>", "<br>"}
        assert label.count("<br>") == 2


def test_titles_of_axes_hold_no_markup(drawn: Any) -> None:
    for axis in ("xaxis", "yaxis"):
        assert "<" not in drawn["layout"][axis]["title"]["text"]
