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
    ("latency_ms_p50", "ms/run"),
    ("size_mb", "size MB"),
)
_NOTABLE = 0.05
"""Share of the CPU time used by other processes from which it is reported."""
_WHAT = {"decode_ms_p50": "decoding", "ttft_ms_p50": "first token", "latency_ms_p50": "a run"}


def render(found: Mapping[str, Json]) -> str:
    """Return a table of the compared models, and a sentence per pair and metric."""
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
        "interleaved with the others"
        if found["in_turns"]
        else "one after another, because they do not fit into memory together or run on a GPU"
    )
    lines += [
        "",
        f"{rounds} rounds; in each round, each model runs in a new process, {how}; "
        f"confidence {found['confidence']:.0%} for all statements together",
    ]
    seen = Interference(**found["interference"])
    alike = ", which affected all models equally" if found["in_turns"] else ""
    if seen.others + seen.stolen >= _NOTABLE:
        lines.append(f"during the comparison {seen}{alike}")
    throttled = found.get("conditions", {}).get("throttled", ())
    if throttled:
        causes = ", ".join(throttled)
        lines.append(f"during the comparison the device was throttled ({causes}){alike}")
    if not found["decided"]:
        lines.append(
            "an undecided pair needs more rounds: a longer --time (10m) or more --rounds, or a "
            "quieter machine"
        )
    return "\n".join(lines)


def _table(subjects: Sequence[Mapping[str, Json]]) -> list[str]:
    columns = [
        (name, title)
        for name, title in _SHOWN
        if any(name in subject["metrics"] for subject in subjects)
    ]
    header = ["", *(title for _, title in columns), "threads", "what it is"]
    rows = [header]
    for subject in subjects:
        values = (subject["metrics"].get(name) for name, _ in columns)
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
    """Return one verdict as text; `least` is the smallest number of rounds for a verdict."""
    what, verdict = _WHAT.get(pair["metric"], pair["metric"]), pair["verdict"]
    ratio, low, high = pair["ratio"], pair["low"], pair["high"]
    if verdict == "undecided":
        if low is None or high is None:
            return f"{what}: undecided; comparing {a} with {b} needs at least {least} rounds"
        if low > high:
            return f"{what}: the ratio of {a} to {b} changed during the comparison; measure again"
        return f"{what}: undecided; {a} takes {low:.3f} to {high:.3f} of {b}'s time"
    interval = f"({low:.3f} to {high:.3f} of its time)"
    if verdict == "same":
        return f"{what}: {a} and {b} are equal within {margin:.0%} {interval}"
    less = verdict == "faster"
    share = (1 / ratio if less else ratio) - 1
    return f"{what}: {a} is {share:.1%} {verdict} than {b} {interval}"
