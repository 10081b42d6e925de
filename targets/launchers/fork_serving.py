"""What the fork server does (its owner's side: `paretune.targets.launchers.fork_server`).

Some children are forked before there is a job for them, the spares: a fork, and what a process
touches first after it, take longer than a short job does. A spare is the server's copy as any other
child is, waits for one job, and ends with it. Spares are made while a job runs in which nothing is
timed, one after the other, as the job has most of the processor to itself then. Where something may
be timed nothing else runs, so one that is not ready yet is waited for before such a job starts.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import psutil

from paretune import registry
from paretune.core import distributions
from paretune.core.job import TASKS, json_adapter
from paretune.plugin_identity import read_plugins
from paretune.targets.launchers.fork_server import (
    FRESH,
    READY,
    STRAYS_END_WITHIN_S,
    UNTIMED,
    server_command,
    worker_command,
)
from paretune.targets.launchers.huge_pages import use_huge_pages

SPARES = 4
"""Children that wait: what a build made is loaded and measured at two rungs, and the next built."""

_READY_WITHIN_S = 5.0


def serve(control: int, modules: Sequence[str]) -> None:
    """Be the server: import, then fork on request until the owner hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.WARNING)  # what libraries say as they are imported is nobody's to read
    threads = _threads()
    for name in modules:
        # Whatever goes wrong here goes wrong again, with its traceback, in a job that needs it.
        with contextlib.suppress(Exception):
            import_module(name)
        if _threads() > threads:
            # A fork has no copy of a thread, and may wait for it forever: again, without this one.
            others = [other for other in modules if other != name]
            os.execv(sys.executable, server_command(control, others))
    logging.disable(logging.NOTSET)
    # Each of these takes longer than a fork: what tasks are read by, and what packages say.
    for kind in TASKS.values():
        json_adapter(kind)
    for group in registry.BUILTIN:
        registry.table(group)
    distributions.read_all()
    read_plugins()
    gc.collect()
    gc.freeze()  # the collector would touch, and so copy, the shared pages in each child
    use_huge_pages()
    _Server(socket.socket(fileno=control)).run()


def _threads() -> int:
    """Return how many threads this process has; where that cannot be read, one."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1


class _Spare:
    """A child that has no job yet.

    Args:
        pid: Its process id.
        channel: It takes its job from it.
        preparing: Reading end of a pipe that it holds open until it only waits.
    """

    def __init__(self, pid: int, channel: socket.socket, preparing: int) -> None:
        self.pid = pid
        self.preparing = preparing
        self._channel = channel

    def ready(self, within_s: float = 0.0) -> bool:
        """Return whether it does nothing any more, at the latest after so many seconds."""
        poll = select.poll()
        poll.register(self.preparing, select.POLLIN)
        return bool(poll.poll(1e3 * within_s))

    def give(self, message: bytes, streams: Sequence[int]) -> None:
        """Give it a job; one that is being killed ends without it."""
        with contextlib.suppress(OSError):
            socket.send_fds(self._channel, [message], streams)
        self.close()

    def close(self) -> None:
        """Let go of it: without a job it ends."""
        self._channel.close()
        os.close(self.preparing)


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._control.set_inheritable(False)
        self._live: dict[int, int] = {}  # process id -> writing end of its status pipe
        self._untimed: set[int] = set()  # those of them in which nothing is timed
        self._spares: list[_Spare] = []
        self._reaps_orphans = _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._pid = os.getpid()
        # A child's end wakes the loop through this pair.
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with contextlib.suppress(BrokenPipeError):  # the owner has hung up already
            self._control.send(READY)

    def run(self) -> None:
        try:
            owned = True
            while owned:
                preparing = [spare.preparing for spare in self._spares if not spare.ready()]
                makes = not preparing and self._makes_spares()
                poll = select.poll()
                for descriptor in (self._control.fileno(), self._woken.fileno(), *preparing):
                    poll.register(descriptor, select.POLLIN)
                events = poll.poll(0 if makes else None)
                if not events:
                    self._spares.append(self._fork())
                for descriptor, _ in events:
                    if descriptor == self._woken.fileno():
                        with contextlib.suppress(BlockingIOError):
                            self._woken.recv(4096)
                        self._reap()
                    elif descriptor == self._control.fileno():
                        owned = self._serve_one()
        finally:
            for spare in self._spares:
                spare.close()
            self._spares.clear()
            self._live.clear()  # all are strays now
            self._reap()

    def _makes_spares(self) -> bool:
        """Return whether another child is forked now: jobs run, and nothing is timed in any."""
        running = self._live.keys()
        return len(self._spares) < SPARES and bool(running) and running <= self._untimed

    def _serve_one(self) -> bool:
        """Start one job; False if the owner has hung up."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, 16, 4)
        except ConnectionResetError:  # it never read that this one is ready
            return False
        if not message:
            return False
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        *streams, status = descriptors
        if message != UNTIMED:
            for spare in self._spares:
                spare.ready(_READY_WITHIN_S)
        self._begin(message, streams, status)
        for stream in streams:
            os.close(stream)
        return True

    def _begin(self, message: bytes, streams: Sequence[int], status: int) -> None:
        spare = self._living_spare() or self._fork(status, *streams)
        self._live[spare.pid] = status
        if message == UNTIMED:
            self._untimed.add(spare.pid)
        try:
            # Before it begins: a job could end this process.
            os.write(status, b"%d\n" % spare.pid)
        except BrokenPipeError:  # the owner did not wait for it
            spare.close()
        else:
            spare.give(message, streams)

    def _living_spare(self) -> _Spare | None:
        """Take one of the spares, passing over those that were killed."""
        while self._spares:
            spare = self._spares.pop(0)
            if os.waitpid(spare.pid, os.WNOHANG) == (0, 0):
                return spare
            spare.close()
        return None

    def _fork(self, *more: int) -> _Spare:
        """Fork a child that waits for its job.

        Args:
            *more: Descriptors that are none of its business.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        preparing, prepared = os.pipe()
        pid = os.fork()
        if pid == 0:
            ours.close()
            os.close(preparing)
            self._become_child(theirs, prepared, more)
        theirs.close()
        os.close(prepared)
        return _Spare(pid, ours, preparing)

    def _reap(self) -> None:
        """Collect ended children; report jobs once nothing that they left behind is alive."""
        ended: list[tuple[int, int, int]] = []
        deadline = time.monotonic() + STRAYS_END_WITHIN_S
        while self._collect(ended) and time.monotonic() < deadline:
            strays = _children() - self._live.keys() - {spare.pid for spare in self._spares}
            if not strays:
                break
            for stray in strays:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stray, signal.SIGKILL)
            time.sleep(0.002)
        for pid, status, code in ended:
            if not self._reaps_orphans:
                _end_session(pid)
            with contextlib.suppress(BrokenPipeError):
                os.write(status, b"%d\n" % code)
            os.close(status)

    def _collect(self, ended: list[tuple[int, int, int]]) -> bool:
        """Reap the children that have ended; False if no child is left."""
        while True:
            try:
                pid, code = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            status = self._live.pop(pid, None)
            self._untimed.discard(pid)
            if status is not None:
                ended.append((pid, status, os.waitstatus_to_exitcode(code)))
            for spare in [spare for spare in self._spares if spare.pid == pid]:
                self._spares.remove(spare)
                spare.close()

    def _become_child(self, channel: socket.socket, prepared: int, more: Sequence[int]) -> NoReturn:
        try:
            os.setsid()
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self._pid:  # it died before the line above
                os._exit(1)
            _prctl(_PR_SET_CHILD_SUBREAPER, 1)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number in (*self._live.values(), *more):
                os.close(number)
            for spare in self._spares:
                spare.close()
            for own in (self._control, self._woken, self._wake):
                own.close()
            _offer_to_oom_killer()
            from paretune.targets.worker.main import main, rehearse

            with contextlib.suppress(Exception):  # what is wrong is its job's to tell
                rehearse()
            os.close(prepared)
            message, streams, _, _ = socket.recv_fds(channel, 16, 3)
            if not message:
                os._exit(0)
            channel.close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            if message == FRESH:
                os.execv(sys.executable, worker_command())
            main(forked=True)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)


_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def _prctl(option: int, value: int) -> bool:
    """Set one of the process attributes of prctl(2); False where a sandbox refuses it.

    Jobs run without them too. What is lost is what happens after the worst: a job outlives a server
    that is killed until its owner ends it, and orphans are found by their session alone.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        done: int = libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0)
    except (OSError, AttributeError):  # no such function
        return False
    return done == 0


def _children() -> set[int]:
    """Return the process ids of this process's children, the ended ones included."""
    try:
        tasks = list(Path("/proc/self/task").iterdir())
        return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}
    except OSError:  # a kernel without it: all processes are looked through
        return {process.pid for process in psutil.Process().children()}


def _end_session(leader: int) -> None:
    """Kill what a job left behind, where orphans do not come back to the server."""
    killed = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == leader:
                process.kill()
                killed.append(process)
    deadline = time.monotonic() + STRAYS_END_WITHIN_S
    while any(map(_lives, killed)) and time.monotonic() < deadline:
        time.sleep(0.002)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _offer_to_oom_killer() -> None:
    """Make this process the kernel's first choice when the machine runs out of memory."""
    with (
        contextlib.suppress(OSError),  # /proc is read-only in some containers
        open("/proc/self/oom_score_adj", "w", encoding="ascii") as file,
    ):
        file.write("1000")
