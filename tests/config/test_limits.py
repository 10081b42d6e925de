"""Limits that nothing can meet or break, and limits that contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from paretune.config import load
from paretune.config.limits import Range, feasible, odd_limits, range_of, read_constraints
from paretune.core.errors import UsageError
from paretune.core.measurement import MetricSpec
from paretune.search.constraints import parse_constraint
from tests.tiny_models import make_tiny_llama

SPECS = {
    spec.name: spec
    for spec in (
        MetricSpec("accuracy", "fraction", "maximize", device=False),
        MetricSpec("size_mb", "MB", "minimize", device=False),
        MetricSpec("perplexity", "", "minimize", device=False),
        MetricSpec("kl_per_token", "nats", "minimize", device=False),
        MetricSpec("decode_ms_p50", "ms", "minimize", device=True),
        MetricSpec("decode_tokens_per_s", "tokens/s", "maximize", device=True),
        MetricSpec("reward", "", "maximize", device=False),
        MetricSpec("delay", "ms", "minimize", device=False),
    )
}


def looked_at(*texts: str) -> tuple[list[tuple[Any, str, str | None]], tuple[str, ...]]:
    wrong: list[tuple[Any, str, str | None]] = []
    strange = ("reward", "delay")
    _, notes = read_constraints(
        texts, SPECS, strange, lambda key, what, hint=None: wrong.append((key, what, hint))
    )
    return wrong, notes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("accuracy >= 90", "accuracy >= 0.9"),
        ("accuracy > 1", "between 0 and 1"),
        ("accuracy < 0", "between 0 and 1"),
        ("accuracy <= -0.5", "between 0 and 1"),
        ("accuracy >= 1e9", "between 0 and 1"),
        ("accuracy >= baseline + 2", "accuracy >= baseline + 0.02"),
        ("accuracy > baseline + 1", "accuracy > baseline + 0.01"),
        ("accuracy <= baseline - 1.5", "accuracy <= baseline - 0.015"),
        ("accuracy < baseline * 0", "baseline * 1.1"),
        ("accuracy < baseline * -1", "baseline * 1.1"),
        ("size_mb <= -1", "above 0"),
        ("size_mb <= 0", "above 0"),
        ("size_mb <= baseline * 0", "baseline * 1.1"),
        ("size_mb < baseline * -0.5", "baseline * 1.1"),
        ("decode_ms_p50 <= 0", "above 0"),
        ("decode_tokens_per_s <= -5", "above 0"),
        ("perplexity < 1", "never below 1"),
        ("perplexity <= 0.5", "never below 1"),
        ("kl_per_token < 0", "never below 0"),
    ],
)
def test_what_nothing_can_meet(text: str, told: str) -> None:
    ((key, what, hint),), notes = looked_at("size_mb <= 300", text)
    assert key == ("constraints", 1)
    assert what.startswith("no candidate can meet ")
    assert told in what + str(hint)
    assert notes == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("accuracy >= 0", "between 0 and 1"),
        ("accuracy <= 90", "accuracy <= 0.9"),
        ("accuracy <= 1", "between 0 and 1"),
        ("accuracy >= baseline - 2", "accuracy >= baseline - 0.02"),
        ("accuracy >= baseline - 1", "accuracy >= baseline - 0.01"),
        ("accuracy >= baseline * 0", "baseline * 0 is 0 whatever the baseline is"),
        ("size_mb > 0", "above 0"),
        ("size_mb >= baseline * 0", "baseline * 0 is 0"),
        ("size_mb >= baseline * -2", "negative"),
        ("perplexity >= 1", "never below 1"),
        ("reward >= baseline * 0", "does not depend on the baseline"),
        ("reward <= baseline * -1", "does not depend on the baseline"),
    ],
)
def test_what_nothing_can_break_is_a_note(text: str, told: str) -> None:
    wrong, (note,) = looked_at(text)
    assert wrong == []
    assert told in note


@pytest.mark.parametrize(
    "text",
    [
        "accuracy >= 0.9",
        "accuracy >= 1",
        "accuracy <= 0",
        "accuracy >= baseline - 0.02",
        "accuracy >= baseline + 0.5",
        "accuracy >= baseline + 1",
        "accuracy >= baseline * 1.1",
        "accuracy >= baseline",
        "size_mb <= baseline",
        "size_mb < baseline * 0.5",
        "size_mb <= 0.001",
        "size_mb <= baseline - 1000",
        "perplexity <= 1",
        "kl_per_token <= 0",
        "reward >= -5",
        "reward <= 0",
        "delay <= -3",
        "delay <= 0",
        "decode_ms_p50 < baseline * 1e-9",
    ],
)
def test_what_can_be_met_and_broken_is_let_pass(text: str) -> None:
    assert looked_at(text) == ([], ())


@pytest.mark.parametrize(
    "texts",
    [
        ("size_mb <= 100", "size_mb >= 200"),
        ("size_mb < 100", "size_mb >= 100"),
        ("size_mb > 100", "size_mb < 100"),
        ("reward >= 1", "reward < 1"),
        ("reward >= baseline + 1", "reward <= baseline - 1"),
        ("reward > baseline", "reward < baseline"),
        ("accuracy >= 0.9", "accuracy <= baseline - 0.2"),
        ("size_mb <= baseline * 0.5", "size_mb >= baseline * 0.8"),
        ("accuracy >= baseline + 0.6", "accuracy <= baseline * 0.5"),
    ],
)
def test_two_that_contradict_each_other(texts: Sequence[str]) -> None:
    ((key, what, hint),), notes = looked_at("accuracy >= 0.1", *texts, "decode_ms_p50 <= 50")
    assert key == ("constraints", 2)
    assert f"{texts[1]!r} contradicts {texts[0]!r} (constraints[1])" in what
    assert "both" in what
    assert "Remove or change one of them" in str(hint)
    assert notes == ()


def test_three_of_which_no_two_contradict_each_other() -> None:
    three = ("accuracy >= baseline + 0.2", "accuracy <= 0.5", "accuracy >= baseline * 2")
    assert looked_at(*three) == ([], ())
    ((key, what, _),), _ = looked_at(
        "reward <= baseline * 0.5",
        "reward >= baseline - 1",
        "reward >= baseline * -1 ",
        "reward >= 3",
    )
    assert key == ("constraints", 3)
    assert "all of them" in what
    assert "constraints[2]" not in what


@pytest.mark.parametrize(
    "texts",
    [
        ("size_mb <= 200", "size_mb >= 100"),
        ("size_mb <= 100", "size_mb >= 100"),
        ("size_mb <= 100", "size_mb <= 100"),
        ("size_mb <= 100", "size_mb <= 200"),
        ("accuracy >= 0.8", "accuracy >= baseline - 0.02"),
        ("size_mb <= baseline", "size_mb >= baseline"),
        ("size_mb <= 100", "reward >= 200"),
    ],
)
def test_limits_that_go_together(texts: Sequence[str]) -> None:
    assert looked_at(*texts) == ([], ())


_TENTHS = st.integers(-20, 20).map(lambda n: f"{n / 10:g}")
_REFERENCES = st.one_of(
    _TENTHS,
    st.just("baseline"),
    st.tuples(st.sampled_from(["+", "-", "*"]), _TENTHS.filter(lambda t: t[0] != "-")).map(
        lambda one: f"baseline {one[0]} {one[1]}"
    ),
)
_TEXTS = st.tuples(st.sampled_from(["<=", "<", ">=", ">"]), _REFERENCES).map(
    lambda one: f"accuracy {one[0]} {one[1]}"
)


@given(st.lists(_TEXTS, min_size=1, max_size=4), st.integers(0, 20), st.integers(0, 20))
def test_what_some_values_meet_is_never_refused(texts: list[str], b: int, v: int) -> None:
    """The law: a pair of values that meets every limit at run time is one that is found here."""
    constraints = [parse_constraint(text) for text in texts]
    baseline, value = b / 20, v / 20
    held = []
    for constraint in constraints:
        limit = constraint.resolve({"accuracy": baseline})
        assert limit is not None
        # Rounding of a sum may lie on either side of a limit: only clear cases are laws.
        held.append(limit.holds(value) and abs(limit.value - value) > 1e-9)
    if all(held):
        assert feasible(constraints, range_of(SPECS["accuracy"], True))


@given(_TEXTS)
def test_what_is_refused_is_met_nowhere_on_a_grid(text: str) -> None:
    constraint = parse_constraint(text)
    grid = [n / 40 for n in range(41)]
    met = [
        limit.holds(v)
        for b in grid
        for v in grid
        if (limit := constraint.resolve({"accuracy": b})) is not None
        and abs(limit.value - v) > 1e-9
    ]
    if not feasible([constraint], range_of(SPECS["accuracy"], True)):
        assert not any(met)
    if not feasible([constraint], range_of(SPECS["accuracy"], True), negated=True):
        assert all(met)


def test_of_a_study_that_is_there_it_is_told_in_sentences() -> None:
    texts = ("accuracy >= 90", "size_mb >= 0", "reward >= 2", "reward <= 1", "unknown > 3")
    broken, percent, contradiction = odd_limits(
        map(parse_constraint, texts), SPECS, ("reward", "delay")
    )
    assert "no candidate can break 'size_mb >= 0'" in broken
    assert percent.endswith("write: accuracy >= 0.9")
    assert "'reward <= 1' contradicts 'reward >= 2'" in contradiction


def test_thousands_of_limits_take_no_time() -> None:
    texts = [f"reward >= baseline * {1 + n / 7}" for n in range(3000)]
    assert looked_at(*texts, *(f"size_mb <= {n + 1}" for n in range(3000))) == ([], ())
    assert feasible(map(parse_constraint, texts[:50]), Range())


def test_a_configuration_is_refused_at_its_line(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path / "m")
    config = {
        "model": "m",
        "passes": [{"genai": {"precision": "fp32"}}],
        "evaluate": ["footprint"],
        "objectives": {"minimize": "load_s"},
        "constraints": [
            "size_mb >= 0",
            "size_mb <= -1",
            "top1_agreement >= 99",
            "size_mb <= 300MB",
            "top1_agreement >= 99%",
        ],
    }
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(UsageError) as refused:
        load(file)
    told = str(refused.value)
    assert "4 errors" in told
    assert "constraints[1]: no candidate can meet 'size_mb <= -1': size_mb is above 0" in told
    assert "write: top1_agreement >= 0.99" in told
    assert "without 'MB' after it" in told
    assert "0.99 for 99 % of a metric" in told
    file.write_text(yaml.safe_dump(config | {"constraints": ["size_mb >= 0"]}))
    assert any("no candidate can break" in note for note in load(file).notes)
