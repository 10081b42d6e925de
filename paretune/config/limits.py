"""Limits that cannot be met or broken, or contradict each other, found before anything runs.

A metric has a natural range. A numeric limit is checked against this range, a limit relative to the
baseline for every value that the baseline may have, and all limits on one metric against each
other: for every lower bound ``l`` and upper bound ``u``, both linear in the baseline's value ``b``,
``l(b) <= u(b)`` must have a solution for one ``b`` of the range (Fourier-Motzkin elimination of the
candidate's value).
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from paretune.config.optional_metrics import yielded_by
from paretune.config.yaml_source import Wrong
from paretune.core.errors import UsageError, nearest
from paretune.core.measurement import MetricSpec
from paretune.search.constraints import Constraint, parse_constraint

_MAX_COMPARED = 100
"""Maximum number of limits on one metric that are compared with each other."""
_POSITIVE_UNITS = frozenset({"ms", "s", "MB", "tokens/s", "rows/s", "J"})
_MIRRORED = {"<=": ">", "<": ">=", ">=": "<", ">": "<="}


@dataclass(frozen=True)
class Range:
    """The values that a metric can have.

    Attributes:
        low: The lower bound; None: any value.
        high: The upper bound; None: any value.
        above_low: Whether the lower bound itself is excluded.
    """

    low: Fraction | None = None
    high: Fraction | None = None
    above_low: bool = False

    def __str__(self) -> str:
        if self.low is None and self.high is not None:
            return f"at most {_n(self.high)}"
        if self.high is not None and self.low != 0:
            return f"between {_n(self.low)} and {_n(self.high)}"
        if self.low is None or self.high is not None:
            return f"a fraction between {_n(self.low)} and {_n(self.high)}"
        return f"{'above' if self.above_low else 'never below'} {_n(self.low)}"


_ANY = Range()
_FRACTION = Range(Fraction(0), Fraction(1))
_POSITIVE = Range(Fraction(0), None, above_low=True)
_NEVER_NEGATIVE = ("kl_per_token", "output_error", "mae", "rmse", "cer", "max_abs_difference")
_BY_NAME = {
    "perplexity": Range(Fraction(1)),
    "r2": Range(None, Fraction(1)),
    "cosine_to_baseline": Range(Fraction(-1), Fraction(1)),
    **dict.fromkeys(_NEVER_NEGATIVE, Range(Fraction(0))),
}


def range_of(spec: MetricSpec, ours: bool) -> Range:
    """Return the values that a metric can have.

    Args:
        spec: The metric.
        ours: Whether an evaluator that ships with paretune yields it. For other evaluators only a
            fraction has a known range: a time may be a difference of times.
    """
    if spec.unit == "fraction":
        return _FRACTION
    if not ours:
        return _ANY
    return _POSITIVE if spec.unit in _POSITIVE_UNITS else _BY_NAME.get(spec.name, _ANY)


@dataclass(frozen=True)
class _Bound:
    """A bound on a value: ``slope * baseline + offset``.

    Attributes:
        slope: Factor of the baseline's value.
        offset: Added to the product.
        upper: Whether it is an upper bound.
        strict: Whether the bound itself is excluded.
    """

    slope: Fraction
    offset: Fraction
    upper: bool
    strict: bool


def read_constraints(
    given: Iterable[str],
    specs: Mapping[str, MetricSpec],
    strange: Container[str],
    wrong: Wrong,
) -> tuple[tuple[Constraint, ...], tuple[str, ...]]:
    """Read the constraints, and refuse limits that no candidate can meet, alone or together.

    Args:
        given: As configured.
        specs: Every metric that is measured, by name.
        strange: Those of them that no built-in evaluator defines (a user's function).
        wrong: Called with each error: key, message and hint.

    Returns:
        The constraints, and notes on those that nothing can break.
    """
    found: list[Constraint] = []
    by_metric: dict[str, list[tuple[int, Constraint]]] = {}
    for i, text in enumerate(given):
        try:
            constraint = parse_constraint(text)
        except UsageError as error:
            wrong(("constraints", i), error.message, error.hint)
            continue
        found.append(constraint)
        metric = constraint.metric
        if metric in specs:
            by_metric.setdefault(metric, []).append((i, constraint))
        else:
            wrong(
                ("constraints", i),
                f"no evaluator yields the metric {metric!r}",
                yielded_by(metric) or nearest(metric, specs),
            )
    notes = _look(by_metric, specs, strange, wrong)
    return tuple(found), notes


def odd_limits(
    constraints: Iterable[Constraint], specs: Mapping[str, MetricSpec], strange: Container[str]
) -> tuple[str, ...]:
    """Return notes on limits on existing measurements, one sentence each.

    Args:
        constraints: The constraints.
        specs: Every known metric, by name.
        strange: Those of them that no built-in evaluator defines.
    """
    by_metric: dict[str, list[tuple[int, Constraint]]] = {}
    for i, constraint in enumerate(constraints):
        if constraint.metric in specs:
            by_metric.setdefault(constraint.metric, []).append((i, constraint))
    told: list[str] = []

    def wrong(_: object, message: str, hint: str | None = None) -> None:
        told.append(message if hint is None else f"{message}. {hint.rstrip('.')}")

    return (*_look(by_metric, specs, strange, wrong), *told)


def _look(
    by_metric: Mapping[str, list[tuple[int, Constraint]]],
    specs: Mapping[str, MetricSpec],
    strange: Container[str],
    wrong: Wrong,
) -> tuple[str, ...]:
    """Call `wrong` with limits that cannot be met; return notes on those that cannot be broken."""
    notes: list[str] = []
    for metric, some in by_metric.items():
        values = range_of(specs[metric], metric not in strange)
        possible = []
        for place, constraint in some:
            told = _impossible(constraint, values)
            if told is not None:
                wrong(("constraints", place), *told)
                continue
            possible.append((place, constraint))
            notes += _unbreakable(constraint, values)
        _contradictions(possible, values, wrong)
    return tuple(dict.fromkeys(notes))


def _impossible(constraint: Constraint, values: Range) -> tuple[str, str | None] | None:
    if feasible([constraint], values):
        return None
    return f"no candidate can meet {constraint.text!r}: {_why(constraint, values)}", (
        _hint(constraint, values)
    )


def _unbreakable(constraint: Constraint, values: Range) -> Iterator[str]:
    """Yield a note if nothing can break a limit, or if its factor makes it meaningless."""
    sign, amount = constraint.relative or ("", 0.0)
    if not feasible([constraint], values, negated=True):
        hint = _hint(constraint, values)
        if hint is not None and hint.startswith("Expected"):
            hint = None  # it is in the range already, or at its end
        yield (
            f"constraints: no candidate can break {constraint.text!r}: "
            f"{_why(constraint, values)}" + ("" if hint is None else f". {hint.rstrip('.')}")
        )
    elif sign == "*" and amount <= 0:
        yield (
            f"constraints: {constraint.text!r}: with a factor of {amount:g} the limit does not "
            "depend on the baseline in a useful way; write `baseline + NUMBER`, "
            "`baseline - NUMBER` or a number"
        )


def _why(constraint: Constraint, values: Range) -> str:
    is_what = f"{constraint.metric} is {values}" if values != _ANY else ""
    if constraint.relative is None:
        return is_what
    sign, amount = constraint.relative
    if sign == "*" and amount <= 0:
        what = "0 whatever the baseline is" if amount == 0 else "negative for a positive baseline"
        return f"baseline * {amount:g} is {what}" + (f", and {is_what}" if is_what else "")
    return f"{is_what}, for the baseline too" if is_what else "the baseline is compared with itself"


def _hint(constraint: Constraint, values: Range) -> str | None:
    """Return the form that was probably meant, such as a fraction instead of percent."""
    number = constraint.number
    if constraint.relative is not None:
        sign, amount = constraint.relative
        if sign == "*":
            factor = "1.1" if constraint.op[0] == "<" else "0.9"
            return f"Example: {constraint.metric} {constraint.op} baseline * {factor}."
        number = abs(amount)
        if values == _FRACTION and 1 <= number <= 100:
            return (
                f"For {number:g} percentage points write: {constraint.metric} {constraint.op} "
                f"baseline {sign} {number / 100:g}."
            )
        return None
    assert number is not None
    if values == _FRACTION and 1 < number <= 100:
        return f"For {number:g} % write: {constraint.metric} {constraint.op} {number / 100:g}."
    if values == _ANY:
        return None
    return f"Expected a number {'between 0 and 1' if values == _FRACTION else str(values)}."


def _contradictions(
    constraints: Sequence[tuple[int, Constraint]], values: Range, wrong: Wrong
) -> None:
    """Refuse limits on one metric that contradict each other; report a smallest such set."""
    kept = list({c.text: (place, c) for place, c in reversed(constraints)}.values())[::-1]
    kept = kept[:_MAX_COMPARED]
    if feasible([c for _, c in kept], values):
        return
    for one in list(kept):
        rest = [other for other in kept if other is not one]
        if not feasible([c for _, c in rest], values):
            kept = rest
    *others, (place, last) = kept
    named = " and ".join(f"{c.text!r} (constraints[{at}])" for at, c in others)
    wrong(
        ("constraints", place),
        f"{last.text!r} contradicts {named}: no candidate can meet "
        + ("both" if len(kept) == 2 else "all of them"),
        f"Remove or change one of them{_of(last.metric, values)}.",
    )


def _of(metric: str, values: Range) -> str:
    return "" if values == _ANY else f": {metric} is {values}"


def feasible(constraints: Iterable[Constraint], values: Range, *, negated: bool = False) -> bool:
    """Return whether a candidate's value and a baseline's exist that meet all constraints.

    Args:
        constraints: Constraints on one metric.
        values: The metric's range.
        negated: Whether the opposite of each constraint is meant.
    """
    bounds = [_bound(c, negated) for c in constraints]
    zero = Fraction(0)
    own = []
    if values.low is not None:
        own.append(_Bound(zero, values.low, upper=False, strict=values.above_low))
    if values.high is not None:
        own.append(_Bound(zero, values.high, upper=True, strict=False))
    bounds += own
    low, high, strict_low, strict_high = values.low, values.high, values.above_low, False
    for lower in (b for b in bounds if not b.upper):
        for upper in (b for b in bounds if b.upper):
            # slope * baseline <= rest (or < where one of both is strict)
            slope, rest = lower.slope - upper.slope, upper.offset - lower.offset
            strict = lower.strict or upper.strict
            if slope == 0:
                if rest < 0 or (strict and rest == 0):
                    return False
                continue
            edge = rest / slope
            if slope > 0 and (high is None or edge < high or (edge == high and strict)):
                high, strict_high = edge, strict
            elif slope < 0 and (low is None or edge > low or (edge == low and strict)):
                low, strict_low = edge, strict
    if low is None or high is None:
        return True
    return low < high or (low == high and not strict_low and not strict_high)


def _bound(constraint: Constraint, negated: bool) -> _Bound:
    op = _MIRRORED[constraint.op] if negated else constraint.op
    slope, offset = Fraction(0), Fraction(0)
    if constraint.relative is None:
        assert constraint.number is not None
        offset = _exact(constraint.number)
    else:
        sign, amount = constraint.relative
        if sign == "*":
            slope = _exact(amount)
        else:
            slope, offset = Fraction(1), _exact(amount) * (1 if sign == "+" else -1)
    return _Bound(slope, offset, upper=op[0] == "<", strict=op in ("<", ">"))


def _exact(number: float) -> Fraction:
    """Return a number as it was written: 0.1 is a tenth."""
    assert math.isfinite(number)
    return Fraction(repr(number))


def _n(number: Fraction | None) -> str:
    return "nothing" if number is None else f"{float(number):g}"
