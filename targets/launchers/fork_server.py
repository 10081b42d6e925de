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

Messages: the owner sends one packet a job over a socket, `FORK`, `UNTIMED` or `FRESH`, with four
descriptors (request, reply, log, status). The server writes two lines to ``status``: the child's
process id at its start, its exit code (negative: a signal) at its end. Over the socket it says
`READY` once, when it has imported everything. What the server does is in
`paretune.targets.launchers.fork_serving`.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from paretune.core import interrupts
from paretune.core.errors import StateError

FORK, UNTIMED, FRESH, READY = b"fork", b"untimed", b"fresh", b"ready"
STRAYS_END_WITHIN_S = 2.0
_SERVER = (
    "import json, sys; sys.path[:], modules = json.loads(sys.argv[2]); "
    "from paretune.targets.launchers.fork_serving import serve; serve(int(sys.argv[1]), modules)"
)
_WORKER = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from paretune.targets.worker.main import main; main()"
)


def server_command(control: int, modules: Sequence[str]) -> list[str]:
    """Return the command line of a server.

    Args:
        control: The descriptor of its end of the socket.
        modules: What it imports.
    """
    return [sys.executable, "-P", "-c", _SERVER, str(control), json.dumps([sys.path, modules])]


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
        modules: Returns what a server imports before its first fork. One that cannot be is passed
            over, and the job that needs it meets the error.
        environment: The server's environment, inherited by its jobs.
    """

    def __init__(
        self, modules: Callable[[], Sequence[str]], environment: Mapping[str, str]
    ) -> None:
        self._modules = modules
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

    def start(
        self, request: int, reply: int, log: int, *, fresh: bool = False, timed: bool = True
    ) -> ForkedChild:
        """Ask for a child whose standard input, output and error are these descriptors.

        Args:
            request: What the worker reads its job from.
            reply: What it writes its messages to.
            log: Where its output goes.
            fresh: True: a new interpreter, without what the server has imported.
            timed: False: nothing is timed in it, and the server may work beside it.
        """
        message = FRESH if fresh else FORK if timed else UNTIMED
        status, theirs = os.pipe()
        try:
            with self._lock:
                self._send(message, [request, reply, log, theirs])
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
        command = server_command(number, self._modules())
        try:
            self._process = subprocess.Popen(
                command,
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
                self._process.wait(STRAYS_END_WITHIN_S + 3.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._errors is not None:
            self._errors.close()
        self._process = self._control = self._errors = None
