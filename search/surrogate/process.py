"""A forecaster in a process of its own: its libraries, threads and memory stay out of the search.

The process is started at the first forecast, and ends when its input is closed: also if the search
is killed. It computes only while it is asked, and a search asks between its jobs, so that nothing
is fitted while something is timed. Messages are lines of JSON. A process that ends is started
again, and gets all observations once more.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from paretune.core.child_interpreter import calling
from paretune.core.errors import UsageError
from paretune.search.surrogate.allowance import Allowance, Effort
from paretune.search.surrogate.layout import Layout, Matrix, Subject
from paretune.search.surrogate.observed import Observed

_TRIES = 2
ANSWER_S = 600.0
"""An answer takes seconds. A process that owes one for so long hangs, and is ended."""
_idle: list[subprocess.Popen[str]] = []
"""Processes whose search has ended; the next search of this process uses them."""


class ForecasterProcess:
    """A `Forecaster` in another process.

    Args:
        layout: What the columns of codes are.
        subjects: Of names of which more is known than their observations.
        allowance: Decides whether it may fit; None: it may. Not counted is the first answer, for
            which the process is started.
        clock: Gives the seconds of the search.
    """

    def __init__(
        self,
        layout: Layout,
        subjects: Mapping[str, Subject],
        allowance: Allowance | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowance = Allowance() if allowance is None else allowance
        self._clock = clock
        known = {name: asdict(subject) for name, subject in subjects.items()}
        self._messages: list[Any] = [{"layout": asdict(layout), "subjects": known}]
        self._sent = 0
        self._process: subprocess.Popen[str] | None = None

    def observe(self, name: str, codes: Sequence[float], value: float, variance: float) -> None:
        """Add an observation."""
        self._messages.append([name, list(map(float, codes)), value, variance])

    def narrow(self, name: str, columns: Sequence[int]) -> None:
        """Forecast a quantity from these columns only, from now on."""
        self._messages.append({"narrow": [name, list(columns)]})

    def forget(self, name: str) -> None:
        """Forget what was observed of a quantity, by earlier studies too."""
        self._messages.append({"forget": name})

    def observe_earlier(self, name: str, study: str, observed: Observed) -> None:
        """Add what an earlier study observed, before the first forecast."""
        self._messages.append({"earlier": [name, study, asdict(observed)]})

    def forecast(self, codes: Matrix) -> dict[str, tuple[Matrix, Matrix]]:
        """Return mean and standard deviation by name, per row of codes.

        Raises:
            UsageError: The process ended twice, or gave no answer.
        """
        for _ in range(_TRIES):
            line = self._answer(codes)
            if line:
                return {
                    name: (np.array(mean), np.array(deviation))
                    for name, (mean, deviation) in json.loads(line).items()
                }
        raise UsageError(
            "the process that forecasts candidates ended twice, or gave no answer in "
            f"{ANSWER_S:.0f} s; its own messages are above",
            hint="Choose another `search: {strategy: ...}`, or free memory, and run it again.",
        )

    def _answer(self, codes: Matrix) -> str:
        allowance, is_first = self._allowance, self._process is None
        fits = allowance.effort is Effort.ALL
        with allowance.starting(self._clock) if is_first else nullcontext():
            return self._asked({"forecast": codes.tolist(), "fits": fits})

    def _asked(self, question: Any) -> str:
        """Return the answer to a question, after everything that was not sent yet.

        Returns:
            A line; empty: the process has ended, or was ended as it gave no answer in time.
        """
        if self._process is None:
            self._start()
        process = self._process
        assert process is not None
        new = [*self._messages[self._sent :], question]
        self._sent = len(self._messages)
        overdue = threading.Timer(ANSWER_S, process.kill)
        overdue.daemon = True
        overdue.start()
        line = ""
        try:
            line = _exchange(process, "".join(json.dumps(each) + "\n" for each in new))
        finally:
            overdue.cancel()
            if not line:  # also at an interrupt: the next answer would be that to this question
                self._stop()
        return line

    def _start(self) -> None:
        process = _idle.pop() if _idle else None
        if process is None or process.poll() is not None:
            process = subprocess.Popen(
                calling("paretune.search.surrogate.process:serve"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # an interrupt from the keyboard is for the search
            )
        self._process, self._sent = process, 0
        self._release = weakref.finalize(self, _idle.append, process)

    def _stop(self) -> None:
        if self._process is not None:
            self._release.detach()
            _end(self._process)
            self._process = None


def _exchange(process: subprocess.Popen[str], messages: str) -> str:
    """Send messages and return the answer, a whole line; empty: the process has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(messages)
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    line = process.stdout.readline()
    return line if line.endswith("\n") else ""


def _end(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):  # what it was not given is of no use any more
                stream.close()
    process.kill()
    process.wait()


@atexit.register
def _end_all() -> None:
    while _idle:
        _end(_idle.pop())


def serve() -> None:
    """Answer the questions on the standard input; the other side of `ForecasterProcess`."""
    from threadpoolctl import threadpool_limits

    from paretune.search.surrogate.forecaster import Forecaster

    forecaster = Forecaster(Layout((), ()), {})
    with threadpool_limits(1):  # matrices this small are slower on several threads
        for line in sys.stdin:
            message = json.loads(line)
            if isinstance(message, list):
                forecaster.observe(*message)
            elif "earlier" in message:
                name, study, observed = message["earlier"]
                forecaster.observe_earlier(name, study, Observed(**observed))
            elif "forget" in message:
                forecaster.forget(message["forget"])
            elif "narrow" in message:
                forecaster.narrow(*message["narrow"])
            elif "layout" in message:
                layout = Layout(*(tuple(message["layout"][key]) for key in ("ordered", "stages")))
                subjects = {name: Subject(**each) for name, each in message["subjects"].items()}
                forecaster = Forecaster(layout, subjects)
            else:
                codes = np.array(message["forecast"], dtype=float)
                found = forecaster.forecast(codes, fits=message["fits"])
                told = {name: [mean.tolist(), sd.tolist()] for name, (mean, sd) in found.items()}
                print(json.dumps(told), flush=True)
