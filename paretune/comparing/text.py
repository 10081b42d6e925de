"""A comparison as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paretune.core.interference import Interference
from paretune.core.jsontools import Json
from paretune.stats.sequential import least_rounds

_SHOWN = (
    ("decode_tokens_per_s", "tokens/s"),
    ("decode_ms_p50", "ms/token"),
    ("ttft_ms_p50", "first token ms"),
    ("size_mb", "size MB"),
)
_NOTABLE = 0.05
"""Share of the processor that others took from which on it is said."""
_WHAT = {"decode_ms_p50": "decoding", "ttft_ms_p50": "first token"}


def render(found: Mapping[str, Json]) -> str:
    """Return what was found: a table of the entrants, and a sentence a pair and metric."""
    lines = [*_table(found["entrants"]), ""]
    verdicts = sum(len(pair["metrics"]) for pair in found["pairs"])
    least = least_rounds((1 - found["confidence"]) / verdicts)
    for pair in found["pairs"]:
        lines += [
            _sentence(pair["a"], pair["b"], m, found["margin"], least)
            for m in pair["metrics"].values()
        ]
    rounds = len(found["rounds"])
    how = (
        "side by side in short turns"
        if found["in_turns"]
        else "one after another, as they are too large or not on the processor"
    )
    lines += [
        "",
        f"{rounds} rounds: in each, each model in a new process, {how}; all of this "
        f"together holds with {found['confidence']:.0%} confidence",
    ]
    seen = Interference(**found["interference"])
    if seen.others + seen.stolen >= _NOTABLE:
        alike = ", and hit all models alike" if found["in_turns"] else ""
        lines.append(f"meanwhile {seen}{alike}")
    if not found["decided"]:
        lines.append(
            "what is not known needs more rounds: a longer --time (10m) or more --rounds, or a "
            "quieter machine"
        )
    return "\n".join(lines)


def _table(subjects: Sequence[Mapping[str, Json]]) -> list[str]:
    header = ["", *(title for _, title in _SHOWN), "threads", "what it is"]
    rows = [header]
    for subject in subjects:
        values = (subject["metrics"].get(name) for name, _ in _SHOWN)
        shown = ["-" if value is None else f"{value['value']:.4g}" for value in values]
        rows.append(
            [subject["label"], *shown, str(subject["runtime"]["threads"]), subject["about"]]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if i in (0, len(header) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _sentence(a: str, b: str, pair: Mapping[str, Json], margin: float, least: int) -> str:
    """Return one verdict in words; `least` is how many rounds can say anything at all."""
    what, verdict = _WHAT.get(pair["metric"], pair["metric"]), pair["verdict"]
    ratio, low, high = pair["ratio"], pair["low"], pair["high"]
    if verdict == "undecided":
        if low is None or high is None:
            return f"{what}: nothing can be said of {a} and {b} before {least} rounds"
        if low > high:
            return f"{what}: {a} against {b} changed while it was measured; measure again"
        return f"{what}: not known yet; {a} takes {low:.3f} to {high:.3f} of {b}'s time"
    interval = f"({low:.3f} to {high:.3f} of its time)"
    if verdict == "same":
        return f"{what}: {a} and {b} are the same within {margin:.0%} {interval}"
    less = verdict == "faster"
    share = (1 / ratio if less else ratio) - 1
    return f"{what}: {a} is {share:.1%} {verdict} than {b} {interval}"
