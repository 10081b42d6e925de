from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.interference import Counters, Interference, between, counters, watching

START = Counters(at=100.0, busy=1000.0, stolen=10.0, job=50.0, processors=2)
SECONDS = st.floats(0, 1e6)


def after(seconds: float, busy: float, job: float, stolen: float = 0.0) -> Interference:
    end = replace(
        START,
        at=START.at + seconds,
        busy=START.busy + busy,
        stolen=START.stolen + stolen,
        job=START.job + job,
    )
    return between(START, end)


def test_what_the_job_did_not_do_others_did() -> None:
    assert after(10, busy=20, job=20) == Interference(0.0, 0.0)
    seen = after(10, busy=15, job=10)
    assert seen.others == pytest.approx(0.25, abs=0.01)
    assert seen.stolen == 0
    assert after(10, busy=10, job=10, stolen=4).stolen == pytest.approx(0.2)


def test_less_than_a_tick_a_processor_is_not_seen() -> None:
    assert after(0.1, busy=0.12, job=0.1) == Interference()


def test_no_time_no_interference() -> None:
    assert between(START, START) == Interference()


def test_who_was_hit() -> None:
    half = Interference(others=0.5)
    assert half.was_hit(threads=2, cores=2)
    assert not half.was_hit(threads=1, cores=2)
    assert half.was_hit(threads=8, cores=2)
    assert not Interference(0.02, 0.02).was_hit(2, 2)
    assert Interference(0.04, 0.04).was_hit(2, 2)
    assert not Interference().was_hit(64, 2)


def test_it_is_said_in_words() -> None:
    assert str(Interference(0.25)) == "other programs used 25% of the processor"
    told = "other programs used 1% of the processor, other virtual machines 10%"
    assert str(Interference(0.012, 0.1)) == told


@given(SECONDS, SECONDS, SECONDS, SECONDS)
def test_shares_are_shares(seconds: float, busy: float, job: float, stolen: float) -> None:
    seen = after(seconds, busy, job, stolen)
    assert 0 <= seen.others <= 1
    assert 0 <= seen.stolen <= 1
    assert seen.others + seen.stolen <= 1 + 1e-9


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 64), st.integers(1, 64))
def test_more_interference_and_more_threads_hit_no_less(
    few: float, many: float, threads: int, cores: int
) -> None:
    few, many = sorted((few, many))
    hit = Interference(others=few).was_hit(threads, cores)
    assert not hit or Interference(others=many).was_hit(threads, cores)
    assert not hit or Interference(stolen=few).was_hit(threads + 1, cores)


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_a_competing_process_is_seen_and_ones_own_is_not() -> None:
    """The process that spins is the same: it belongs to one job, and competes with another."""
    rival = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    idle = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        start = counters(rival.pid)
        with watching(idle.pid) as others, watching(rival.pid) as its, watching() as mine:
            # However busy the machine is: the rival has had this much.
            while (end := counters(rival.pid)).job - start.job < 0.5:
                time.sleep(0.05)
    finally:
        rival.kill()
        rival.wait()
        idle.communicate(b"\n")
    share = (end.job - start.job) / ((end.at - start.at) * end.processors)
    assert others.seen.others - its.seen.others > 0.6 * share
    assert others.seen.others - mine.seen.others > 0.6 * share
    assert abs(its.seen.others - mine.seen.others) < 0.3
    assert mine.seen == mine.seen


def test_what_an_ended_child_used_still_counts() -> None:
    before = counters().job
    child = multiprocessing.get_context("spawn").Process(target=spin, args=(0.3,))
    child.start()
    child.join()
    assert counters().job - before > 0.2


def test_a_process_that_is_gone_has_used_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert counters(ended.pid).job == 0
    assert counters(os.getpid()).job > 0
