"""What an agent's results may hold: one that cannot be read costs its own job, and no other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.core import protocol
from paretune.core.job import Job, JobStatus
from paretune.core.measurement import Measurement, Rung
from paretune.targets.launchers.conversation import Conversation
from tests.targets.far_sides import CALL, MEASURE, WITHIN_S, Scripted, Talk, begun

ROW: dict[str, Any] = Measurement("latency_ms_p50", 1.0, "ms", samples=(1.0, 2.0)).to_json()
UNREADABLE: list[Any] = [
    None,
    5,
    {},
    "x",
    [None],
    [[]],
    [{}],
    [{"metric": "latency_ms_p50"}],
    *([{**ROW, "value": value}] for value in ("1", True, [], float("nan"), float("inf"), 1 << 70)),
    *([{**ROW, "samples": value}] for value in (5, ["x"], [None], [float("nan")])),
    *([{**ROW, "n": value}] for value in (-1, 1.5, None, True)),
    *([{**ROW, key: 5}] for key in ("metric", "unit", "protocol", "reason", "details")),
    [{key: value for key, value in ROW.items() if key != "low"}],
]


def fails_alone(
    far: Scripted, made: Conversation, job: Job, fields: dict[str, Any], reason: str
) -> None:
    """Answer the first job of a conversation with these fields, and a second one rightly."""
    first, other = begun(made, job), begun(made)
    line = {"type": "result", "id": 1, "status": "ok", "value": 3, **fields}
    far.say(json.dumps(line).encode() + b"\n", protocol.Result(2, JobStatus.OK, 3))
    result = first.result(WITHIN_S)
    assert (result.status, result.transient) == (JobStatus.FAILED, True)
    assert reason in (result.reason or "")
    assert other.result(WITHIN_S).value == 3


@pytest.mark.parametrize("value", UNREADABLE, ids=lambda value: str(value)[:60])
def test_a_value_that_cannot_be_read_fails_its_job_and_no_other(
    far: Scripted, talk: Talk, value: Any
) -> None:
    made = talk(far)
    fails_alone(
        far,
        made,
        MEASURE,
        {"value": value},
        "the agent of board sent a result that cannot be read: latency: ",
    )
    right = begun(made, MEASURE)
    far.say(protocol.Result(3, JobStatus.OK, [ROW]))
    assert right.result(WITHIN_S).value[0].samples == (1.0, 2.0)


def test_metrics_that_are_missing_at_the_last_rung_fail_their_job(
    far: Scripted, talk: Talk
) -> None:
    job = begun(talk(far), replace(MEASURE, task=replace(MEASURE.task, rung=Rung.FULL)))
    far.say(protocol.Result(1, JobStatus.OK, [ROW]))
    assert "ended without latency_ms_p95" in (job.result(WITHIN_S).reason or "")


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "perfect"},
        {"status": None},
        {"seconds": "long"},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"peak_memory": 1 << 70},
        {"interference": 3},
        {"interference": {"others": float("nan")}},
        {"limits": []},
        {"log": 5},
    ],
    ids=str,
)
def test_a_result_with_a_wrong_field_fails_its_job_and_no_other(
    far: Scripted, talk: Talk, fields: dict[str, Any]
) -> None:
    fails_alone(
        far,
        talk(far),
        CALL,
        fields,
        "board sent a result that cannot be read: a message 'result' with",
    )


def test_a_log_without_an_end_and_without_whole_characters_is_kept_in_part(
    far: Scripted, talk: Talk, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    job = begun(talk(far), replace(CALL, log=log))
    said = b"begin" + b"x" * (5 << 20) + b"\\ud800 end"
    far.say(b'{"type": "result", "id": 1, "status": "ok", "value": 3, "log": "%s"}\n' % said)
    assert job.result(WITHIN_S).value == 3
    text = log.read_text()
    assert len(text) < (2 << 20) + 100
    assert (text[:5], text[-5:]) == ("begin", "? end")
    assert "characters left out" in text
