"""Reads a study: its outcomes, and a results document that agrees with them.

``results.json`` is written every few seconds only, so after a kill it is older than the outcomes.
The outcomes are the truth: if the two differ, the document is made again, in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from paretune.core.candidate import Candidate
from paretune.core.errors import StateError, UsageError
from paretune.core.jsontools import Json, read_json, write_atomic
from paretune.core.result import TrialResult
from paretune.search.constraints import parse_constraint
from paretune.search.outcomes import with_id
from paretune.search.summary import summarize
from paretune.store.gc import in_use
from paretune.study.devices import with_other_devices
from paretune.study.folder import read_confirmed, read_outcomes
from paretune.study.prior_entry import KEYS as PRIORS
from paretune.study.repeats import read_repeats
from paretune.study.repeats_entry import MadeRepeats
from paretune.study.results import CandidateEntry, Results, read_results


def open_results(study: Path) -> Results:
    """Read a study's ``results.json``.

    Raises:
        UsageError: There is no study.
        StateError: It is damaged, or missing in a study that has outcomes.
    """
    file = study / "results.json"
    if not file.is_file():
        if next(study.glob("candidates/*/outcome.json"), None) is not None:
            raise StateError(
                f"study {str(study)!r} has outcomes but no results.json",
                hint="Run the same `paretune search` again: it writes the file again.",
            )
        raise UsageError(
            f"{str(study)!r} is not a study: it has no results.json",
            hint="Name a folder that `paretune search` wrote, such as studies/tone.",
        )
    return read_results(file)


def open_study(study: Path) -> tuple[Results, list[TrialResult]]:
    """Return a study's results document, made from its outcomes if older, and the outcomes.

    Of a study with several devices the documents of all of them are joined.

    Raises:
        UsageError: There is no study.
        StateError: A file of it cannot be read.
    """
    results = open_results(study)
    outcomes = read_outcomes(study)
    made = _repeats(study, results, outcomes, results.best)
    shown = [] if results.repeats is None else [run.artifact for run in results.repeats.runs]
    if [_recorded(row) for row in results.candidates] != [_outcome(o) for o in outcomes] or (
        shown != [run.artifact for run in made.runs]
    ):
        results = _anew(study, results, outcomes)
    return with_other_devices(results, study, lambda place: open_study(place)[0]), outcomes


def _recorded(row: CandidateEntry) -> tuple[object, ...]:
    """Return the part of a document's row that must agree with its outcome."""
    values = {name: (m.value, m.n) for name, m in row.metrics.items()}
    return row.id, row.outcome, row.artifact, values


def _outcome(outcome: TrialResult) -> tuple[object, ...]:
    values = {name: (m.value, m.n) for name, m in (outcome.measurements or {}).items()}
    return outcome.id, outcome.kind.value, outcome.artifact, values


def _anew(study: Path, old: Results, outcomes: Sequence[TrialResult]) -> Results:
    from paretune.study.results_document import ResultsDocument

    objectives = [entry.objective for entry in old.objectives]
    constraints = [parse_constraint(entry.text) for entry in old.constraints]
    baseline = _baseline(study, old, outcomes)
    named = {row.id: row.runtime.name for row in old.candidates}
    names = {o.candidate.digest: named.get(o.id) for o in outcomes}
    roofs = {row.id: row.roofline for row in old.candidates}
    document = ResultsDocument(
        old.study,
        old.config,
        old.device.to_json(),
        objectives,
        constraints,
        "" if baseline is None else baseline.candidate.digest,
        old.notes,
        lambda outcome: roofs.get(outcome.id),
        old.prefer,
        lambda candidate: names.get(candidate.digest),
        {key: value for key, value in old.to_json().items() if key in PRIORS},
    )
    summary = summarize(outcomes, objectives, constraints, baseline, old.prefer)
    pick = next((o for o in outcomes if o.id == summary.best), None)
    confirmed = None if pick is None else read_confirmed(study, pick)
    status = "running" if in_use(study) else "interrupted"
    repeats = _repeats(study, old, outcomes, summary.best)
    made = document.results(outcomes, summary, status, confirmed, repeats=repeats)
    return made.model_copy(update={"versions": old.versions})


def _repeats(
    study: Path, old: Results, outcomes: Sequence[TrialResult], best: int | None
) -> MadeRepeats:
    """Return the repeats of a pick; the document says how many were asked for."""
    pick = with_id(outcomes, best)
    runs = [] if pick is None else read_repeats(study, pick)
    asked, reason = len(runs), None
    if old.repeats is not None:
        asked, reason = max(asked, old.repeats.asked), old.repeats.reason
    return MadeRepeats(asked, runs, reason)


def _baseline(study: Path, old: Results, outcomes: Sequence[TrialResult]) -> TrialResult | None:
    """Return the baseline's outcome; the document or the identity names the baseline."""
    if old.baseline is not None:
        return next((o for o in outcomes if o.id == old.baseline.id), None)
    try:
        wanted = Candidate.from_json(read_json(study / "identity.json")["baseline"]).digest
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return next((o for o in outcomes if o.candidate.digest == wanted), None)


def lacking(
    error: StateError, study: Path, outcome: TrialResult, resolved: Mapping[str, Json]
) -> StateError:
    """Return the error to report if a candidate's artifact is no longer in the store.

    A configuration that builds it again is written into the candidate's folder; the error names it.

    Args:
        error: The store's error.
        study: The study's folder.
        outcome: The candidate's.
        resolved: The study's resolved configuration.
    """
    import yaml

    from paretune.reporting.outputs import recipe_config

    file = study / "candidates" / f"{outcome.id:04d}" / "recipe.yaml"
    recipe = recipe_config(resolved, outcome.candidate)
    try:
        write_atomic(
            file, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), durable=False
        )
    except OSError:  # a study that may only be read
        return error
    return StateError(
        f"candidate {outcome.id}: {error.message}",
        hint=f"Build it again, with the same --store: paretune run '{file}'",
    )
