"""One measurement at a time on this machine, whichever of the user's processes makes it.

A measurement holds the machine alone; builds, choices of a candidate and transfers hold it beside
each other. A measurement that waits goes before other work that waits. The locks are those of the
kernel (``flock``) on two files in a folder of this machine, so that they end with their process,
however that ends: no child inherits them. What runs within a job is a part of it, and holds
nothing. Where the system has no such locks (Windows), nothing is held.

::

    FOLDER/turn    a measurement that waits has its lock: no other work begins
    FOLDER/use     what runs has its lock; names the process that measures
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from paretune.core.errors import UsageError

FOLDER = "PARETUNE_MACHINE"
"""Variable that names another folder for the locks."""
_WITHIN = "PARETUNE_WITHIN_JOB"
"""Variable that a job's process has, and what it starts."""
_LOOKS_EVERY_S = 0.1
_TOLD_AFTER_S = 1.0
_TOLD_EVERY_S = 60.0


_open: set[int] = set()
"""Descriptors of the locks in this process."""


def _close_in_child() -> None:
    for descriptor in _open:
        with suppress(OSError):
            os.close(descriptor)
    _open.clear()


if sys.platform != "win32":  # a child that lives longer would hold the machine
    os.register_at_fork(after_in_child=_close_in_child)


class GivenUpError(Exception):
    """The use of a machine is not wanted any more."""


def within_job() -> None:
    """Note that this process is a job's: its parent holds the machine for it.

    A search that it runs would wait for its own job else.
    """
    os.environ[_WITHIN] = "1"


def machine_folder() -> Path:
    """Return the folder of the locks: ``$PARETUNE_MACHINE``, else one of this user in ``/tmp``.

    Nothing else decides it: a search and an agent over ssh may have different environments.
    """
    named = os.environ.get(FOLDER)
    return Path(named) if named else Path(f"/tmp/paretune-{os.getuid()}")


class MachineLock:
    """Holds this machine for a measurement, or for work that no measurement may run beside.

    Two uses in one process exclude each other like those of two processes.

    Args:
        folder: Where the locks are; None: `machine_folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @property
    def _place(self) -> Path:
        return machine_folder() if self._folder is None else self._folder

    def check(self) -> None:
        """Require that the locks can be used.

        Raises:
            UsageError: They cannot.
        """
        if sys.platform != "win32":
            held = self._held("turn", alone=False)
            if held is not None:
                _release(held)

    @contextmanager
    def use(
        self,
        *,
        alone: bool,
        given_up: Callable[[], bool] = lambda: False,
        waits: Callable[[str], None] = lambda why: None,
    ) -> Iterator[float]:
        """Hold the machine while the block runs; yields the seconds that were waited for it.

        Args:
            alone: For a measurement.
            given_up: Whether it is not wanted any more; asked while it waits.
            waits: Receives the reason after the first second of waiting, and then every minute.

        Raises:
            GivenUpError: `given_up` became true.
            UsageError: The locks cannot be used.
        """
        if sys.platform == "win32" or os.environ.get(_WITHIN):
            yield 0.0
            return
        began = time.monotonic()
        held = self._try(alone)
        waited = 0.0
        if held is None:
            held = self._wait(alone, given_up, waits)
            waited = time.monotonic() - began
        try:
            if alone:
                with suppress(OSError):  # a full disk: the number is for messages only
                    os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
            yield waited
        finally:
            if alone:
                with suppress(OSError):
                    os.ftruncate(held, 0)
            _release(held)

    def _try(self, alone: bool) -> int | None:
        """Return the descriptor that holds the machine; None: others do, or wait for it."""
        turn = self._held("turn", alone)
        if turn is None:
            return None
        try:
            return self._held("use", alone)
        finally:
            _release(turn)

    def _wait(self, alone: bool, given_up: Callable[[], bool], waits: Callable[[str], None]) -> int:
        """Wait for the machine; a measurement keeps its turn, so that others do not begin."""
        tell_at = time.monotonic() + _TOLD_AFTER_S
        turn: int | None = None
        try:
            while True:
                if given_up():
                    raise GivenUpError
                time.sleep(_LOOKS_EVERY_S)
                if not alone:
                    held = self._try(alone)
                else:
                    turn = self._held("turn", alone) if turn is None else turn
                    held = None if turn is None else self._held("use", alone)
                if held is not None:
                    return held
                if time.monotonic() >= tell_at:
                    tell_at = time.monotonic() + _TOLD_EVERY_S
                    waits(self._why())
        finally:
            if turn is not None:
                _release(turn)

    def _held(self, name: str, alone: bool) -> int | None:
        """Return a descriptor that holds a file; None: it is held elsewhere.

        Raises:
            UsageError: It cannot be opened or held.
        """
        import fcntl

        folder = self._place
        try:
            _make(folder)
            path = folder / name
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            while True:
                descriptor = os.open(path, flags, 0o600)
                _open.add(descriptor)
                try:
                    how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
                    fcntl.flock(descriptor, how | fcntl.LOCK_NB)
                    if _is_file_at(descriptor, path):
                        return descriptor
                except BlockingIOError:
                    _release(descriptor)
                    return None
                except BaseException:
                    _release(descriptor)
                    raise
                _release(descriptor)  # it was removed meanwhile, as a cleaner of /tmp does
        except OSError as error:
            raise UsageError(
                f"this machine cannot be held for measurements: {folder}: "
                f"{error.strerror or error}",
                hint=f"Set {FOLDER} to a folder on a disk of this machine that this user can "
                "write to.",
            ) from error

    def _why(self) -> str:
        """Return whom a use waits for, as far as it is known."""
        with suppress(OSError, ValueError, psutil.Error):
            number = int((self._place / "use").read_text(encoding="ascii"))
            if psutil.Process(number).status() == psutil.STATUS_STOPPED:
                return (
                    f"this machine is in use: process {number} measures on it, but is stopped: "
                    f"continue it (kill -CONT {number}) or end it"
                )
            return f"this machine is in use: process {number} measures on it"
        return "this machine is in use: another process builds or measures on it"


def _release(descriptor: int) -> None:
    _open.discard(descriptor)  # first: its number may be another file's at once
    os.close(descriptor)


def _make(folder: Path) -> None:
    """Make the folder; that of the default is in a place where all users may write.

    Raises:
        OSError: It cannot be made, or the default is another user's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not os.environ.get(FOLDER) and not (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    ):
        raise PermissionError(0, "it is not a folder of this user")


def _is_file_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
