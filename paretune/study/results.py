"""``results.json``, schema 1: its classes, its reader and its JSON Schema.

python -m paretune.study.results          writes paretune/schemas/results.schema.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import StateError
from paretune.core.jsontools import Json, parse_json
from paretune.search.constraints import Limit, Objective
from paretune.search.tolerance import parse_tolerance
from paretune.study.prior_entry import PriorEntry
from paretune.study.results_across import AcrossEntry, OneForAllEntry
from paretune.study.results_certainty import (
    EndedEntry,
    GroupEntry,
    MembershipEntry,
    NearLimitEntry,
    PickEntry,
    ProgressPoint,
)
from paretune.study.results_conditions import ConditionsEntry
from paretune.study.results_forecasts import (
    ForecastEntry,
    ForecastsEntry,
    SearchSecondsEntry,
)
from paretune.study.results_part import MetricValue, Part
from paretune.study.results_repeats import RepeatsEntry

SCHEMA_FILE = Path(__file__).resolve().parent.parent / "schemas" / "results.schema.json"
_MAX_BYTES = 512 << 20
NOT_MEASURED = "it was not measured"
OutcomeWord = Literal[
    "ok",
    "infeasible",
    "pruned",
    "invalid",
    "failed",
    "crashed",
    "timeout",
    "out_of_memory",
    "duplicate",
    "skipped",
]


class StepEntry(Part):
    """One pass of a recipe."""

    name: str = Field(alias="pass")
    params: dict[str, Any]


class RuntimeEntry(Part):
    """The runtime's name (null: not known) and its settings."""

    name: str | None = None
    provider: str
    threads: int

    @property
    def settings(self) -> RuntimeSettings:
        """The settings without the runtime's name."""
        return RuntimeSettings.from_json({**self.to_json(), "name": ""})


class SecondsEntry(Part):
    """What one step took."""

    step: str
    s: float
    cached: bool = Field(description="True if it was taken from the store or another candidate.")
    resumed: float | None = Field(
        default=None, description="Share that an earlier run had done; it went on from there."
    )
    details: dict[str, Json] | None = Field(
        default=None, description="What the pass found; `summary` is a sentence. Absent: nothing."
    )


class RooflineEntry(Part):
    """What a candidate needs of the device, and how near it comes to what the device allows."""

    bytes_per_token: int = Field(description="Read for each decoded token, at the least.")
    operations_per_prompt_token: int = Field(
        description="Multiplications and additions for each token of a prompt."
    )
    decode_share: float | None = Field(
        None, description="Time that the device's bandwidth allows over the measured time."
    )
    ttft_share: float | None = Field(
        None, description="Time that its arithmetic allows over the measured time."
    )


class BuildCostEntry(Part):
    """By how much a build's metric differs from its parent's, on the same examples."""

    value: float = Field(description="The build's minus the parent's, in the metric's unit.")
    low: float | None = Field(description="Lower end of the 95 % interval.")
    high: float | None = Field(description="Upper end of it.")
    n: int = Field(description="Examples that both were measured on.")
    change: float | None = Field(
        description="The same as the search uses it: of a perplexity the logarithm of the ratio."
    )


class ParentEntry(Part):
    """The trained model in full precision that a candidate is built from."""

    artifact: str
    steps: int = Field(description="Steps of the candidate's recipe that lead to it.")
    metrics: dict[str, MetricValue]
    bounds: dict[str, tuple[float | None, float | None]] = Field(
        description="Between which values a metric is on all examples."
    )
    costs: dict[str, BuildCostEntry]


class CandidateEntry(Part):
    """One candidate."""

    id: int
    recipe: list[StepEntry]
    runtime: RuntimeEntry
    outcome: OutcomeWord
    rung: Literal["smoke", "rough", "full"] | None
    reason: str | None
    duplicate_of: int | None
    feasible: bool
    pareto: bool
    metrics: dict[str, MetricValue]
    artifact: str | None
    structure: str | None = Field(None, description="Digest of all but the weights' values.")
    seconds: list[SecondsEntry]
    roofline: RooflineEntry | None = None
    forecast: ForecastEntry | None = Field(
        None, description="What the strategy expected when it started it; absent: it did not say."
    )
    asked_s: float | None = Field(
        None, ge=0, description="Seconds that the strategy took to choose it."
    )
    parent: ParentEntry | None = Field(
        None, description="What was measured before the build; null: nothing."
    )
    conditions: ConditionsEntry | None = Field(
        None, description="The device's state meanwhile; absent: it reports nothing of it."
    )

    @property
    def spent(self) -> float:
        """Seconds of its own steps, without those taken from the store or another candidate."""
        return sum(step.s for step in self.seconds if not step.cached)

    def value(self, metric: str) -> float | None:
        """Return a metric's value; None if there is none."""
        return self.metrics[metric].value if metric in self.metrics else None

    def why_not(self, metric: str) -> str:
        """Return why a metric has no value."""
        reason = self.metrics[metric].reason if metric in self.metrics else None
        return reason or NOT_MEASURED


class ConstraintEntry(Part):
    """A constraint with its number in force."""

    metric: str
    op: Literal["<=", "<", ">=", ">"]
    value: float | None = Field(description="null if the baseline lacks the metric.")
    text: str = Field("", description="What was written.")
    remark: str | None = Field(None, description="What is odd about the number in force.")

    def broken_by(self, candidate: CandidateEntry) -> bool:
        """Return whether a candidate has a value on the wrong side of the limit."""
        value = candidate.value(self.metric)
        if value is None or self.value is None:
            return False
        return not Limit(self.metric, self.op, self.value, self.text).holds(value)


class ObjectiveEntry(Part):
    """An objective."""

    metric: str
    direction: Literal["minimize", "maximize"]
    within: float | str = Field(
        "1%",
        description="How much worse than the best the pick may be: in the metric's unit, or "
        "as a share of the best.",
    )

    @field_validator("within")
    @classmethod
    def _is_a_tolerance(cls, value: float | str) -> float | str:
        parse_tolerance(value)
        return value

    @property
    def objective(self) -> Objective:
        """The objective that the search used."""
        return Objective(self.metric, self.direction, parse_tolerance(self.within))


class BaselineEntry(Part):
    """The baseline."""

    id: int | None = None
    recipe: list[StepEntry]
    metrics: dict[str, MetricValue]

    def value(self, metric: str) -> float | None:
        """Return a metric's value; None if there is none."""
        return self.metrics[metric].value if metric in self.metrics else None


class NearestMiss(Part):
    """Who came nearest, where nothing is feasible."""

    id: int
    constraint: str
    value: float
    limit: float


class DeviceEntry(Part):
    """The device: what the report shows of it."""

    processor: str = ""
    cores: int = 0
    memory: int = Field(0, description="Main memory in bytes.")
    os: str = ""
    python: str = ""
    gpus: list[str] = Field([])
    providers: list[str] = Field([])
    flags: list[str] = Field([], description="Instruction sets.")
    fingerprint: str = ""


class NoDifference(Part):
    """A parameter that changed nothing."""

    name: str = Field(alias="pass")
    param: str
    values: list[Any] = Field(description="What was tried.")
    groups: int = Field(description="In how many otherwise equal groups of candidates.")


class DeviceOutcome(Part):
    """How a candidate ended on a device."""

    outcome: OutcomeWord
    rung: Literal["smoke", "rough", "full"] | None
    reason: str | None
    feasible: bool


class DeviceCandidate(Part):
    """What a candidate is, where the list of the first device does not have it."""

    recipe: list[StepEntry]
    runtime: RuntimeEntry


class DeviceResults(Part):
    """What one measuring device found."""

    device: DeviceEntry
    metrics: dict[str, dict[str, MetricValue]] = Field(
        description="By the candidate's id (as text), its metrics on this device."
    )
    pareto: list[int] = Field(description="Ids of the Pareto front on this device.")
    best: int | None
    nearest_miss: NearestMiss | None
    sensors: list[str] | None = Field(None, description="As `sensors` beside `devices`.")
    outcomes: dict[str, DeviceOutcome] = Field(
        {},
        description="By the candidate's id (as text), how it ended on this device. Of studies with "
        "several devices only, like `candidates`, `status` and `folder`.",
    )
    candidates: dict[str, DeviceCandidate] = Field(
        {},
        description="By their ids (as text), the candidates of this device that `candidates` "
        "beside `devices` does not have: it lists those of the first device.",
    )
    repeats: RepeatsEntry | None = Field(None, description="As `repeats` beside `devices`.")
    status: Literal["running", "finished", "interrupted"] | None = None
    folder: str | None = Field(
        None, description="Where the device's own study is, relative to this one's folder."
    )
    not_compared: str | None = Field(
        None,
        description="Why it is not in `picks` and `one_for_all`: its answer is to another question "
        "than the study asks today.",
    )


class Results(Part):
    """The whole document."""

    schema_: Literal[1] = Field(alias="schema")
    study: str
    status: Literal["running", "finished", "interrupted"]
    config: str = Field(description="Digest of the resolved configuration.")
    versions: dict[str, str]
    device: DeviceEntry = Field(description="The (first) measuring device.")
    objectives: list[ObjectiveEntry] = Field(min_length=1)
    prefer: str | None = Field(None, description="Objective the pick is chosen by first.")
    notes: list[str] = Field([], description="What the user should know.")
    constraints: list[ConstraintEntry]
    baseline: BaselineEntry | None
    candidates: list[CandidateEntry]
    pareto: list[int]
    best: int | None
    nearest_miss: NearestMiss | None
    devices: dict[str, DeviceResults] = Field(
        {},
        description="By name, what each measuring device found; the keys beside it are those of "
        "the first one. Absent while the search runs.",
    )
    sensors: list[str] | None = Field(
        None,
        description="What the (first) measuring device reports while it measures: `frequency`, "
        "`temperature`, `throttling`, `gpu`; null: not known.",
    )
    picks: list[AcrossEntry] = Field(
        [], description="Of studies with several devices: what each one's pick reaches on each."
    )
    one_for_all: OneForAllEntry | None = Field(
        None, description="Which of them costs least on all; null: none was measured on all."
    )
    ended: EndedEntry | None = Field(None, description="Why the search ended; null: it runs.")
    no_difference: list[NoDifference] = Field([])
    groups: list[GroupEntry] = Field([])
    membership: list[MembershipEntry] = Field([])
    near_limits: list[NearLimitEntry] = Field([])
    progress: list[ProgressPoint] = Field(
        [],
        description="A point for each trial that changed the pick or the front's hypervolume, and "
        "one for the end. Absent while the search runs.",
    )
    progress_reference: dict[str, float] | None = Field(
        None, description="The hypervolume's reference point; null: nothing is feasible."
    )
    pick: PickEntry | None = None
    repeats: RepeatsEntry | None = Field(
        None,
        description="The pick's recipe with other training seeds; absent: none were asked for, or "
        "the search runs.",
    )
    forecasts: ForecastsEntry | None = Field(
        None, description="How good the strategy's forecasts were; absent: there are none."
    )
    search_seconds: SearchSecondsEntry | None = Field(
        None, description="What choosing the candidates cost; absent while the search runs."
    )
    priors: list[PriorEntry] = Field(
        [], description="Earlier studies that the forecasts have used; no value here is theirs."
    )
    priors_before: list[str] = Field(
        [], description="Earlier studies that an earlier run of this search has used."
    )


class Choice(Part):
    """What makes a choice from the front uncertain: a part of what ``pick`` returns."""

    objectives: list[ObjectiveEntry]
    groups: list[GroupEntry] = Field([])
    membership: list[MembershipEntry] = Field([])
    pick: PickEntry | None = None


def read_results(path: Path) -> Results:
    """Read and check a results document.

    Raises:
        StateError: It is missing, damaged, or of another schema.
    """
    hint = "Run the same `paretune search` again: it is rebuilt from the outcomes."
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise StateError(f"{path}: larger than {_MAX_BYTES} bytes", hint=hint)
        return Results.from_json(parse_json(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}", hint=hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StateError(f"{path}: {where}: {first['msg']}", hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise StateError(f"{path} is damaged: {error}", hint=hint) from error


def earlier_end(study: Path) -> dict[str, Json] | None:
    """Return why a study's last search ended; None: that is not known."""
    try:
        ended = read_results(study / "results.json").ended
    except StateError:  # it is written again
        return None
    return None if ended is None else ended.to_json()


def schema_text() -> str:
    """Return the JSON Schema of the document."""
    return json.dumps(Results.model_json_schema(by_alias=True), indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.parent.mkdir(exist_ok=True)
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
