"""Another choice from what was measured; nothing is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paretune.config.yaml_source import Source
from paretune.errors import ConfigError, StateError, UsageError, nearest
from paretune.jsontools import Json
from paretune.measurement import Direction
from paretune.report import doubts
from paretune.search.candidate import describe
from paretune.search.constraints import Objective, parse_where
from paretune.search.membership import how_sure
from paretune.search.outcome import Outcome, OutcomeKind
from paretune.search.reopening import partly_measured
from paretune.search.standing import stand
from paretune.store import Store, default_store
from paretune.study import read_outcomes


def open_results(study: Path) -> dict[str, Json]:
    """Read a study's ``results.json``.

    Raises:
        UsageError: There is no study.
    """
    from paretune.results import read_results

    if not (study / "results.json").is_file():
        raise UsageError(
            f"{str(study)!r} is not a study: it has no results.json",
            hint="Give the folder that `paretune search` wrote, such as studies/tone.",
        )
    return dict(read_results(study / "results.json"))


def resolved_config(study: Path) -> dict[str, Json]:
    """Read the resolved configuration that a study was searched with."""
    file = study / "config.yaml"
    try:
        config = Source(file.read_text(encoding="utf-8"), str(file)).value
    except (ConfigError, OSError, ValueError) as error:
        raise StateError(
            f"{file} cannot be read: {error}",
            hint="Run the same `paretune search` again: it is written anew.",
        ) from error
    if not isinstance(config, dict):
        raise StateError(
            f"{file} holds no configuration",
            hint="Run the same `paretune search` again: it is written anew.",
        )
    return config


def pick_again(
    study: Path,
    where: str,
    minimize: Sequence[str],
    maximize: Sequence[str],
    *,
    out: Path | None = None,
    store: Path | None = None,
) -> dict[str, Json]:
    """Choose among a study's candidates by other constraints or objectives.

    Args:
        study: The study's folder.
        where: Constraints, separated by commas; empty: none but the candidate being ``ok``.
        minimize: Metrics to make small, in order of importance.
        maximize: Metrics to make large, in order; they come after `minimize` if both are given.
        out: Folder to write the chosen package to.
        store: Where artifacts are kept; by default the user's store.

    Returns:
        ``{"best", "front", "candidate", "metrics", "not_fully_measured", "nearest_miss", "groups",
        "membership", "out"}``; the two before the last as in ``results.json``.

    Raises:
        UsageError: No such study, metric, or malformed constraint.
        StateError: The package was asked for, and its artifact is not in the store any more.
    """
    results = open_results(study)
    outcomes = read_outcomes(study)
    objectives = _objectives(results, minimize, maximize)
    constraints = parse_where(where) if where.strip() else ()
    known = {name for outcome in outcomes for name in outcome.measurements or {}}
    for metric in [c.metric for c in constraints] + [o.metric for o in objectives]:
        if metric not in known:
            raise UsageError(f"no metric {metric!r} in this study", hint=nearest(metric, known))
    entry = results["baseline"]
    baseline = next((o for o in outcomes if entry is not None and o.id == entry["id"]), None)
    standing = stand(outcomes, objectives, constraints, baseline)
    best = next((o for o in outcomes if o.id == standing.best), None)
    written = None
    if best is not None and out is not None:
        written = str(_write(best, results, study, out, store))
    return {
        "best": standing.best,
        "front": list(standing.front),
        "candidate": None if best is None else best.candidate.to_json(),
        "metrics": {} if best is None else _summaries(best),
        "candidates": len(outcomes),
        "not_fully_measured": sum(_unsure(outcome, baseline) for outcome in outcomes),
        "nearest_miss": standing.nearest_miss,
        **how_sure(outcomes, standing, objectives),
        "out": written,
    }


def _unsure(outcome: Outcome, baseline: Outcome | None) -> bool:
    """Return whether a candidate was stopped, or seen to suffice, before it was fully measured."""
    reference = {} if baseline is None else baseline.measurements or {}
    return outcome.kind in (OutcomeKind.INFEASIBLE, OutcomeKind.PRUNED) or (
        outcome.kind is OutcomeKind.OK and bool(partly_measured(outcome, reference))
    )


def _summaries(outcome: Outcome) -> dict[str, Json]:
    return {name: m.summary() for name, m in (outcome.measurements or {}).items()}


def _objectives(
    results: dict[str, Json], minimize: Sequence[str], maximize: Sequence[str]
) -> tuple[Objective, ...]:
    low: Direction = "minimize"
    high: Direction = "maximize"
    if minimize or maximize:
        return (*(Objective(m, low) for m in minimize), *(Objective(m, high) for m in maximize))
    return tuple(Objective(o["metric"], o["direction"]) for o in results["objectives"])


def _write(
    best: Outcome, results: dict[str, Json], study: Path, out: Path, store: Path | None
) -> Path:
    from paretune.outputs import hand_over

    if out.exists() and any(out.iterdir()):
        raise UsageError(
            f"{str(out)!r} is not empty", hint="Name a new folder: a package is written whole."
        )
    hand_over(
        best, results, resolved_config(study), Store(store or default_store()), out,
        ("Once upon a time", False),
    )  # fmt: skip
    return out


def render(picked: dict[str, Json]) -> str:
    """Return the choice as text for the terminal."""
    if picked["best"] is None:
        lines = ["nothing that was measured meets this"]
        miss = picked["nearest_miss"]
        if miss is not None:
            lines.append(
                f"nearest miss: candidate {miss['id']}: {miss['constraint']}, "
                f"measured {miss['value']:.4g}"
            )
    else:
        from paretune.search.candidate import Candidate

        shown = describe(Candidate.from_json(picked["candidate"]))
        lines = [f"candidate {picked['best']}: {shown}"]
        for name, m in picked["metrics"].items():
            if m["value"] is not None:
                lines.append(f"  {name:<20} {m['value']:.4g} {m['unit']}")
        lines += doubts(picked, picked["best"])
    if picked["not_fully_measured"]:
        lines.append(
            f"{picked['not_fully_measured']} of {picked['candidates']} candidates were not fully "
            "measured, as less was enough for the search's own constraints: those that it stopped "
            "are not considered here; search again with other constraints to have them measured"
        )
    if picked["out"] is not None:
        lines.append(f"package: {picked['out']}")
    return "\n".join(lines)
