"""The parts of ``results.json`` that say how sure its answer is, and how it came to be."""

from __future__ import annotations

from pydantic import Field

from paretune.search.stop_rule import EndedBy
from paretune.study.results_part import MetricValue, Part


class GroupEntry(Part):
    """Members of the front that no objective tells apart."""

    members: list[int]
    pick: int = Field(description="The one to take.")
    reason: str = Field(description="Why that one.")


class MembershipEntry(Part):
    """How sure a member of the front is of its place."""

    id: int
    sure: bool = Field(
        description="Better than each other one in some objective, with high confidence."
    )
    rivals: list[int] = Field(description="Feasible candidates that may dominate it.")


class NearLimitEntry(Part):
    """A candidate whose interval reaches over a limit."""

    id: int
    constraint: str = Field(description="The limit, as written.")
    met: bool | None = Field(
        description="Met or missed with high confidence when it was measured again; null: the "
        "value decides."
    )


class WithinEntry(Part):
    """How probable it is that the pick is within an objective's tolerance of the best."""

    metric: str
    probability: float | None = Field(ge=0, le=1, description="null: not known.")
    reason: str | None = Field(None, description="Why it is not known.")


class LimitChance(Part):
    """How probable it is that the pick meets a limit."""

    constraint: str = Field(description="The limit, as written.")
    probability: float | None = Field(ge=0, le=1, description="null: not known.")
    reason: str | None = Field(None, description="Why it is not known.")


class SelectionBiasEntry(Part):
    """What being chosen added to a metric of the pick."""

    metric: str
    raw: float = Field(description="As measured.")
    bias: float = Field(
        description="By how much the value of a chosen candidate exceeds the true one on average, "
        "by a bootstrap of the whole selection."
    )
    corrected: float = Field(description="raw without bias.")


class ConfirmedValue(MetricValue):
    """A metric of the pick on the held-out data."""

    data: str | None = Field(None, description="Which data.")


class PickEntry(Part):
    """How sure the pick is."""

    id: int
    probability: float | None = Field(
        ge=0, le=1, description="That all of the following hold together; null: not known."
    )
    best_probability: float | None = Field(
        None,
        ge=0,
        le=1,
        description="That it is the best feasible candidate, within the tolerances of all "
        "objectives, the last included; null: not known.",
    )
    within: list[WithinEntry]
    limits: list[LimitChance]
    examples: int = Field(description="On how many examples this rests; 0: on none.")
    examples_needed: int | None = Field(
        description="How many would make the probability reach 0.95 if the measured values are "
        "right; null: it is reached, or none would."
    )
    note: str | None = Field(None, description="Why no number of examples would.")
    selection_bias: SelectionBiasEntry | None = None
    confirmed: dict[str, ConfirmedValue] | None = Field(
        None, description="By metric, on the data that `split: {confirm}` holds out."
    )


class EndedEntry(Part):
    """Why a search ended."""

    by: EndedBy = Field(
        description="What was used up (space, trials, time), the rule `search: {stop: ...}`, or "
        "an interrupt."
    )
    reason: str | None = Field(None, description="What the rule found.")
    stop: dict[str, float] | None = Field(None, description="The rule in force.")
    outcomes: int = Field(ge=0, description="Outcomes of the study at that moment.")


class ProgressPoint(Part):
    """Where the study stood at one moment, by the values that are known now."""

    at_s: float = Field(ge=0, description="Wall seconds that the study had spent.")
    trials: int = Field(ge=0, description="Candidates that had ended after a job.")
    best: int = Field(description="Id of the pick among the candidates that had ended.")
    values: dict[str, float] = Field(description="Its objectives.")
    hypervolume: float = Field(
        ge=0, le=1, description="Of what had ended, as a share of that of the whole study."
    )
