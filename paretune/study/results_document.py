"""Builds ``results.json`` from a study's outcomes: after each one, so it is built fast."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence

from paretune.core.candidate import Candidate, recipe_to_json
from paretune.core.distributions import package_version
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.search.ask_seconds import ask_seconds
from paretune.search.borderline import borderline
from paretune.search.constraints import Constraint, Objective
from paretune.search.forecast_quality import forecast_quality
from paretune.search.front_uncertainty import front_uncertainty
from paretune.search.ineffective_parameters import parameters_without_effect
from paretune.search.outcomes import of_candidate
from paretune.search.progress import progress
from paretune.search.summary import StudySummary
from paretune.study.measurement_notes import measurement_entry, unsettled_notes
from paretune.study.pick_entry import pick_entry
from paretune.study.repeats_entry import MadeRepeats, repeats_entry
from paretune.study.results import CandidateEntry, Results
from paretune.study.results_conditions import condition_notes, conditions_of, sensors_of

SCHEMA = 1
PACKAGES = (
    "paretune",
    "torch",
    "transformers",
    "peft",
    "onnxruntime",
    "onnxruntime-genai",
    "optuna",
)
_OF_DEVICE = ("pareto", "best", "nearest_miss", "sensors", "repeats")


class ResultsDocument:
    """The parts of ``results.json`` that stay, and the lines of its candidates.

    Args:
        study: The study's name.
        config: Digest of the resolved configuration.
        device: ``TargetInfo.to_json()`` of the measuring device.
        objectives: In order.
        constraints: As configured.
        baseline: Digest of the baseline candidate.
        notes: What the user should know.
        roofline: Returns a candidate's roofline, if it is known.
        prefer: Metric that the pick is chosen by first.
        runtime: Gives the name of a candidate's runtime.
        priors: ``priors`` and ``priors_before`` of the document, if there are any.
    """

    def __init__(
        self,
        study: str,
        config: str,
        device: Mapping[str, Json],
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        baseline: str,
        notes: Sequence[str] = (),
        roofline: Callable[[TrialResult], Json] = lambda outcome: None,
        prefer: str | None = None,
        runtime: Callable[[Candidate], str | None] = lambda candidate: None,
        priors: Mapping[str, Json] | None = None,
    ) -> None:
        self._head: dict[str, Json] = {
            "schema": SCHEMA,
            "study": study,
            "status": "running",
            "config": config,
            "versions": {
                name: device.get("packages", {}).get(name) or package_version(name)
                for name in PACKAGES
            },
            "device": dict(device),
            "objectives": [objective.to_json() for objective in objectives],
            "prefer": prefer,
            "notes": list(notes),
            **(priors or {}),
        }
        self._device = str(device.get("name", "local"))
        self._objectives = tuple(objectives)
        self._constraints = constraints
        self._roofline = roofline
        self._runtime = runtime
        self._baseline = baseline
        self._lines: dict[int, tuple[TrialResult, bool, bool, bytes]] = {}

    def results(
        self,
        outcomes: Sequence[TrialResult],
        summary: StudySummary,
        status: str,
        confirmed: Mapping[str, Measurement] | None = None,
        spent_s: float = 0.0,
        ended: Mapping[str, Json] | None = None,
        *,
        whole: bool = True,
        repeats: MadeRepeats | None = None,
    ) -> Results:
        """Return the document.

        Args:
            outcomes: By id.
            summary: Derived from them.
            status: ``running``, ``finished`` or ``interrupted``.
            confirmed: What the pick yields on the held-out data, if it was measured.
            spent_s: Seconds that the study has spent, where that is known.
            ended: Why the search ended, if it did.
            whole: Whether its candidates are in it: `text` does without them.
            repeats: Those of the pick; None: none were asked for.
        """
        base, places = of_candidate(outcomes, self._baseline), _places(summary)
        shown = outcomes if whole else ()
        found: dict[str, Json] = {
            **self._head,
            "status": status,
            "constraints": self._limits(summary),
            "baseline": None if base is None else self._baseline_entry(base),
            "candidates": [self._entry(outcome, *places(outcome)) for outcome in shown],
            "pareto": list(summary.front),
            "best": summary.best,
            "nearest_miss": None if summary.nearest_miss is None else dict(summary.nearest_miss),
            "ended": None if ended is None else dict(ended),
            "no_difference": parameters_without_effect(outcomes) if status != "running" else [],
        }
        if status != "running":
            notes = (*unsettled_notes(outcomes, summary), *condition_notes(outcomes))
            # Those of a document that is made again are among the first ones.
            found["notes"] = list(dict.fromkeys((*self._head["notes"], *notes)))
            sensors = sensors_of(outcomes)
            if sensors is not None:
                found["sensors"] = sensors
            found |= front_uncertainty(outcomes, summary, self._objectives)
            found["pick"] = pick_entry(
                outcomes, summary, self._objectives, base, self._head["prefer"], confirmed
            )
            repeated = repeats_entry(
                repeats or MadeRepeats(0),
                outcomes,
                summary,
                self._objectives,
                self._constraints,
                base,
                self._head["prefer"],
            )
            if repeated is not None:
                found["repeats"] = repeated
            found["devices"] = {self._device: self._of_device(found)}
            curve = progress(outcomes, summary, self._objectives, self._head["prefer"], spent_s)
            found["progress"] = [point.to_json() for point in curve.points]
            found["progress_reference"] = curve.reference
            derived = {
                "forecasts": forecast_quality(outcomes, summary.feasible),
                "search_seconds": ask_seconds(outcomes),
            }
            found |= {key: value.to_json() for key, value in derived.items() if value is not None}
            found["near_limits"] = [n.to_json() for n in borderline(outcomes, summary, base)]
        return Results.from_json(found)

    def _of_device(self, found: Mapping[str, Json]) -> dict[str, Json]:
        """Return what one measuring device found: today there is one, which has these outcomes."""
        entries: list[CandidateEntry] = found["candidates"]
        return {
            "device": self._head["device"],
            "metrics": {str(entry.id): entry.metrics for entry in entries if entry.metrics},
            **{key: found[key] for key in _OF_DEVICE if key in found},
        }

    def text(
        self,
        results: Results,
        outcomes: Sequence[TrialResult] = (),
        summary: StudySummary | None = None,
    ) -> str:
        """Return the text of a document that `results` made, one candidate per line.

        Args:
            results: The document.
            outcomes: Those that it was made of: the lines that were made before are used again.
            summary: Derived from them; None: the lines are those of the document.
        """
        if summary is None:
            lines = [_text(entry.to_json()) for entry in results.candidates]
        else:
            places = _places(summary)
            lines = [self._line(outcome, *places(outcome)) for outcome in outcomes]
        rows = ",\n  ".join(lines)
        others = results.model_copy(update={"candidates": []})
        parts = {key: _text(value) for key, value in others.to_json().items()}
        parts["candidates"] = f"[\n  {rows}\n ]" if rows else "[]"
        lines = [f" {json.dumps(key)}: {value}" for key, value in parts.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def _line(self, outcome: TrialResult, feasible: bool, pareto: bool) -> str:
        """Return a candidate's line; what was made before is kept compressed, as it is most of it.

        A finalist's outcome is replaced, as more of it is measured.
        """
        known = self._lines.get(outcome.id)
        if known is not None and known[0] is outcome and known[1:3] == (feasible, pareto):
            return zlib.decompress(known[3]).decode()
        text = _text(self._entry(outcome, feasible, pareto).to_json())
        self._lines[outcome.id] = (outcome, feasible, pareto, zlib.compress(text.encode(), 1))
        return text

    def _entry(self, outcome: TrialResult, feasible: bool, pareto: bool) -> CandidateEntry:
        row = outcome.to_json()
        del row["schema"], row["ran_job"]
        row.pop("beyond_trials", None)
        row |= {
            "runtime": self._runtime_entry(outcome),
            "metrics": _metrics(outcome),
            "feasible": feasible,
            "pareto": pareto,
            "roofline": self._roofline(outcome),
        }
        conditions = conditions_of(outcome)
        if conditions is not None and conditions.to_json():  # else the device reports nothing
            row["conditions"] = conditions.to_json()
        if outcome.parent is not None:
            row["parent"]["metrics"] = _entries(outcome.parent.metrics)
        return CandidateEntry.from_json(row)

    def _runtime_entry(self, outcome: TrialResult) -> dict[str, Json]:
        candidate = outcome.candidate
        return {"name": self._runtime(candidate), **candidate.runtime.settings}

    def _baseline_entry(self, outcome: TrialResult) -> dict[str, Json]:
        return {
            "id": outcome.id,
            "recipe": recipe_to_json(outcome.candidate.recipe),
            "runtime": self._runtime_entry(outcome),
            "metrics": _metrics(outcome),
        }

    def _limits(self, summary: StudySummary) -> list[Json]:
        resolved: list[Json] = [
            {"metric": limit.metric, "op": limit.op, "value": limit.value, "text": limit.text}
            | ({} if limit.remark is None else {"remark": limit.remark})
            for limit in summary.limits
        ]
        return resolved + [
            {"metric": c.metric, "op": c.op, "value": None, "text": c.text}
            for c in summary.unresolved
        ]


def _places(summary: StudySummary) -> Callable[[TrialResult], tuple[bool, bool]]:
    """Return what tells whether a candidate is feasible, and whether it is on the front."""
    front = frozenset(summary.front)
    return lambda outcome: (outcome.id in summary.feasible, outcome.id in front)


def _metrics(outcome: TrialResult) -> dict[str, Json]:
    return _entries(outcome.measurements or {})


def _entries(measured: Mapping[str, Measurement]) -> dict[str, Json]:
    return {name: measurement_entry(m) for name, m in measured.items()}


def _text(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
