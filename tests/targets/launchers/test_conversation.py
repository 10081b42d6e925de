"""A conversation with a far side that does what no agent does: no job waits for ever."""

from __future__ import annotations

import itertools
import json
import queue
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from paretune.core import protocol
from paretune.core.job import Call, Job, JobStatus, Limits
from paretune.core.progress import Progress
from paretune.targets.launchers import answers, conversation
from paretune.targets.launchers.conversation import BrokenError, Conversation
from tests.targets.far_sides import (
    DESCRIBED,
    HELLO,
    MEASURE,
    WITHIN_S,
    Scripted,
    Talk,
    begun,
    is_lost,
)

RESULT = protocol.Result(1, JobStatus.OK, 3)
PROGRESS = b'{"type": "progress", "id": 1, "progress": {"step": "x", "done": %s, "total": 2}}\n'
DEEP = b'{"type": "result", "id": 1, "status": "ok", "value": ' + b"[" * 100_000
WRONG: dict[str, tuple[bytes, str]] = {
    "hello": (HELLO.line(), "'hello', which no agent sends"),
    "run": (protocol.Run(1, {}).line(), "'run', which no agent sends"),
    "have": (protocol.Have(1, ()).line(), "'have', which no agent sends"),
    "go": (protocol.Go(1).line(), "'go', which no agent sends"),
    "cancel": (protocol.Cancel(None).line(), "'cancel', which no agent sends"),
    "no type": (b"{}\n", "None, which no agent sends"),
    "unknown type": (b'{"type": "biuld"}\n', "'biuld', which no agent sends"),
    "type of a wrong type": (b'{"type": [[]]}\n', "[[]], which no agent sends"),
    "no object": (b"[1]\n", "is not an object"),
    "no JSON": (b"Segmentation fault\n", "is not JSON"),
    "no UTF-8": (b'"\xff"\n', "is not JSON"),
    "deep": (DEEP + b"]" * 100_000 + b"}\n", "nested deeper"),
    "deep and open": (DEEP + b"\n", "is not JSON"),
    "many digits": (b"9" * 5000 + b"\n", "is not JSON"),
    "no id": (b'{"type": "ready"}\n', "'ready' with a wrong field"),
    "id of a wrong type": (b'{"type": "done", "id": {}}\n', "'done' with a wrong field"),
    "result of no job": (b'{"type": "result", "id": "x"}\n', "'result' with a wrong field"),
    "digests of a wrong type": (b'{"type": "need", "id": 1, "digests": 5}\n', "'need' with a"),
    "not a number": (PROGRESS % b"NaN", "is not finite"),
    "infinite": (PROGRESS % b"1e999", "is not finite"),
    "too large": (PROGRESS % (b"1" + b"0" * 300), "more than 64 bits"),
    "not asked": (DESCRIBED.line(), "'described' without a question"),
    "device of a wrong type": (b'{"type": "described", "protocol": 1, "version": "x", '
                               b'"device": 5}\n', "'described' with a wrong field"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_no_agent_sends_ends_every_job_as_lost(far: Scripted, talk: Talk, what: str) -> None:
    said, words = WRONG[what]
    made = talk(far)
    jobs = [begun(made), begun(made, MEASURE), begun(made, turns=True)]
    far.say(said)
    for job in jobs:
        is_lost(job, words)
    assert far.killed
    assert made.broken
    is_lost(begun(made), words)
    with pytest.raises(BrokenError, match="board"):
        made.describe(HELLO)


@pytest.mark.parametrize(
    "facts",
    [
        {"name": None},
        {"name": "x", "cores": "many"},
        {"name": "x", "cores": 0},
        {"name": "x", "memory": -1},
        {"name": "x", "packages": 3},
        {"name": "x", "packages": {"numpy": 2}},
        {"name": "x", "boot_id": {}},
        {"name": "x", "gpus": "one"},
        {"name": "x", "memory_free": 1e400},
        {},
        [],
    ],
)
def test_a_device_with_wrong_facts_is_refused(far: Scripted, talk: Talk, facts: Any) -> None:
    made = talk(far, describe=False)
    far.say(DESCRIBED.line().replace(b'"device": {', b'"device": %s, "x": {' % dumped(facts), 1))
    with pytest.raises(BrokenError, match="'described' with a wrong field"):
        made.describe(HELLO)


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_a_line_without_an_end_is_not_read_to_its_end(
    far: Scripted, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_LINE_BYTES", 5000)
    made = talk(far)
    job = begun(made)
    for _ in range(100):
        far.say(b"x" * 1000)
    is_lost(job, "a line of more than 5000 bytes")


def test_a_line_that_breaks_off_is_a_lost_connection(far: Scripted, talk: Talk) -> None:
    job = begun(talk(far))
    far.say(RESULT.line()[:-9])
    far.end()
    is_lost(job, "the connection to board was lost: it stumbled")


def test_what_is_printed_before_the_agent_has_an_end(talk: Talk) -> None:
    far = Scripted(itertools.repeat(b"Welcome!\n{}\n[]\n\xff\n" * 100))
    made = talk(far, describe=False)
    with pytest.raises(BrokenError, match=r"cannot be read: .* and more of it, is not a message"):
        made.describe(HELLO)
    assert far.killed


def test_a_far_side_that_does_not_answer(
    far: Scripted, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_DESCRIBED_WITHIN_S", 0.01)
    made = talk(far, describe=False)
    with pytest.raises(BrokenError, match="board did not answer within"):
        made.describe(HELLO)
    assert far.killed


def test_a_job_that_the_far_side_cancels_by_itself_is_not_cancelled(
    far: Scripted, talk: Talk
) -> None:
    made = talk(far)
    jobs = [begun(made), begun(made)]
    made.cancel(jobs[1])
    far.say(*(protocol.Result(n, JobStatus.CANCELLED, reason="cancelled") for n in (1, 2)))
    results = [job.result(WITHIN_S) for job in jobs]
    assert [r.status for r in results] == [JobStatus.CRASHED, JobStatus.CANCELLED]
    assert results[0].transient


def test_a_second_result_and_one_of_no_job_are_passed_over(far: Scripted, talk: Talk) -> None:
    made = talk(far)
    job = begun(made)
    far.say(protocol.Result(7, JobStatus.OK, 7), RESULT, protocol.Result(1, JobStatus.OK, 4))
    assert job.result(WITHIN_S).value == 3
    other = begun(made)
    far.say(protocol.Result(2, JobStatus.OK, 5))
    assert other.result(WITHIN_S).value == 5


def test_a_job_without_a_result_after_its_limit_is_given_up(
    far: Scripted, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "GRACE_S", 0.05)
    made = talk(far)
    unlimited, job = begun(made), begun(made, Job(Call("m:f"), Limits(seconds=0.05)))
    is_lost(job, "f sent no result within its time limit of 0.05 s and 0.05 s more")
    is_lost(unlimited, "board was given up")
    assert far.killed


class Slow:
    """A transport that brings files when the test says so."""

    def __init__(self) -> None:
        self.asked, self.brought = threading.Event(), threading.Event()
        self.digests: Sequence[str] = ()

    def bring(self, job: Job, digests: Sequence[str]) -> None:
        self.digests = digests
        self.asked.set()
        assert self.brought.wait(WITHIN_S)


def test_the_time_of_a_job_does_not_count_while_its_files_are_sent(
    far: Scripted, talk: Talk
) -> None:
    transport = Slow()
    made = talk(far, transport)
    number, pending = made.run(Job(Call("m:f"), Limits(seconds=600.0)), turns=False)
    assert pending.timer is not None
    far.say(protocol.Need(number, ("a", "b", "a")))
    assert transport.asked.wait(WITHIN_S)
    assert transport.digests == ("a", "b"), "a file is sent once"
    assert pending.timer is None
    transport.brought.set()
    while far.sink.lines.get(timeout=WITHIN_S)["type"] != "have":
        pass
    assert pending.timer is not None
    far.say(RESULT)
    assert pending.future.result(WITHIN_S).value == 3
    assert pending.timer is None


def test_the_time_of_a_job_has_not_begun_while_others_use_its_machine(
    far: Scripted, talk: Talk
) -> None:
    seen: queue.SimpleQueue[Progress] = queue.SimpleQueue()
    job = Job(Call("m:f"), Limits(seconds=600.0), on_progress=seen.put)
    number, pending = talk(far).run(job, turns=False)
    for waits in (True, False):
        before = pending.timer
        far.say(protocol.Progressed(number, Progress("f", 0, 0, "it is in use", waits=waits)))
        assert seen.get(timeout=WITHIN_S).waits == waits
        assert (pending.timer is not before) == waits, "it begins anew"
    far.say(protocol.Result(number, JobStatus.OK, 3, waited=-2.0))
    assert pending.future.result(WITHIN_S).waited == 0.0, "a far side may say anything"


def test_files_that_are_on_their_way_are_not_asked_for_again(far: Scripted, talk: Talk) -> None:
    transport = Slow()
    job = begun(talk(far, transport))
    far.say(protocol.Need(1, ("a",)), protocol.Need(1, ("a",)))
    is_lost(job, "'need' again")
    transport.brought.set()


def test_files_are_not_asked_for_without_an_end(far: Scripted, talk: Talk) -> None:
    transport = Slow()
    transport.brought.set()
    job = begun(talk(far, transport))
    served = 0
    while not job.done():
        far.say(protocol.Need(1, ("a",)))
        served += 1
        while not job.done() and far.sink.lines.empty():
            pass
        while not far.sink.lines.empty():
            far.sink.lines.get()
        assert served < 100
    is_lost(job, "'need' again")


def test_words_without_a_turn(far: Scripted, talk: Talk) -> None:
    job = begun(talk(far), turns=True)
    far.say(*[protocol.Ready(1)] * 10)
    is_lost(job, "'ready' without a turn")


def test_a_far_side_that_closes_only_what_it_reads_from(far: Scripted, talk: Talk) -> None:
    made = talk(far)
    job = begun(made)
    far.sink.broken = BrokenPipeError()
    is_lost(begun(made), "it stumbled")
    is_lost(job, "it stumbled")
    assert far.killed


def test_a_far_side_that_does_not_read(
    far: Scripted, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_CANCELLED_WITHIN_S", 0.05)
    made = talk(far)
    job = begun(made)
    far.sink.stuck = threading.Event()
    sends = threading.Thread(target=lambda: begun(made), daemon=True)
    sends.start()
    while not made._sending.locked():
        pass
    made.cancel()
    assert job.result(WITHIN_S).status is JobStatus.CANCELLED
    assert far.killed
    far.sink.stuck.set()
    sends.join(WITHIN_S)


def test_a_channel_that_stays_open_is_closed_all_the_same(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Open(Scripted):
        """Another process holds it open."""

        def end(self) -> None:
            pass

    monkeypatch.setattr(conversation, "_CLOSED_WITHIN_S", 0.05)
    far = Open()
    made = talk(far)
    job = begun(made)
    made.close()
    assert job.result(WITHIN_S).status is JobStatus.CANCELLED
    Scripted.end(far)


def test_a_bug_of_ours_leaves_no_job_waiting(
    far: Scripted, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: Any) -> Any:
        raise LookupError("no such thing")

    monkeypatch.setattr(answers, "read", stumble)
    monkeypatch.setattr(far, "last_words", stumble)
    made = Conversation("board", far, None)
    job = begun(made)
    far.say(RESULT)
    is_lost(job, "LookupError: no such thing")
    made.close()


def test_a_display_that_raises_ends_its_job_alone(far: Scripted, talk: Talk) -> None:
    def show(_: Progress) -> None:
        raise RuntimeError("the display is broken")

    made = talk(far)
    job, other = begun(made, Job(Call("m:f"), on_progress=show)), begun(made)
    far.say(protocol.Progressed(1, Progress("x", 0, 0)), protocol.Result(2, JobStatus.OK, 3))
    with pytest.raises(RuntimeError, match="the display is broken"):
        job.result(WITHIN_S)
    assert other.result(WITHIN_S).value == 3
