"""Objectives and constraints: parsed, never evaluated.

A constraint is ``METRIC (<=|<|>=|>) (NUMBER | baseline [(+|-|*) NUMBER])``; in ``--where`` a comma
means and.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json
from paretune.core.measurement import Direction, Measurement
from paretune.search.tolerance import DEFAULT, Tolerance

_METRIC = r"(?P<metric>[A-Za-z_][A-Za-z0-9_]*(?:@\d+)?)"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FORM = re.compile(
    rf"\s*{_METRIC}\s*(?P<op><=|>=|<|>)\s*"
    rf"(?:(?P<number>{_NUMBER})|(?P<baseline>baseline)"
    rf"(?:\s*(?P<sign>[-+*])\s*(?P<amount>{_NUMBER}))?)\s*",
)
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
}
_EXAMPLES = "'size_mb <= 300', 'accuracy >= baseline - 0.02', 'decode_ms_p50 < baseline * 0.5'"
_LONGEST = 200


@dataclass(frozen=True)
class Objective:
    """A metric to make small or large.

    Attributes:
        metric: Its name.
        direction: ``minimize`` or ``maximize``.
        within: How much worse than the best a candidate may be and still be chosen by the next
            objective.
    """

    metric: str
    direction: Direction
    within: Tolerance = DEFAULT

    def shortfall(self, value: float, best: float) -> float:
        """Return by how much a value is worse than the best; in the metric's unit."""
        return value - best if self.direction == "minimize" else best - value

    def to_json(self) -> dict[str, Json]:
        """Return it as ``results.json`` has it."""
        return {
            "metric": self.metric,
            "direction": self.direction,
            "within": self.within.to_json(),
        }


def in_order(objectives: Iterable[Objective], prefer: str | None) -> list[Objective]:
    """Return the objectives in the order in which the pick is chosen.

    Args:
        objectives: In order of importance.
        prefer: Metric to begin with, if it is one of them.
    """
    return sorted(objectives, key=lambda objective: objective.metric != prefer)


@dataclass(frozen=True)
class Limit:
    """A constraint with its number in force.

    Attributes:
        metric: The metric.
        op: ``<=``, ``<``, ``>=`` or ``>``.
        value: The number.
        text: What was written.
        relative: Sign and amount applied to the baseline's value, if it is relative.
    """

    metric: str
    op: str
    value: float
    text: str
    relative: tuple[str, float] | None = None

    def holds(self, value: float | None) -> bool:
        """Return whether a value meets the limit; a missing one or NaN does not."""
        return value is not None and _HOLDS[self.op](value, self.value)

    @property
    def odd_as_written(self) -> bool:
        """Whether its factor cancels the baseline: reported before anything runs."""
        return self.relative is not None and self.relative[0] == "*" and self.relative[1] <= 0

    @property
    def remark(self) -> str | None:
        """What is odd about the number in force; None if nothing is.

        A factor of a baseline of 0 is 0, which everything meets or nothing does; a factor of a
        negative one moves the other way.
        """
        if self.relative is None or self.relative[0] != "*" or self.value > 0:
            return None
        factor = self.relative[1]
        if factor <= 0:
            what = f"a factor of {factor:g} cancels the baseline"
        elif self.value == 0:
            what = f"the baseline's {self.metric} is 0, and a factor of 0 is 0"
        else:
            what = (
                f"the baseline's {self.metric} is negative ({self.value / factor:.4g}), and a "
                "factor moves a negative number the other way"
            )
        return (
            f"{self.text!r} asks for {self.metric} {self.op} {self.value:.4g}: {what}; write "
            "`baseline + NUMBER`, `baseline - NUMBER` or a number"
        )

    def surely_broken(self, measurement: Measurement) -> bool:
        """Return whether the whole interval lies on the wrong side.

        A value without an interval is sure only if it is exact (protocol ``exact-...``).
        """
        m = measurement
        if m.value is None:
            return False
        if m.low is None or m.high is None:
            return m.protocol.startswith("exact") and not self.holds(m.value)
        return not self.holds(m.low) and not self.holds(m.high)

    def violation(self, value: float | None) -> float:
        """Return by how much a value breaks the limit, relative to it; 0 if it holds.

        Relative to 1 where the limit is 0; infinite for a missing value or NaN.
        """
        if self.holds(value):
            return 0.0
        if value is None or math.isnan(value):
            return math.inf
        return max(abs(value - self.value) / (abs(self.value) or 1.0), 5e-324)


@dataclass(frozen=True)
class Constraint:
    """A constraint as written.

    Attributes:
        metric: The metric.
        op: ``<=``, ``<``, ``>=`` or ``>``.
        number: The number, if it is absolute.
        relative: Sign and amount applied to the baseline's value, if it is relative.
        text: What was written.
    """

    metric: str
    op: str
    number: float | None
    relative: tuple[str, float] | None
    text: str

    def resolve(self, baseline: Mapping[str, float]) -> Limit | None:
        """Return the limit in force.

        None if it needs a metric that the baseline lacks, or is beyond every number.
        """
        if self.relative is None:
            assert self.number is not None
            return Limit(self.metric, self.op, self.number, self.text)
        reference = baseline.get(self.metric)
        if reference is None:
            return None
        sign, amount = self.relative
        value = {"+": reference + amount, "-": reference - amount, "*": reference * amount}[sign]
        if not math.isfinite(value):
            return None
        return Limit(self.metric, self.op, value, self.text, self.relative)


def parse_constraint(text: str) -> Constraint:
    """Read one constraint.

    Raises:
        UsageError: It is malformed; says where, and shows examples.
    """
    found = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        raise UsageError(
            f"constraint {text[:_LONGEST]!r}: {_what_is_wrong(text)}",
            hint=f"Examples: {_EXAMPLES}.",
        )
    metric, op = found["metric"], found["op"]
    number = None if found["number"] is None else float(found["number"])
    relative = None
    if found["baseline"] is not None:
        relative = (found["sign"] or "+", float(found["amount"] or 0))
    if not all(math.isfinite(v) for v in (number, relative and relative[1]) if v is not None):
        raise UsageError(
            f"constraint {text!r}: the number is not finite", hint=f"Examples: {_EXAMPLES}."
        )
    return Constraint(metric, op, number, relative, text.strip())


def _what_is_wrong(text: str) -> str:
    """Return the first part that is missing."""
    if len(text) > _LONGEST:
        return f"longer than {_LONGEST} characters"
    begins = re.match(rf"\s*{_METRIC}", text)
    if begins is None:
        return "expected a metric's name at the beginning"
    op = re.compile(r"\s*(<=|>=|<|>)").match(text, begins.end())
    if op is None:
        return f"expected <=, <, >= or > at column {begins.end() + 1}"
    told = f"expected a number, or baseline with + - * and a number, at column {op.end() + 1}"
    after = re.compile(rf"\s*({_NUMBER})\s*(\S.*)").match(text, op.end())
    if after is None:
        return told
    if after[2].startswith("%"):
        return (
            f"a limit is a plain number: {float(after[1]) / 100:g} for {after[1]} % of a metric "
            f"that is a fraction, `baseline * {float(after[1]) / 100:g}` for {after[1]} % of the "
            "baseline"
        )
    return f"a limit is a number in the metric's unit, without {after[2]!r} after it"


def parse_where(text: str) -> tuple[Constraint, ...]:
    """Read constraints separated by commas.

    Raises:
        UsageError: One of them is malformed.
    """
    return tuple(parse_constraint(part) for part in text.split(","))
