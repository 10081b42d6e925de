"""When a measurement over ssh is said to agree with a local one."""

from __future__ import annotations

import random

import pytest
from ssh_agreement import CONTROL, LOCAL, SSH, agreement

METRIC = "decode_ms_p50"


@pytest.mark.parametrize(
    ("factor", "count", "noise", "verdict"),
    [
        (1.0, 60, 0.01, "agrees"),
        (1.2, 60, 0.01, "differs"),
        (1.0, 5, 0.01, "not known"),
        (1.0, 60, 0.2, "not known"),
        (1.0, 600, 0.2, "agrees"),
        (1.25, 600, 0.2, "differs"),  # the noise floor alone, above 50 %, would call it equal
    ],
)
def test_the_verdict(factor: float, count: int, noise: float, verdict: str) -> None:
    draw = random.Random(1)
    rounds = [
        {
            way: {METRIC: 10 * draw.lognormvariate(0, noise) * (factor if way == SSH else 1.0)}
            for way in (LOCAL, CONTROL, SSH)
        }
        for _ in range(count)
    ]
    found = agreement(rounds, METRIC, SSH)
    assert found.verdict == verdict
    assert found.low <= found.ratio <= found.high
    if count > 5 and noise < 0.1:
        assert found.ratio == pytest.approx(factor, rel=0.01)
        assert 0.02 < found.floor < 0.05, "two processes differ by sqrt(2) of 1 %, 1.96 times"
        assert agreement(rounds, METRIC, CONTROL).verdict == "agrees"
