"""``report.html``: one self-contained file that says which model is best, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from paretune.core.candidate import counted, short
from paretune.core.jsontools import Json, write_atomic
from paretune.reporting.latency_figure import latency_figure
from paretune.stats.intervals import CONFIDENCE
from paretune.study.nothing_measured import nothing_measured
from paretune.study.pick_entry import sentences as chances

_MEASURED = ("ok", "infeasible", "pruned", "duplicate")
_TEMPLATES = Path(__file__).with_name("templates")
_TESTS = {"mcnemar": "McNemar", "permutation": "permutation test"}
_FATES = {
    "ok": "measured completely",
    "infeasible": "stopped early: breaks a constraint",
    "pruned": "stopped early: another candidate is better in every objective",
    "invalid": "built, but does not load, generate, or compute what its source computes",
    "failed": "a step raised an error",
    "crashed": "the process died",
    "timeout": "took too long",
    "out_of_memory": "needed too much memory",
    "duplicate": "same model bytes and settings as another candidate",
    "skipped": "ruled out before any job",
}


def write_report(
    results: Mapping[str, Json], out: Path, extra: Mapping[str, Json] | None = None
) -> None:
    """Write the report.

    Args:
        results: The results document; text in it may come from anywhere and is escaped.
        out: The file.
        extra: ``paired``: differences of the pick from the baseline, by metric; ``cases``: the
            lengths that generation was measured at.
    """
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["num"] = number
    given = dict(extra or {})
    figure = latency_figure(results, given.get("cases", ()))
    page = environment.get_template("report.html.j2").render(
        **view(results, dict(given.get("paired", {}))),
        plotly=get_plotlyjs(),
        latency=None if figure is None else script_json(figure),
    )
    write_atomic(out, page, durable=False)


def plain_answer(results: Mapping[str, Json]) -> list[str]:
    """Return the answer in plain sentences, as the report begins."""
    rows = {c["id"]: _row(c, results) for c in results["candidates"]}
    return _answer(results, rows.get(results["best"]), {})


def doubts(results: Mapping[str, Json], best: int) -> list[str]:
    """Return sentences on members of the front that may not be better than others."""
    told = []
    for group in results.get("groups", []):
        others = [str(id) for id in group["members"] if id != group["pick"]]
        if group["pick"] == best:
            told.append(
                f"The measurements cannot distinguish it from candidate{'s' * (len(others) > 1)} "
                f"{', '.join(others)}; it was chosen because it {group['reason']}."
            )
    own = next((m for m in results.get("membership", []) if m["id"] == best), None)
    if own is not None and not own["sure"] and not told:
        told.append(
            f"With longer measurements, candidate {_either(own['rivals'])} may be the better "
            "choice: their difference is smaller than the measurement uncertainty."
        )
    unsure = [m for m in results.get("membership", []) if not m["sure"] and m["id"] != best]
    if unsure:
        shown = ", ".join(f"{m['id']} (by {_either(m['rivals'])})" for m in unsure)
        told.append(
            f"With longer measurements, some candidates of the front may be dominated: {shown}."
        )
    return told


def number(value: float | None) -> str:
    """Return a number with four digits; a dash for none."""
    return "–" if value is None else f"{value:.4g}"


def view(results: Mapping[str, Json], paired: Mapping[str, Json]) -> dict[str, Any]:
    """Return what the template shows.

    Args:
        results: The results document.
        paired: Differences of the pick from the baseline.
    """
    rows = [_row(candidate, results) for candidate in results["candidates"]]
    by_id = {row["id"]: row for row in rows}
    best = by_id.get(results["best"])
    metrics = _in_order(results, rows)
    valueless = _valueless(metrics, rows)
    baseline = results["baseline"]
    return {
        "results": results,
        "notes": results.get("notes", []),
        "rows": rows,
        "best": best,
        "baseline": baseline,
        "baseline_id": None if baseline is None else baseline.get("id"),
        "metrics": metrics,
        "columns": _columns(results, metrics, {m for names in valueless.values() for m in names}),
        "valueless": valueless,
        "units": {m: row["metrics"][m]["unit"] for row in rows for m in row["metrics"]},
        "counts": Counter(row["outcome"] for row in rows),
        "fates": _FATES,
        "answer": _answer(results, best, paired),
        "paired": paired,
        "recipe": None if best is None else _recipe_yaml(best),
        "costs": _constraint_costs(results),
        "roofed": any(row.get("roofline") for row in rows),
        "roof_known": any(
            (row.get("roofline") or {}).get("decode_share") is not None for row in rows
        ),
        "spent": _spent(rows),
        "plot": script_json(_plot(results, rows, metrics)),
    }


def _in_order(results: Mapping[str, Json], rows: list[dict[str, Any]]) -> list[str]:
    """Return every metric: objectives first, then what is constrained, then the rest."""
    asked = [o["metric"] for o in results["objectives"]]
    asked += [c["metric"] for c in results["constraints"]]
    measured = dict.fromkeys(m for row in rows for m in row["metrics"])
    return [m for m in dict.fromkeys(asked) if m in measured] + [
        m for m in measured if m not in asked
    ]


def _columns(
    results: Mapping[str, Json], metrics: list[str], without: set[str]
) -> tuple[list[str], list[str], list[str]]:
    """Return the table's metrics: what is asked of candidates, the rest, and further lengths."""
    asked = {entry["metric"] for key in ("objectives", "constraints") for entry in results[key]}
    shown = [m for m in metrics if m not in without]
    rest = [m for m in shown if m not in asked]
    return (
        [m for m in shown if m in asked],
        [m for m in rest if "@" not in m],
        [m for m in rest if "@" in m],
    )


def _valueless(metrics: list[str], rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the metrics without a value for any candidate, by the reason of the first one."""
    found: dict[str, list[str]] = {}
    for metric in metrics:
        entries = [row["metrics"][metric] for row in rows if metric in row["metrics"]]
        if all(entry["value"] is None for entry in entries):
            reason = next((e["reason"] for e in entries if e["reason"]), "no reason was given")
            found.setdefault(reason, []).append(metric)
    return found


def script_json(value: Json) -> str:
    """Return JSON that may stand inside a script element: no text in it can end the element."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _row(candidate: Mapping[str, Json], results: Mapping[str, Json]) -> dict[str, Any]:
    steps = [step["pass"] + _params(step["params"]) for step in candidate["recipe"]] or [
        "unchanged"
    ]
    near = [
        n["constraint"]
        for n in results.get("near_limits", [])
        if n["id"] == candidate["id"] and n["met"] is None
    ]
    broken = [
        limit["text"]
        for limit in results["constraints"]
        if limit["value"] is not None and _breaks(candidate["metrics"], limit)
    ]
    return {
        **candidate,
        "described": " › ".join(steps),
        "broken": [f"{text} (uncertain)" if text in near else text for text in broken],
        "unsure": [text for text in near if text not in broken],
        "unjudged": _unjudged(candidate, results),
        "spent": sum(s["s"] for s in candidate["seconds"] if not s["cached"]),
        "saved": sum(s["s"] for s in candidate["seconds"] if s["cached"]),
    }


def _unjudged(candidate: Mapping[str, Json], results: Mapping[str, Json]) -> list[str]:
    """Return the limits that a candidate cannot meet because a value is missing."""
    told = []
    for limit in results["constraints"]:
        m = candidate["metrics"].get(limit["metric"], {})
        if limit["value"] is None:
            told.append(f"{limit['text']} (the baseline has no {limit['metric']})")
        elif m.get("value") is None:
            why = m.get("reason") or "it was not measured"
            told.append(f"{limit['text']} (no value of {limit['metric']}: {why})")
    return told


def _without_values(results: Mapping[str, Json]) -> list[str]:
    """Return sentences on limits that completely measured candidates have no value for."""
    whole = [c for c in results["candidates"] if c["outcome"] == "ok"]
    told = []
    for limit in results["constraints"]:
        lack = [c for c in whole if c["metrics"].get(limit["metric"], {}).get("value") is None]
        if limit["value"] is None:
            told.append(
                f"No candidate can meet {limit['text']}: the baseline has no {limit['metric']}."
            )
        elif lack:
            reasons = (c["metrics"].get(limit["metric"], {}).get("reason") for c in lack)
            why = next((reason for reason in reasons if reason), "it was not measured")
            told.append(
                f"{len(lack)} of {counted(len(whole), 'measured candidate')} cannot meet "
                f"{limit['text']}, because they have no value of {limit['metric']} ({why})."
            )
    return told


def _params(params: Mapping[str, Json]) -> str:
    shown = ", ".join(f"{k}={short(v)}" for k, v in params.items() if k != "train")
    return f" ({shown})" if shown else ""


def _breaks(metrics: Mapping[str, Json], limit: Mapping[str, Json]) -> bool:
    value = metrics.get(limit["metric"], {}).get("value")
    if value is None:
        return False
    bound, op = limit["value"], limit["op"]
    holds = {"<=": value <= bound, "<": value < bound, ">=": value >= bound, ">": value > bound}
    return not holds[op]


def _remarks(results: Mapping[str, Json]) -> list[str]:
    """Return notes on limits in force."""
    remarks = (limit.get("remark") for limit in results["constraints"])
    return [f"Note that {remark}." for remark in remarks if remark]


def _answer(
    results: Mapping[str, Json], best: Mapping[str, Any] | None, paired: Mapping[str, Json]
) -> list[str]:
    """Return the answer in plain sentences."""
    if not results["candidates"]:
        why = {
            "finished": " The time was used up before the first candidate was done. Run the same "
            "command with a longer --time; it continues with the existing builds.",
            "interrupted": " Run the same command again to continue.",
        }
        return ["Nothing has been measured yet." + why.get(results["status"], "")]
    if best is None and not any(c["outcome"] in _MEASURED for c in results["candidates"]):
        return nothing_measured(results["candidates"])
    if best is None:
        miss = results["nearest_miss"]
        told = ["No candidate meets every constraint."]
        if miss is not None:
            told.append(
                f"The nearest miss is candidate {miss['id']}: the limit of {miss['constraint']} is "
                f"{number(miss['limit'])}, its value is {number(miss['value'])}."
            )
        told += _without_values(results) + _remarks(results)
        near = results.get("near_limits", [])
        hopeful = {n["id"] for n in near} - {n["id"] for n in near if n["met"] is False}
        if hopeful:
            told.append(
                f"With longer measurements, candidate {_either(sorted(hopeful))} may meet every "
                "constraint: it misses by less than the measurement uncertainty."
            )
        return told
    sentences = [
        f"Ship candidate {best['id']}: {best['described']}, on "
        f"{best['runtime']['provider']} with {counted(best['runtime']['threads'], 'thread')}.",
        _why_it(results),
    ]
    sentences += chances(results) + _remarks(results)
    sentences += doubts(results, best["id"])
    sentences += [
        _near(results, near, best)
        for near in results.get("near_limits", [])
        if near["id"] == best["id"] and not near["met"]
    ]
    baseline = results["baseline"]
    if baseline is not None and baseline.get("id") != best["id"]:
        sentences += _against(best["metrics"], baseline["metrics"], paired)
    return sentences


def _why_it(results: Mapping[str, Json]) -> str:
    """Return the rule by which the pick was chosen from the front."""
    front, prefer = len(results["pareto"]), results.get("prefer")
    if front == 1:
        return (
            "It is the only candidate of the Pareto front: no other feasible candidate has a "
            "better value in any objective."
        )
    *before, last = sorted(results["objectives"], key=lambda o: o["metric"] != prefer)
    filters = ", then those whose ".join(
        f"{o['metric']} is within {o.get('within', '1%')} of the best value" for o in before
    )
    least = "lowest" if last["direction"] == "minimize" else "highest"
    of = f"Of those whose {filters}, it" if before else "It"
    return (
        f"{front} candidates meet every constraint and are not dominated by another (the "
        f"Pareto front). {of} has the {least} {last['metric']}."
    )


def _near(results: Mapping[str, Json], near: Mapping[str, Json], best: Mapping[str, Any]) -> str:
    """Return a sentence on a limit that the pick may miss."""
    limit = next(x for x in results["constraints"] if x["text"] == near["constraint"])
    m = best["metrics"][limit["metric"]]
    doubt = "may miss it" if near["met"] is None else "missed it when it was measured again"
    return (
        f"It meets {limit['text']} by the measured value, but {doubt}: {number(m['value'])} "
        f"(95 % interval {number(m['low'])} to {number(m['high'])}), "
        f"the limit is {number(limit['value'])}."
    )


def _either(ids: list[int]) -> str:
    """Return numbers as in ``2, 5 or 7``."""
    *front, last = map(str, ids) if ids else ["another"]
    return f"{', '.join(front)} or {last}" if front else last


def _against(
    mine: Mapping[str, Json], base: Mapping[str, Json], paired: Mapping[str, Json]
) -> list[str]:
    sentences = []
    for metric, d in paired.items():
        p = d.get("p")  # reports of older versions have none
        known = not d["low"] <= 0 <= d["high"] if p is None else p <= 1 - CONFIDENCE
        test = _TESTS[d.get("test", "mcnemar")]
        verdict = (
            "is not significantly different from"
            if not known
            else f"is significantly {'higher' if d['difference'] > 0 else 'lower'} than"
        )
        sentences.append(
            f"Its {metric} {verdict} the baseline's: difference "
            f"{d['difference']:+.3f} (95 % interval {d['low']:+.3f} to {d['high']:+.3f}, paired "
            f"over {d['n']} examples{'' if p is None else f'; {test} p = {p:.2g}'})."
        )
    ratios = []
    for metric, word in (
        ("decode_ms_p50", "time per token"),
        ("ttft_ms_p50", "time to first token"),
        ("latency_ms_p50", "latency"),
        ("size_mb", "size"),
        ("peak_memory_mb", "memory"),
    ):
        a, b = mine.get(metric, {}).get("value"), base.get(metric, {}).get("value")
        if a and b:
            ratios.append(f"{a / b:.2f} × the {word}")
    if ratios:
        sentences.append(f"Compared with the baseline it has {', '.join(ratios)}.")
    return sentences


def _recipe_yaml(best: Mapping[str, Any]) -> str:
    steps = [{s["pass"]: s["params"]} if s["params"] else s["pass"] for s in best["recipe"]]
    runtime = {"providers": [best["runtime"]["provider"]], "threads": [best["runtime"]["threads"]]}
    return str(
        yaml.safe_dump({"passes": steps, "target": runtime}, sort_keys=False, allow_unicode=True)
    )


def _constraint_costs(results: Mapping[str, Json]) -> list[dict[str, Json]]:
    """Return how many candidates each constraint ruled out."""
    costs = []
    for limit in results["constraints"]:
        measured = [
            c
            for c in results["candidates"]
            if c["metrics"].get(limit["metric"], {}).get("value") is not None
        ]
        broken = [
            c for c in measured if limit["value"] is not None and _breaks(c["metrics"], limit)
        ]
        costs.append({**limit, "broken": len(broken), "measured": len(measured)})
    return costs


def _spent(rows: list[dict[str, Any]]) -> dict[str, Any]:
    by_step: Counter[str] = Counter()
    saved: Counter[str] = Counter()
    for row in rows:
        for step in row["seconds"]:
            (saved if step["cached"] else by_step)[step["step"]] += step["s"]
    total = sum(by_step.values())
    steps = [
        {"step": step, "s": s, "share": s / total if total else 0.0, "saved": saved[step]}
        for step, s in by_step.most_common()
    ]
    return {"steps": steps, "total": total, "saved": sum(saved.values())}


def _plot(
    results: Mapping[str, Json], rows: list[dict[str, Any]], metrics: list[str]
) -> dict[str, Any]:
    """Return what the plot's script needs."""
    objectives = [o["metric"] for o in results["objectives"]]
    second = (
        objectives[1]
        if len(objectives) > 1
        else next((m for m in metrics if m != objectives[0]), objectives[0])
    )
    return {
        "rows": [
            {
                "id": row["id"],
                "text": row["described"],
                "runtime": f"{row['runtime']['provider']} ×{row['runtime']['threads']}",
                "outcome": row["outcome"],
                "feasible": row["feasible"],
                "pareto": row["pareto"],
                "metrics": row["metrics"],
            }
            for row in rows
        ],
        "metrics": metrics,
        "best": results["best"],
        "baseline": None if results["baseline"] is None else results["baseline"].get("id"),
        "constraints": results["constraints"],
        "directions": {o["metric"]: o["direction"] for o in results["objectives"]},
        "x": second,
        "y": objectives[0],
    }
