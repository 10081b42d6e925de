"""Makes another choice from the existing measurements; nothing is run."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from paretune.config.limits import odd_limits
from paretune.config.objectives import against_the_grain, too_wide
from paretune.config.yaml_source import Source
from paretune.core.candidate import describe
from paretune.core.errors import ConfigError, StateError, UsageError, nearest
from paretune.core.jsontools import Json
from paretune.core.measurement import Direction, MetricSpec
from paretune.core.result import OutcomeKind, TrialResult
from paretune.core.user_paths import default_store
from paretune.models.legal_files import FOLDER as LEGAL
from paretune.registry import find_evaluator, is_ours
from paretune.reporting.answer import doubts
from paretune.reporting.mlflow_beside import beside as mlflow_folder
from paretune.reporting.mlflow_beside import check_candidate, write_beside
from paretune.reporting.opened import lacking, open_study
from paretune.search.constraints import Objective, in_order, parse_where
from paretune.search.front_uncertainty import front_uncertainty
from paretune.search.reconsider import partly_measured
from paretune.search.summary import summarize
from paretune.search.tolerance import Tolerance, parse_tolerance
from paretune.store.artifacts import Store
from paretune.study.example_prompt import example_of
from paretune.study.folder import read_confirmed
from paretune.study.measurement_notes import unsettled_notes
from paretune.study.pick_entry import pick_entry, sentences
from paretune.study.results import Choice, Results
from paretune.study.results_conditions import condition_notes


def resolved_config(study: Path) -> dict[str, Json]:
    """Read the resolved configuration that a study was searched with."""
    file = study / "config.yaml"
    try:
        config = Source(file.read_text(encoding="utf-8"), str(file)).value
    except (ConfigError, OSError, ValueError) as error:
        raise StateError(
            f"{file} cannot be read: {error}",
            hint="Run the same `paretune search` again: it writes the file again.",
        ) from error
    if not isinstance(config, dict):
        raise StateError(
            f"{file} holds no configuration",
            hint="Run the same `paretune search` again: it writes the file again.",
        )
    return config


def pick_again(
    study: Path | str,
    where: str = "",
    minimize: Sequence[str] = (),
    maximize: Sequence[str] = (),
    *,
    within: Sequence[str] = (),
    prefer: str | None = None,
    out: Path | None = None,
    store: Path | None = None,
    mlflow: bool = False,
) -> dict[str, Json]:
    """Choose among a study's candidates by other constraints or objectives.

    Args:
        study: The study's folder.
        where: Constraints, separated by commas; empty: none but the candidate being ``ok``.
        minimize: Metrics to make small, in order of importance.
        maximize: Metrics to make large, in order; they come after `minimize` if both are given.
        within: Tolerances: ``0.01`` or ``1%`` for the objective that is chosen by first,
            ``METRIC=0.01`` for another. A metric that is one of the study's objectives keeps the
            study's tolerance where none is given.
        prefer: Metric to choose by first; by default the study's, unless `minimize` or `maximize`
            give an order of their own.
        out: Folder to write the chosen package to.
        store: Where artifacts are kept; by default the user's store.
        mlflow: Also write the chosen model as an MLflow folder, beside `out`.

    Returns:
        ``{"best", "front", "candidate", "metrics", "objectives", "prefer", "notes", "unresolved",
        "not_fully_measured", "nearest_miss", "groups", "membership", "pick", "out", "mlflow"}``;
        objectives, groups, membership and pick as in ``results.json``.

    Raises:
        UsageError: No such study, metric, or malformed constraint; the model has no MLflow form.
        StateError: The package was asked for, and its artifact is no longer in the store.
    """
    if mlflow and out is None:
        raise UsageError(
            "--mlflow writes a folder beside the package", hint="Name the package's with --out DIR."
        )
    study = Path(study)
    results, outcomes = open_study(study)
    config = _config_or_none(study)
    objectives = _objectives(results, minimize, maximize)
    prefer = _prefer(prefer, results, config, given=bool(minimize or maximize))
    constraints = parse_where(where) if where.strip() else ()
    known = {name for outcome in outcomes for name in outcome.measurements or {}}
    for metric in [c.metric for c in constraints] + [o.metric for o in objectives]:
        if not known:
            raise UsageError(
                f"nothing is measured in the study {str(study)!r} yet",
                hint="Continue its search: the same `paretune search` command again.",
            )
        if metric not in known:
            raise UsageError(f"no metric {metric!r} in this study", hint=nearest(metric, known))
    if prefer is not None and prefer not in {o.metric for o in objectives}:
        raise UsageError(
            f"--prefer {prefer!r} is not an objective",
            hint=nearest(prefer, [o.metric for o in objectives]),
        )
    units = {name: m.unit for o in outcomes for name, m in (o.measurements or {}).items()}
    objectives = _with_tolerances(objectives, within, prefer, units)
    entry = results.baseline
    baseline = next((o for o in outcomes if entry is not None and o.id == entry.id), None)
    summary = summarize(outcomes, objectives, constraints, baseline, prefer)
    best = next((o for o in outcomes if o.id == summary.best), None)
    written = beside = None
    if best is not None and out is not None:
        if mlflow:
            check_candidate(best, Path(str(resolved_config(study)["model"])), outcomes)
            _check_place(mlflow_folder(out))
        written = str(_write(best, results, study, out, store))
        if mlflow:
            beside = str(write_beside(out, str(best.artifact), _model_name(study)))
    return {
        "best": summary.best,
        "front": list(summary.front),
        "candidate": None if best is None else best.candidate.to_json(),
        "metrics": {} if best is None else _summaries(best),
        "objectives": [objective.to_json() for objective in objectives],
        "prefer": prefer,
        "notes": [
            *odd_limits(constraints, _specs(config), _of_others(config)),
            *against_the_grain(objectives, constraints, _specs(config)),
            *unsettled_notes(outcomes, summary),
            *([] if best is None else condition_notes([best])),
        ],
        "unresolved": [constraint.text for constraint in summary.unresolved],
        "candidates": len(outcomes),
        "not_fully_measured": sum(_unsure(outcome, baseline) for outcome in outcomes),
        "nearest_miss": summary.nearest_miss,
        **front_uncertainty(outcomes, summary, objectives),
        "pick": pick_entry(
            outcomes,
            summary,
            objectives,
            baseline,
            prefer,
            None if best is None else read_confirmed(study, best),
        ),
        "out": written,
        "mlflow": beside,
    }


def _model_name(study: Path) -> str:
    return Path(str(resolved_config(study)["model"])).name


def _unsure(outcome: TrialResult, baseline: TrialResult | None) -> bool:
    """Return whether a candidate's measurement ended before it was complete."""
    reference = {} if baseline is None else baseline.measurements or {}
    return outcome.kind in (OutcomeKind.INFEASIBLE, OutcomeKind.PRUNED) or (
        outcome.kind is OutcomeKind.OK and bool(partly_measured(outcome, reference))
    )


def _summaries(outcome: TrialResult) -> dict[str, Json]:
    return {name: m.summary() for name, m in (outcome.measurements or {}).items()}


def _objectives(
    results: Results, minimize: Sequence[str], maximize: Sequence[str]
) -> tuple[Objective, ...]:
    low: Direction = "minimize"
    high: Direction = "maximize"
    own = {entry.metric: entry.objective for entry in results.objectives}
    asked = (*((m, low) for m in minimize), *((m, high) for m in maximize))
    if not asked:
        return tuple(own.values())
    asked = tuple(dict.fromkeys(asked))
    both = sorted(set(minimize) & set(maximize))
    if both:
        raise UsageError(
            f"{both[0]} is given for both --minimize and --maximize", hint="Remove one of them."
        )
    return tuple(
        own[m] if m in own and own[m].direction == d else Objective(m, d) for m, d in asked
    )


def _prefer(
    asked: str | None, results: Results, config: dict[str, Json], *, given: bool
) -> str | None:
    """Return the metric to choose by first: as asked, else the study's own."""
    if asked is not None or given:
        return asked
    # Documents of older versions do not have it; their configurations do.
    own = results.prefer or (config.get("search") or {}).get("prefer")
    return None if own is None else str(own)


def _with_tolerances(
    objectives: tuple[Objective, ...],
    within: Sequence[str],
    prefer: str | None,
    units: Mapping[str, str],
) -> tuple[Objective, ...]:
    """Return the objectives with the tolerances of the command line."""
    first = in_order(objectives, prefer)[0].metric
    asked: dict[str, Tolerance] = {}
    for text in within:
        named, _, amount = text.rpartition("=")
        metric = named.strip() or first
        try:
            tolerance = parse_tolerance(amount)
        except ValueError as error:
            raise UsageError(
                f"--within {text!r}: {error}", hint="Examples: 0.01, 1% or accuracy=0.01."
            ) from error
        objective = next((o for o in objectives if o.metric == metric), None)
        if objective is None:
            raise UsageError(
                f"--within {text!r}: {metric!r} is not an objective",
                hint=nearest(metric, [o.metric for o in objectives]),
            )
        problem = too_wide(tolerance, objective.direction, units.get(metric))
        if problem is not None:
            raise UsageError(f"--within {text!r}: {problem}", hint="Give a smaller tolerance.")
        asked[metric] = tolerance
    return tuple(replace(o, within=asked.get(o.metric, o.within)) for o in objectives)


def _config_or_none(study: Path) -> dict[str, Json]:
    """Return the study's configuration; empty if it cannot be read, because it is optional here."""
    try:
        return resolved_config(study)
    except StateError:
        return {}


def _specs(config: dict[str, Json]) -> dict[str, MetricSpec]:
    """Return the metrics of the study's evaluators that are installed."""
    found: dict[str, MetricSpec] = {}
    for entry in config.get("evaluate") or []:
        name, params = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
        try:
            kind = find_evaluator(name)
            found |= {spec.name: spec for spec in kind(kind.Params(**(params or {}))).metrics}
        except (UsageError, ValueError):  # another machine's, or of another version
            continue
    return found


def _of_others(config: dict[str, Json]) -> frozenset[str]:
    """Return the metrics that a user's function or another package's evaluator yields."""
    entries = [
        entry
        for entry in config.get("evaluate") or []
        if (name := entry if isinstance(entry, str) else next(iter(entry))) == "custom"
        or not is_ours("evaluators", name)
    ]
    return frozenset(_specs({"evaluate": entries}))


def _write(best: TrialResult, results: Results, study: Path, out: Path, store: Path | None) -> Path:
    from paretune.reporting.outputs import hand_over

    _check_place(out)
    resolved = resolved_config(study)
    where = Store(store or default_store())
    legal = study / LEGAL  # one of an earlier version keeps none
    legal = legal if legal.is_dir() else Path(str(resolved["model"]))
    try:
        hand_over(best, results, resolved, where, out, example_of(study, resolved), [legal], study)
    except StateError as error:
        raise (lacking(error, study, best, resolved) if best.candidate.recipe else error) from error
    return out


def _check_place(out: Path) -> None:
    """Refuse a folder that no package can be written to, before anything is written.

    Raises:
        UsageError: It is a file, lies below one, is not empty, or may not be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if not out.is_dir() and (out.exists() or out.is_symlink()):
            raise UsageError(f"{str(out)!r} is a file", hint="Name a new folder for the package.")
        filled = out.is_dir() and any(out.iterdir())
    except OSError as error:
        raise UsageError(
            f"the package cannot be written to {str(out)!r}: {error.strerror}",
            hint="Name a new folder for the package.",
        ) from error
    if filled:
        raise UsageError(
            f"{str(out)!r} is not empty",
            hint="Name a new or empty folder: existing files are never mixed with a package.",
        )
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"the package cannot be written to {str(out)!r}: {os.strerror(errno.EACCES)}",
            hint="Name a folder that this user may write to.",
        )


def render(picked: dict[str, Json]) -> str:
    """Return the choice as text for the terminal."""
    if picked["best"] is None:
        lines = ["no measured candidate meets these constraints"]
        lines += [
            f"{text!r} cannot be evaluated: the baseline has no value of this metric"
            for text in picked["unresolved"]
        ]
        miss = picked["nearest_miss"]
        if miss is not None:
            lines.append(
                f"nearest miss: candidate {miss['id']}: {miss['constraint']}, "
                f"measured {miss['value']:.4g}"
            )
    else:
        from paretune.core.candidate import Candidate

        shown = describe(Candidate.from_json(picked["candidate"]))
        lines = [f"candidate {picked['best']}: {shown}"]
        lines += [
            f"  {name:<20} {m['value']:.4g} {m['unit']}"
            for name, m in picked["metrics"].items()
            if m["value"] is not None
        ]
        choice = Choice.from_json(picked)
        lines += [*sentences(choice), *doubts(choice, picked["best"])]
    lines += [f"note: {note}" for note in picked["notes"]]
    if picked["not_fully_measured"]:
        lines.append(
            f"{picked['not_fully_measured']} of {picked['candidates']} candidates were not "
            "completely measured, because the search stopped them by its own constraints; they are "
            "not considered here. To measure them, search again with other constraints"
        )
    if picked["out"] is not None:
        lines.append(f"package: {picked['out']}")
    if picked.get("mlflow") is not None:
        lines.append(f"mlflow:  {picked['mlflow']}")
    return "\n".join(lines)
