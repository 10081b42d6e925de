"""Whatever is written as a constraint: a limit with a finite number, or a UsageError."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from paretune.core.errors import UsageError
from paretune.search.constraints import Constraint, parse_constraint, parse_where
from tests.security.fuzzing import fuzz

PARTS = (
    "accuracy",
    "size_mb",
    "decode_ms_p50@64",
    "baseline",
    "<=",
    "<",
    ">=",
    ">",
    "=",
    "==",
    "+",
    "-",
    "*",
    "/",
    "0.5",
    "1e3",
    "1e999",
    "-1e-999",
    ".",
    "5.",
    "\u0663",
    "inf",
    "nan",
    "0x10",
    " ",
    "\t",
    "\n",
    "\0",
    ",",
    "(",
    ")",
    "__import__('os')",
    "and",
    "1" * 250,
)
texts = st.lists(st.sampled_from(PARTS), max_size=8).map("".join) | st.text(max_size=40)


def check(constraint: Constraint) -> None:
    assert constraint.op in ("<=", "<", ">=", ">")
    number = constraint.number if constraint.relative is None else constraint.relative[1]
    assert number is not None
    assert math.isfinite(number)
    limit = constraint.resolve({constraint.metric: 2.0})
    assert limit is not None
    assert limit.holds(limit.value) is (constraint.op in ("<=", ">="))
    assert not limit.holds(None)
    assert constraint.resolve({}) is None or constraint.relative is None


@fuzz(300)
@given(texts)
@example("size_mb<=baseline*-1e-999")
def test_any_text_is_a_constraint_or_a_clean_error(text: str) -> None:
    try:
        check(parse_constraint(text))
    except UsageError as error:
        assert "constraint" in error.message
        assert error.hint is not None


@fuzz(150)
@given(texts)
def test_any_text_of_several(text: str) -> None:
    try:
        for constraint in parse_where(text):
            check(constraint)
    except UsageError as error:
        assert error.exit_status == 2


@fuzz(100)
@given(
    st.sampled_from(["accuracy", "m_1@2"]),
    st.sampled_from(["<=", "<", ">=", ">"]),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_every_number_that_is_written_is_the_one_that_is_read(
    metric: str, op: str, number: float
) -> None:
    constraint = parse_constraint(f"{metric} {op} {number!r}")
    assert (constraint.metric, constraint.op, constraint.number) == (metric, op, number)


def test_a_limit_relative_to_the_baseline_stays_finite() -> None:
    limit = parse_constraint("size_mb <= baseline * 1e308").resolve({"size_mb": 90.0})
    assert limit is None or math.isfinite(limit.value)
