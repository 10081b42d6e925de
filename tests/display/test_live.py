import io

import pytest
from rich.console import Console

from paretune.core.os_errors import printable
from paretune.core.progress import Progress as Step
from paretune.display.live import Opening, Panel, Plain, clock
from paretune.search.progress import Point, Progress
from tests.reporting.test_page import OUTCOMES


def test_the_panel_shows_what_runs_and_keeps_still_while_timing() -> None:
    screen = io.StringIO()
    panel = Panel(Console(file=screen, force_terminal=True, width=100, height=24))
    panel.start(Opening("tone", 12, 600.0, 3))
    panel.candidate(4, OUTCOMES[1].candidate)
    panel.timing(True)
    before = screen.getvalue()
    panel.step(Step("generation:full", 1, 5))
    assert screen.getvalue() == before
    panel.timing(False)
    points = (Point(62.0, 1, 1, {}, 0.9), Point(400.0, 2, 2, {}, 1.0))
    panel.so_far(Progress(points), 425.0)
    panel.outcome(OUTCOMES[1], OUTCOMES[1], 1)
    panel.finish(["the end"])
    shown = screen.getvalue()
    for told in (
        "searching tone",
        "continuing after 3",
        "4: genai(precision=int8)",
        "9:59 left",
        "accuracy 0.89",
        "best found at 6:40 of 7:05; the last 5:00 gained 10.0% of the hypervolume",
        "the end",
    ):
        assert told in shown


def test_plain_lines_carry_no_control_characters(capsys: object) -> None:
    plain = Plain()
    plain.start(Opening("s", in_common={("genai", "precision"): "int8"}))
    plain.outcome(OUTCOMES[3], None, 0)
    shown = capsys.readouterr().out  # type: ignore[attr-defined]
    assert "\x1b" not in shown
    assert "invalid" in shown
    assert "because" in shown
    assert "the same in all candidates: genai.precision=int8" in shown
    assert "genai @ cpu x2" in shown


def test_times_and_texts() -> None:
    assert (clock(5), clock(65), clock(3661)) == ("0:05", "1:05", "1:01:01")
    assert printable("a\x1b[31mb\n") == "a [31mb "


def test_the_panel_names_the_device_of_the_best() -> None:
    """Another device may be the one that was told of last."""
    screen = io.StringIO()
    panel = Panel(Console(file=screen, force_terminal=True, width=100, height=24))
    panel.start(Opening("tone"))
    panel.device = "board"
    panel.outcome(OUTCOMES[1], OUTCOMES[1], 1)
    panel.so_far(Progress((Point(62.0, 1, 1, {}, 0.9),)), 425.0)
    panel.device = "laptop"
    panel.candidate(4, OUTCOMES[1].candidate)
    panel.finish([])
    shown = screen.getvalue()
    assert f"board: {OUTCOMES[1].id}: genai(" in shown
    assert "board: best found at 1:02" in shown
    assert "laptop: 4: genai(" in shown


def test_what_is_left_is_counted_from_the_start_of_the_search(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device may take a minute to be reached before."""
    now = 1000.0
    monkeypatch.setattr("paretune.display.live.time.monotonic", lambda: now)
    screen = io.StringIO()
    panel = Panel(Console(file=screen, force_terminal=True, width=100, height=24))
    plain = Plain()
    now = 1060.0
    plain.start(Opening("tone", 12, 600.0))
    panel.start(Opening("tone", 12, 600.0))
    now = 1065.0
    panel.candidate(4, OUTCOMES[1].candidate)
    panel.finish([])
    plain.outcome(OUTCOMES[1], None, 0)
    assert "0:05 passed, 9:55 left" in screen.getvalue()
    assert "\n0:05  " in capsys.readouterr().out
