"""What the measured rows say: the front, whose it is, and how far the goals are reached."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

OURS = "paretune"
SAME_SPEED = 1.02
"""Times of a token that differ by less are taken as equal: fresh processes of one build differ as
much."""
HALF_KL = 0.5
FASTER = 1.3
MOST_LOSS = 1.05
"""Perplexity beside fp32's, where speeds are compared."""
Row = Mapping[str, Any]


def timed(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Return the rows with both figures."""
    return {n: r for n, r in rows.items() if "kl_per_token" in r and "token_ms_p50" in r}


def front(rows: Mapping[str, Row]) -> list[str]:
    """Return what nothing beats, from the fastest on; without what is outside the goal.

    A row is beaten by one with less KL that is no slower, within `SAME_SPEED`.
    """
    rows = {name: row for name, row in rows.items() if not row.get("outside")}

    def beaten(row: Row) -> bool:
        return any(
            other["kl_per_token"] < row["kl_per_token"] and at_speed(other, row)
            for other in rows.values()
        )

    kept = [name for name, row in rows.items() if not beaten(row)]
    return sorted(kept, key=lambda name: float(rows[name]["token_ms_p50"]))


def at_speed(row: Row, other: Row) -> bool:
    """Return whether a row is no slower than another one."""
    return bool(row["token_ms_p50"] <= SAME_SPEED * other["token_ms_p50"])


def share_of_front(rows: Mapping[str, Row], names: Sequence[str]) -> dict[str, Any]:
    """Return how much of a front is ours: of its members, and of the span of its speeds.

    The span runs from the fastest member to the slowest, in logarithms; from each member to the
    next slower one, the least KL that can be had is the faster member's.
    """
    ours = [name for name in names if rows[name]["maker"] == OURS]
    places = [math.log(rows[name]["token_ms_p50"]) for name in names]
    owned = whole = 0.0
    for name, here, after in zip(names, places, places[1:], strict=False):
        whole += after - here
        owned += after - here if rows[name]["maker"] == OURS else 0.0
    return {
        "members": len(names),
        "ours": len(ours),
        "span_ours": owned / whole if whole else None,
    }


def beside_peers(rows: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Return for each peer's row the least KL of ours at its speed, and the ratio."""
    ours = {name: row for name, row in rows.items() if row["maker"] == OURS}
    found = []
    for name, row in rows.items():
        if row["maker"] == OURS:
            continue
        there = {n: r for n, r in ours.items() if at_speed(r, row)}
        best = min(there, key=lambda n: float(there[n]["kl_per_token"]), default=None)
        ratio = None if best is None else ours[best]["kl_per_token"] / row["kl_per_token"]
        found.append(
            {
                "peer": name,
                "ours": best,
                "kl_ratio": ratio,
                "reached": ratio is not None and ratio <= HALF_KL,
                "counts": not row.get("outside"),
            }
        )
    return found


def fastest_within_loss(rows: Mapping[str, Row], fp32_perplexity: float) -> dict[str, Any]:
    """Return the fastest of ours and of the peers' at `MOST_LOSS`, and how much faster ours is."""
    limit = MOST_LOSS * fp32_perplexity
    found: dict[str, Any] = {"perplexity_limit": limit}
    for side in ("ours", "peers"):
        there = {
            name: row
            for name, row in rows.items()
            if (row["maker"] == OURS) is (side == "ours")
            and row["perplexity"] <= limit
            and not row.get("outside")
        }
        found[side] = min(there, key=lambda n: float(there[n]["token_ms_p50"]), default=None)
    if found["ours"] is None or found["peers"] is None:
        return {**found, "ratio": None, "reached": False}
    ratio = rows[found["peers"]]["token_ms_p50"] / rows[found["ours"]]["token_ms_p50"]
    return {**found, "ratio": ratio, "reached": ratio >= FASTER}


def compared(rows: Mapping[str, Row], fp32_perplexity: float) -> dict[str, Any]:
    """Return all of it; without a timed row, an empty answer."""
    there = timed(rows)
    if not there:
        return {}
    names = front(there)
    peers = beside_peers(there)
    counted = [each for each in peers if each["counts"]]
    return {
        "front": names,
        "share": share_of_front(there, names),
        "half_the_kl": {
            "peers": len(counted),
            "reached": sum(each["reached"] for each in counted),
            "no_worse": sum((each["kl_ratio"] or math.inf) <= 1 for each in counted),
            "rows": peers,
        },
        "at_5_percent_loss": fastest_within_loss(there, fp32_perplexity),
    }
