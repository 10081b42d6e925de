"""``report.html``: one self-contained file that says which model is best, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from paretune.core.candidate import describe_runtime
from paretune.core.jsontools import Json, write_atomic
from paretune.reporting.answer import described, number, plain_answer
from paretune.reporting.bits_section import bits_section
from paretune.reporting.condition_lines import condition_lines, sensors_sentence
from paretune.reporting.curves_figure import curves_figure
from paretune.reporting.devices_section import devices_section
from paretune.reporting.forecast_section import expected, forecast_section
from paretune.reporting.forecast_words import asking_sentence
from paretune.reporting.latency_figure import latency_figure
from paretune.reporting.parent_lines import parent_lines
from paretune.reporting.progress_figure import progress_figure
from paretune.reporting.seeds_section import seeds_section
from paretune.reporting.step_details import step_details
from paretune.study.results import CandidateEntry, Results
from paretune.study.runtime_names import runtimes_entry

_TEMPLATES = Path(__file__).with_name("templates")
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


def write_report(results: Results, out: Path, extra: Mapping[str, Json] | None = None) -> None:
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
    curve = progress_figure(results)
    details = step_details(results)
    curves = curves_figure(details, results.best)
    page = environment.get_template("report.html.j2").render(
        **view(results, dict(given.get("paired", {}))),
        plotly=get_plotlyjs(),
        latency=None if figure is None else script_json(figure),
        progress=None if curve is None else script_json(curve),
        expected=expected,
        devices=devices_section(results),
        seeds=seeds_section(results),
        details=details,
        bits=bits_section(details, results),
        curves=None if curves is None else script_json(curves),
        curves_missing=None if curves is None else curves["missing"],
        forecasts=forecast_section(results, script_json),
        asking=asking_sentence(results.search_seconds),
    )
    write_atomic(out, page, durable=False)


@dataclass(frozen=True)
class Row:
    """A candidate in the table.

    Attributes:
        entry: The candidate.
        described: Its recipe.
        broken: Limits that its values break.
        unsure: Limits that its values meet, but within the uncertainty of the measurement.
        unjudged: Limits that it cannot meet because a value is missing.
        of_others: Limits on values that it took over from another candidate.
        parent: What was measured before its build, and what the build costs.
        conditions: What the device reported while it was measured.
        spent: Seconds of its own steps.
        saved: Seconds of steps that it shares with others.
    """

    entry: CandidateEntry
    described: str
    broken: list[str]
    unsure: list[str]
    unjudged: list[str]
    of_others: list[str]
    parent: list[str]
    conditions: list[str]
    spent: float
    saved: float

    @property
    def runtime(self) -> str:
        """The runtime and all its settings, in one short line."""
        runtime = self.entry.runtime
        shown = describe_runtime(replace(runtime.settings, name=runtime.name or ""), "×")
        return shown.replace(" ×", "\N{NO-BREAK SPACE}×")


def view(results: Results, paired: Mapping[str, Json]) -> dict[str, Any]:
    """Return what the template shows.

    Args:
        results: The results document.
        paired: Differences of the pick from the baseline.
    """
    rows = [_row(candidate, results) for candidate in results.candidates]
    best = next((c for c in results.candidates if c.id == results.best), None)
    metrics = _in_order(results)
    valueless = _valueless(metrics, results.candidates)
    roofs = [c.roofline for c in results.candidates if c.roofline is not None]
    return {
        "results": results,
        "device": results.device.model_dump(),
        "sensors": sensors_sentence(results),
        "rows": rows,
        "best": best,
        "baseline_id": _baseline_id(results),
        "metrics": metrics,
        "columns": _columns(results, metrics, {m for names in valueless.values() for m in names}),
        "valueless": valueless,
        "units": {name: m.unit for c in results.candidates for name, m in c.metrics.items()},
        "counts": Counter(c.outcome for c in results.candidates),
        "fates": _FATES,
        "answer": plain_answer(results, paired),
        "recipe": None if best is None else _recipe_yaml(best),
        "costs": _constraint_costs(results),
        "roofed": bool(roofs),
        "roof_known": any(roof.decode_share is not None for roof in roofs),
        "spent": _spent(results.candidates),
        "plot": script_json(_plot(results, rows, metrics)),
    }


def _baseline_id(results: Results) -> int | None:
    return None if results.baseline is None else results.baseline.id


def _in_order(results: Results) -> list[str]:
    """Return every metric: objectives first, then what is constrained, then the rest."""
    asked = _asked(results)
    measured = dict.fromkeys(m for c in results.candidates for m in c.metrics)
    return [m for m in dict.fromkeys([*asked, *measured]) if m in measured]


def _asked(results: Results) -> list[str]:
    """Return the metrics of objectives and constraints."""
    return [o.metric for o in results.objectives] + [c.metric for c in results.constraints]


def _columns(
    results: Results, metrics: list[str], without: set[str]
) -> tuple[list[str], list[str], list[str]]:
    """Return the table's metrics: what is asked of candidates, the rest, and further lengths."""
    asked = _asked(results)
    shown = [m for m in metrics if m not in without]
    rest = [m for m in shown if m not in asked]
    return (
        [m for m in shown if m in asked],
        [m for m in rest if "@" not in m],
        [m for m in rest if "@" in m],
    )


def _valueless(metrics: list[str], candidates: Sequence[CandidateEntry]) -> dict[str, list[str]]:
    """Return the metrics without a value for any candidate, by the reason of the first one."""
    found: dict[str, list[str]] = {}
    for metric in metrics:
        entries = [c.metrics[metric] for c in candidates if metric in c.metrics]
        if all(entry.value is None for entry in entries):
            reason = next((e.reason for e in entries if e.reason), "no reason was given")
            found.setdefault(reason, []).append(metric)
    return found


def script_json(value: Json) -> str:
    """Return JSON that may stand inside a script element: no text in it can end the element."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _row(candidate: CandidateEntry, results: Results) -> Row:
    near = [n.constraint for n in results.near_limits if n.id == candidate.id and n.met is None]
    broken = [limit.text for limit in results.constraints if limit.broken_by(candidate)]
    return Row(
        candidate,
        described(candidate),
        [f"{text} (uncertain)" if text in near else text for text in broken],
        [text for text in near if text not in broken],
        _unjudged(candidate, results),
        _of_others(candidate, results),
        parent_lines(candidate),
        condition_lines(candidate),
        candidate.spent,
        sum(s.s for s in candidate.seconds if s.cached),
    )


def _unjudged(candidate: CandidateEntry, results: Results) -> list[str]:
    """Return the limits that a candidate cannot meet because a value is missing."""
    told = []
    for limit in results.constraints:
        if limit.value is None:
            told.append(f"{limit.text} (the baseline has no {limit.metric})")
        elif candidate.value(limit.metric) is None:
            why = candidate.why_not(limit.metric)
            told.append(f"{limit.text} (no value of {limit.metric}: {why})")
    return told


def _of_others(candidate: CandidateEntry, results: Results) -> list[str]:
    """Return the limits on values that a candidate took over, and from which one."""
    found = ((limit, candidate.metrics.get(limit.metric)) for limit in results.constraints)
    return [
        f"{limit.text} (taken over from candidate {m.taken_from})"
        for limit, m in found
        if m is not None and m.taken_from is not None
    ]


def _recipe_yaml(best: CandidateEntry) -> str:
    steps = [{step.name: step.params} if step.params else step.name for step in best.recipe]
    runtime = {"providers": [best.runtime.provider], "threads": [best.runtime.threads]}
    more = runtimes_entry(best.runtime.name, best.runtime.settings)
    config = {"passes": steps, "target": runtime} | more
    return str(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def _constraint_costs(results: Results) -> list[dict[str, Json]]:
    """Return how many candidates each constraint ruled out."""
    return [
        {
            **limit.model_dump(),
            "broken": sum(limit.broken_by(c) for c in results.candidates),
            "measured": sum(c.value(limit.metric) is not None for c in results.candidates),
        }
        for limit in results.constraints
    ]


def _spent(candidates: Sequence[CandidateEntry]) -> dict[str, Any]:
    by_step: Counter[str] = Counter()
    saved: Counter[str] = Counter()
    for candidate in candidates:
        for step in candidate.seconds:
            (saved if step.cached else by_step)[step.step] += step.s  # type: ignore[assignment]
    total = sum(by_step.values())
    steps = [
        {"step": step, "s": s, "share": s / total if total else 0.0, "saved": saved[step]}
        for step, s in by_step.most_common()
    ]
    return {"steps": steps, "total": total, "saved": sum(saved.values())}


def _plot(results: Results, rows: Sequence[Row], metrics: list[str]) -> dict[str, Any]:
    """Return what the plot's script needs."""
    objectives = [o.metric for o in results.objectives]
    others = [m for m in (*objectives[1:], *metrics) if m != objectives[0]]
    return {
        "rows": [
            {
                "id": row.entry.id,
                "text": row.described,
                "runtime": row.runtime,
                "outcome": row.entry.outcome,
                "feasible": row.entry.feasible,
                "pareto": row.entry.pareto,
                "metrics": {name: m.to_json() for name, m in row.entry.metrics.items()},
            }
            for row in rows
        ],
        "metrics": metrics,
        "best": results.best,
        "baseline": _baseline_id(results),
        "constraints": [limit.model_dump() for limit in results.constraints],
        "directions": {o.metric: o.direction for o in results.objectives},
        "x": next(iter(others), objectives[0]),
        "y": objectives[0],
    }
