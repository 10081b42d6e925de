"""The front, whose it is, and the goals, of rows with known figures."""

from __future__ import annotations

from typing import Any

import pytest
from fronting.comparing import beside_peers, compared, fastest_within_loss, front, share_of_front


def _row(maker: str, ms: float, kl: float, perplexity: float = 10.0) -> dict[str, Any]:
    return {"maker": maker, "token_ms_p50": ms, "kl_per_token": kl, "perplexity": perplexity}


ROWS = {
    "fast": _row("Olive", 5.0, 0.4, 12.0),
    "ours": _row("paretune", 5.05, 0.15, 10.4),
    "worse": _row("llama.cpp", 8.0, 0.2, 10.3),
    "fine": _row("OpenVINO", 10.0, 0.01, 10.1),
    "slow": _row("paretune", 20.0, 0.004, 10.0),
}


def test_a_row_of_equal_speed_and_less_kl_beats() -> None:
    # 5.05 ms is the same speed as 5 within what processes differ by; 8 ms has more KL than 5.05.
    assert front(ROWS) == ["ours", "fine", "slow"]


def test_the_faster_member_owns_the_span_up_to_the_next() -> None:
    rows = {"a": _row("paretune", 1.0, 3.0), "b": _row("x", 2.0, 2.0), "c": _row("x", 8.0, 1.0)}
    found = share_of_front(rows, front(rows))
    assert (found["members"], found["ours"]) == (3, 1)
    assert found["span_ours"] == pytest.approx(1 / 3)


def test_each_peer_meets_our_least_kl_at_its_speed() -> None:
    found = {each["peer"]: each for each in beside_peers(ROWS)}
    assert set(found) == {"fast", "worse", "fine"}
    assert found["fast"]["ours"] == "ours"
    assert found["fast"]["reached"]
    assert found["worse"]["kl_ratio"] == pytest.approx(0.75)
    assert not found["worse"]["reached"]
    assert found["fine"]["kl_ratio"] == pytest.approx(15.0)


def test_a_peer_faster_than_all_of_ours_is_not_reached() -> None:
    rows = {"peer": _row("Olive", 1.0, 0.4), "ours": _row("paretune", 2.0, 0.001)}
    (only,) = beside_peers(rows)
    assert only["ours"] is None
    assert only["kl_ratio"] is None
    assert not only["reached"]


def test_speeds_are_compared_at_five_percent_loss() -> None:
    found = fastest_within_loss(ROWS, 10.0)
    assert (found["ours"], found["peers"]) == ("ours", "worse")
    assert found["ratio"] == pytest.approx(8.0 / 5.05)
    assert found["reached"]
    assert fastest_within_loss(ROWS, 1.0)["ratio"] is None


def test_what_is_outside_the_goal_is_shown_and_not_counted() -> None:
    rows = {**ROWS, "worse": {**ROWS["worse"], "outside": "its own grid"}}
    found = compared(rows, 10.0)
    assert found["half_the_kl"]["peers"] == 2
    assert "worse" in {each["peer"] for each in found["half_the_kl"]["rows"]}
    assert found["at_5_percent_loss"]["peers"] == "fine"
    assert found["front"] == ["ours", "fine", "slow"]
    assert "fine" not in front({**ROWS, "fine": {**ROWS["fine"], "outside": "exact"}})


def test_rows_without_a_speed_say_nothing() -> None:
    assert compared({"a": {"maker": "Olive", "kl_per_token": 0.1}}, 10.0) == {}
