"""A process that has imported everything once and forks a child for each job (Linux only).

The idea is that of ``multiprocessing.forkserver``. That one is not used, because its children
import the caller's main script again (a script without a ``__main__`` guard would run a second
time), it is one for the whole interpreter and lives until its end, and what it hands over is
pickled. This one belongs to one target, ends with it, hands over file descriptors only, and looks
after what its jobs leave behind:

- A job's descendants cannot get lost. The child is a subreaper, so its orphans become its own
  children; the server is one too, so that what outlives the child becomes the server's and is
  killed before the job is reported as ended. Where a sandbox refuses ``prctl``, they are found by
  the session that the job leads.
- If the server's owner dies, the server ends all. If the server itself is killed, the kernel kills
  its jobs (their own children it does not).
- The kernel's out-of-memory killer is pointed at the jobs (``oom_score_adj``), not at the owner.

Messages: the owner sends one packet a job over a socket, `FORK` or `FRESH`, with four descriptors
(request, reply, log, status). The server writes two lines to ``status``: the child's process id at
its start, its exit code (negative: a signal) at its end. Over the socket it says `READY` once, when
it has imported everything.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import IO, NoReturn

import psutil

from paretune import registry
from paretune.core import distributions, interrupts
from paretune.core.errors import StateError
from paretune.core.job import TASKS, json_adapter
from paretune.targets.launchers.huge_pages import use_huge_pages

FORK, FRESH, READY = b"fork", b"fresh", b"ready"
_STRAYS_END_WITHIN_S = 2.0
_SERVER = (
    "import json, sys; sys.path[:], modules = json.loads(sys.argv[2]); "
    "from paretune.targets.launchers.fork_server import serve; serve(int(sys.argv[1]), modules)"
)
_WORKER = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from paretune.targets.worker.main import main; main()"
)


def worker_command() -> list[str]:
    """Return the command line of a worker in an interpreter of its own.

    It finds modules where this interpreter does; ``-P`` keeps the working folder out of it.
    """
    return [sys.executable, "-P", "-c", _WORKER, json.dumps(sys.path)]


class ForkedChild:
    """The owner's handle of one child of the server.

    Args:
        status: Reading end of the child's status pipe.
    """

    def __init__(self, status: int) -> None:
        self._status: int | None = status
        self._text = b""

    @property
    def pid(self) -> int | None:
        """The child's process id; None before it has started."""
        line, ended, _ = self._text.partition(b"\n")
        return int(line) if ended else None

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs or if the server was lost."""
        lines = self._text.split(b"\n")
        return int(lines[1]) if len(lines) > 2 else None

    def started(self, timeout: float) -> bool:
        """Wait until it has started (the server may still be importing), or can start no more."""
        self._read(timeout, lines=1)
        return self.pid is not None or self._status is None

    def wait(self, timeout: float) -> bool:
        """Wait until it has ended with all its descendants; False if it has not by then."""
        self._read(timeout, lines=2)
        return self._status is None

    def close(self) -> None:
        """Let go of it; if it has not started yet, it never will."""
        if self._status is not None:
            os.close(self._status)
            self._status = None

    def _read(self, timeout: float, lines: int) -> None:
        deadline = time.monotonic() + timeout
        while self._status is not None and self._text.count(b"\n") < lines:
            left = max(0.0, deadline - time.monotonic())
            poll = select.poll()  # select() refuses descriptors above 1023
            poll.register(self._status, select.POLLIN)
            if not poll.poll(left * 1000):
                return
            more = os.read(self._status, 64)
            self._text += more
            if not more:
                self.close()
        if self.returncode is not None:
            self.close()


class ForkServer:
    """The owner's side: starts the server when it is first needed, and again if it died.

    Args:
        modules: What to import before the first fork; one that cannot be is passed over, and
            the job that needs it meets the error.
        environment: The server's environment, inherited by its jobs.
    """

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._modules = tuple(modules)
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._errors: IO[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id; None if it does not run."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process is not None else None

    def warm_up(self) -> None:
        """Start the server unless it runs; returns at once, it imports by itself."""
        with self._lock:
            self._ensure_running()

    def start(self, request: int, reply: int, log: int, *, fresh: bool = False) -> ForkedChild:
        """Ask for a child whose standard input, output and error are these descriptors.

        Args:
            request: What the worker reads its job from.
            reply: What it writes its messages to.
            log: Where its output goes.
            fresh: True: a new interpreter, without what the server has imported.
        """
        status, theirs = os.pipe()
        try:
            with self._lock:
                self._send(FRESH if fresh else FORK, [request, reply, log, theirs])
        except BaseException:
            os.close(status)
            raise
        finally:
            os.close(theirs)
        return ForkedChild(status)

    def close(self) -> None:
        """End the server and every job; returns when they are gone."""
        with self._lock:
            self._release()

    def last_words(self) -> str:
        """Return the end of what the server itself has written to its standard error."""
        if self._errors is None:
            return ""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), 2000, max(0, size - 2000)).decode(errors="replace")

    def _send(self, message: bytes, descriptors: list[int]) -> None:
        """Send one request; once more to a new server if a job has killed the old one."""
        self._ensure_running()
        try:
            self._send_once(message, descriptors)
        except (BrokenPipeError, ConnectionResetError):
            self._release()
            self._ensure_running()
            self._send_once(message, descriptors)

    def _send_once(self, message: bytes, descriptors: list[int]) -> None:
        assert self._control is not None
        socket.send_fds(self._control, [message], descriptors)

    def _ensure_running(self) -> None:
        if self.pid is not None:
            return
        self._release()
        interrupts.at_stake()
        # Packets keep one request apart from the next.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        number = theirs.fileno()
        arguments = json.dumps([sys.path, self._modules])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _SERVER, str(number), arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=self._environment,
                pass_fds=[number],
                start_new_session=True,  # a terminal's Ctrl-C is the owner's to handle
            )
        except OSError as error:
            ours.close()
            errors.close()
            raise StateError(f"the fork server cannot be started: {error}") from error
        finally:
            theirs.close()
        self._control, self._errors = ours, errors

    def _ready(self) -> bool:
        """True once the server has imported everything and may have jobs."""
        assert self._control is not None
        try:
            return bool(self._control.recv(16, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except (BlockingIOError, ConnectionResetError):
            return False

    def _release(self) -> None:
        if self._process is not None and not self._ready():
            self._process.kill()  # it imports, and has no jobs yet
        if self._control is not None:
            self._control.close()  # the server ends its jobs and itself
        if self._process is not None:
            try:
                self._process.wait(_STRAYS_END_WITHIN_S + 3.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._errors is not None:
            self._errors.close()
        self._process = self._control = self._errors = None


def serve(control: int, modules: Sequence[str]) -> None:
    """Be the server: import, then fork on request until the owner hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.WARNING)  # what libraries say as they are imported is nobody's to read
    for name in modules:
        # Whatever goes wrong here goes wrong again, with its traceback, in a job that needs it.
        with contextlib.suppress(Exception):
            import_module(name)
    logging.disable(logging.NOTSET)
    # Each of these takes longer than a fork: what tasks are read by, and what packages say.
    for kind in TASKS.values():
        json_adapter(kind)
    for group in registry.BUILTIN:
        registry.table(group)
    distributions.read_all()
    gc.collect()
    gc.freeze()  # the collector would touch, and so copy, the shared pages in each child
    use_huge_pages()
    _Server(socket.socket(fileno=control)).run()


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._control.set_inheritable(False)
        self._live: dict[int, int] = {}  # process id -> writing end of its status pipe
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
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        try:
            owned = True
            while owned:
                for descriptor, _ in poll.poll():
                    if descriptor == self._woken.fileno():
                        with contextlib.suppress(BlockingIOError):
                            self._woken.recv(4096)
                        self._reap()
                    else:
                        owned = self._serve_one()
        finally:
            self._live.clear()  # all are strays now
            self._reap()

    def _serve_one(self) -> bool:
        """Fork one job; False if the owner has hung up."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, 16, 4)
        except ConnectionResetError:  # it never read that this one is ready
            return False
        if not message:
            return False
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        *streams, status = descriptors
        told, telling = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(telling)
            os.read(told, 1)  # until the owner knows of it: else a job could end this process first
            os.close(told)
            self._become_job(streams, status, fresh=message == FRESH)
        for stream in (*streams, told):
            os.close(stream)
        self._live[pid] = status
        try:
            os.write(status, b"%d\n" % pid)
        except BrokenPipeError:  # the owner did not wait for it
            os.kill(pid, signal.SIGKILL)
        os.close(telling)
        return True

    def _reap(self) -> None:
        """Collect ended children; report jobs once nothing that they left behind is alive."""
        ended: list[tuple[int, int, int]] = []
        deadline = time.monotonic() + _STRAYS_END_WITHIN_S
        while self._collect(ended) and time.monotonic() < deadline:
            strays = [p for p in psutil.Process().children() if p.pid not in self._live]
            if not strays:
                break
            for stray in strays:
                with contextlib.suppress(psutil.NoSuchProcess):
                    stray.kill()
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
            if status is not None:
                ended.append((pid, status, os.waitstatus_to_exitcode(code)))

    def _become_job(self, streams: Sequence[int], status: int, *, fresh: bool) -> NoReturn:
        try:
            os.setsid()
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self._pid:  # it died before the line above
                os._exit(1)
            _prctl(_PR_SET_CHILD_SUBREAPER, 1)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            for number in (*streams, status, *self._live.values()):
                os.close(number)
            for own in (self._control, self._woken, self._wake):
                own.close()
            _offer_to_oom_killer()
            if fresh:
                os.execv(sys.executable, worker_command())
            from paretune.targets.worker.main import main

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


def _end_session(leader: int) -> None:
    """Kill what a job left behind, where orphans do not come back to the server."""
    killed = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == leader:
                process.kill()
                killed.append(process)
    deadline = time.monotonic() + _STRAYS_END_WITHIN_S
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
