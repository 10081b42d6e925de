"""Who uses which machine: while something is measured on one, nothing else of a study runs there.

Targets on one machine share it, whatever their names: a machine is known by the id of its system's
start (`paretune.core.device.TargetInfo.boot_id`). Where that is unknown, the machines are taken for
one. A measurement has its machine for itself; all other work may run beside each other. A
measurement that waits goes before other work that waits, and measurements go in their order. Only
files that are to move keep their place in that order: what builds elsewhere waits for them, and
one measurement after another would keep it idle.

This is for the work of one search. Between processes, jobs hold the machine that they run on
(`paretune.core.machine_lock`); what a search does itself holds it here.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from paretune.core.machine_lock import GivenUpError, MachineLock


class Work(StrEnum):
    """What a machine is used for."""

    MEASURE = "measure"
    BUILD = "build"
    CHOOSE = "choose"
    """The next candidate is chosen, which may fit models."""
    MOVE = "move"
    """Files go to a machine that builds, or come back."""


@dataclass(eq=False)
class _Use:
    """A use of a machine, or the wish for it."""

    work: Work

    @property
    def alone(self) -> bool:
        return self.work is Work.MEASURE


class Machines:
    """Grants the uses of machines, and writes them down.

    Args:
        log: File to which a line is appended for each use that has ended; None: nowhere.
        lock: Taken for what the search itself does on the machine that it runs on.
    """

    def __init__(self, log: Path | None = None, lock: MachineLock | None = None) -> None:
        self._log = log
        self._lock = MachineLock() if lock is None else lock
        self._changed = threading.Condition()
        self._running: dict[str, list[_Use]] = {}
        self._waiting: dict[str, list[_Use]] = {}
        self._epoch = time.time() - time.monotonic()  # so that a clock that is set moves no use

    @contextmanager
    def use(
        self,
        machine: str,
        who: str,
        work: Work,
        what: str = "",
        *,
        seconds: float | None = None,
        given_up: Callable[[], bool] = lambda: False,
    ) -> Iterator[float]:
        """Use a machine while the block runs; yields the seconds that were waited for it.

        Args:
            machine: Which one.
            who: For which device.
            work: What for.
            what: The same in more detail, for the log.
            seconds: Wait no longer.
            given_up: Whether it is not wanted any more; see `look_again`.

        Raises:
            TimeoutError: It was in use for so long.
            GivenUpError: `given_up` became true.
        """
        asked = time.monotonic()
        use = _Use(work)
        with self._changed:
            running = self._running.setdefault(machine, [])
            waiting = self._waiting.setdefault(machine, [])
            waiting.append(use)
            try:
                at_once = _may_begin(use, running, waiting)
                granted = self._changed.wait_for(
                    lambda: given_up() or _may_begin(use, running, waiting), seconds
                )
                if given_up():
                    raise GivenUpError
                if not granted:
                    raise TimeoutError(f"the machine was in use for {seconds:g} s")
                running.append(use)
                begin = time.monotonic()
            finally:
                waiting.remove(use)
                self._changed.notify_all()
        waited = 0.0 if at_once else begin - asked
        try:
            with ExitStack() as stack:
                if work in (Work.CHOOSE, Work.MOVE):  # the search itself does it, and no job
                    more = stack.enter_context(self._lock.use(alone=False, given_up=given_up))
                    begin, waited = begin + more, waited + more
                yield waited
        finally:
            with self._changed:
                self._write(machine, who, use, what, begin, time.monotonic())
                running.remove(use)
                self._changed.notify_all()

    def look_again(self) -> None:
        """Have all who wait look whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()

    def _write(
        self, machine: str, who: str, use: _Use, what: str, begin: float, end: float
    ) -> None:
        if self._log is None:
            return
        line = {
            "machine": machine,
            "who": who,
            "kind": use.work.value,
            "what": what,
            "begin": round(self._epoch + begin, 6),
            "end": round(self._epoch + end, 6),
        }
        try:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError:  # a full disk, say: what is durable of the study says so itself
            self._log = None


def _may_begin(use: _Use, running: list[_Use], waiting: list[_Use]) -> bool:
    if any(other.alone for other in running):
        return False
    earlier = waiting[: waiting.index(use)]
    if use.alone:
        return not running and not any(o.alone or o.work is Work.MOVE for o in earlier)
    before = earlier if use.work is Work.MOVE else waiting
    return not any(other.alone for other in before)
