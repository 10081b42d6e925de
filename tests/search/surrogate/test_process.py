"""Forecasts that are computed in another process."""

import numpy as np

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
