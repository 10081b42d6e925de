"""Forecasts that are computed in another process."""

import os
import signal

import numpy as np
import pytest

from paretune.core.errors import UsageError
from paretune.search.surrogate import process as module
from paretune.search.surrogate.forecaster import Forecaster
from paretune.search.surrogate.layout import Layout, Subject
from paretune.search.surrogate.process import ForecasterProcess

LAYOUT = Layout((True, False), (0, 1))
SUBJECTS = {"accuracy": Subject([0], 1)}
SEEN = [
    (name, [place / 5, float(place % 2)], value / 10, 1e-6)
    for name, values in (("accuracy", (1, 3, 4, 5, 5)), ("ms", (3, 6, 4, 8, 5)))
    for place, value in enumerate(values)
]
CODES = np.array([[0.1, 0.0], [0.9, 1.0]])


def test_it_is_what_this_process_computes_also_after_the_other_one_was_killed() -> None:
    here, there = Forecaster(LAYOUT, SUBJECTS), ForecasterProcess(LAYOUT, SUBJECTS)
    for each in SEEN:
        here.observe(*each)
        there.observe(*each)
    expected, found = here.forecast(CODES), there.forecast(CODES)
    assert there._process is not None
    there._process.kill()
    there._process.wait()
    again = there.forecast(CODES)
    for name, (mean, deviation) in expected.items():
        for one in (found, again):
            assert np.allclose(one[name][0], mean)
            assert np.allclose(one[name][1], deviation)


def test_the_next_search_uses_the_process_with_nothing_of_the_last_one() -> None:
    first = ForecasterProcess(LAYOUT, SUBJECTS)
    for each in SEEN:
        first.observe(*each)
    first.forecast(CODES)
    assert first._process is not None
    number = first._process.pid
    del first
    assert [process.pid for process in module._idle][-1:] == [number]
    second = ForecasterProcess(LAYOUT, {})
    second.observe("accuracy", [0.0, 1.0], 0.5, 0.0)
    found = second.forecast(CODES)
    assert second._process is not None
    assert second._process.pid == number
    assert list(found) == ["accuracy"]
    assert np.allclose(found["accuracy"][0], 0.5)


def test_a_process_that_gives_no_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    there = ForecasterProcess(LAYOUT, SUBJECTS)
    there.observe(*SEEN[0])
    expected = there.forecast(CODES)
    assert there._process is not None
    stopped = there._process
    os.kill(stopped.pid, signal.SIGSTOP)
    monkeypatch.setattr(module, "ANSWER_S", 0.2)
    process_that_answers = ForecasterProcess._start

    def start_with_time(self: ForecasterProcess) -> None:
        monkeypatch.setattr(module, "ANSWER_S", 600.0)
        process_that_answers(self)

    monkeypatch.setattr(ForecasterProcess, "_start", start_with_time)
    found = there.forecast(CODES)
    assert stopped.poll() == -signal.SIGKILL
    assert np.allclose(found["accuracy"][0], expected["accuracy"][0])


def test_without_any_answer_the_search_ends_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.01)  # a process cannot even start in this time
    there = ForecasterProcess(LAYOUT, SUBJECTS)
    there.observe(*SEEN[0])
    monkeypatch.setattr(module, "_idle", [])
    with pytest.raises(UsageError, match="ended twice, or gave no answer"):
        there.forecast(CODES)
    assert there._process is None


def test_an_answer_that_was_interrupted_is_never_taken_for_the_next_one() -> None:
    first = ForecasterProcess(LAYOUT, SUBJECTS)
    first.observe(*SEEN[0])
    first.forecast(CODES)
    interrupted = first._process
    assert interrupted is not None

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        os.kill(interrupted.pid, signal.SIGSTOP)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            first.forecast(CODES)
    finally:
        signal.signal(signal.SIGALRM, before)
    del first
    assert interrupted not in module._idle
    assert interrupted.poll() is not None
