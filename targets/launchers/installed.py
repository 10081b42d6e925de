"""A target on another machine where commands can be run: paretune is copied there, then the agent.

A connection checks the interpreter there, installs this paretune into a folder of the store there
if it is not there already (by the digest of its wheel; nothing else on that machine is changed),
and starts the agent. The libraries that paretune needs are the interpreter's own. A connection that
is lost ends its jobs as transient; the next job connects again.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from paretune.core.errors import UsageError
from paretune.core.job import Job, JobResult, Task
from paretune.core.jsontools import parse_json
from paretune.core.permissions import Permissions
from paretune.targets.launchers.agent_target import AgentTarget
from paretune.targets.launchers.conversation import Conversation, Pending
from paretune.targets.launchers.python import ProcessChannel
from paretune.targets.launchers.wheel import build_wheel
from paretune.targets.transports.files import other_content
from paretune.targets.transports.host import CommandError, Host
from paretune.targets.transports.host_files import HostTransport
from paretune.targets.transports.tasks import Describer, files_of

LEAST_PYTHON = (3, 11)
_PYTHON = (
    "Name a Python interpreter of that machine, 3.11 or later, in `targets:` (`python:`); a "
    "relative path starts at the home folder there."
)
_STORE = (
    "It is the store for models and data. Free space there or make it writable, or name another "
    "folder in `targets:` (`store:`)."
)
AT_HOME = ("sh", "-c", 'cd && exec "$0" "$@"')
"""Runs a command in the home folder, where a relative path of an interpreter starts."""
_LOOK = """
import json, os, sys, tempfile
store, digest = sys.argv[1:]
home = os.path.expanduser("~")
cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
store = store or os.environ.get("PARETUNE_STORE") or os.path.join(cache, "paretune")
store = os.path.expanduser(store)
reason = "there is no such user" if store[:1] == "~" else None
store = os.path.join(home, store)
if os.pathsep in store:
    reason = "a path with %r cannot be on Python's module path" % os.pathsep
try:
    if reason is None:
        if not os.path.isdir(store):
            os.makedirs(store)
        with tempfile.TemporaryFile(dir=store) as file:
            file.write(b"x" * 65536)
except (IOError, OSError) as error:
    reason = error.strerror
there = os.path.isdir(os.path.join(store, "paretune", digest))
found = {"python": sys.version_info[:3], "store": store, "there": there, "reason": reason}
print()  # a greeting of the login may have no line break at its end
print(json.dumps(found))
"""
_INSTALL = """
import hashlib, io, os, shutil, sys, tempfile, zipfile
store, digest = sys.argv[1:]
wheel = sys.stdin.buffer.read()
if hashlib.sha256(wheel).hexdigest()[:16] != digest:
    sys.exit("the wheel arrived damaged")
place = os.path.join(store, "paretune")
os.makedirs(place, exist_ok=True)
made = tempfile.mkdtemp(prefix=".new-", dir=place)
try:
    zipfile.ZipFile(io.BytesIO(wheel)).extractall(made)
    os.rename(made, os.path.join(place, digest))
except OSError as error:
    shutil.rmtree(made, ignore_errors=True)
    if not os.path.isdir(os.path.join(place, digest)):
        sys.exit(place + ": " + error.strerror)
"""


def one_line(program: str) -> str:
    """Return a Python program as one line: tcsh takes no line break or ``!`` in an argument."""
    coded = base64.b64encode(program.encode()).decode()
    return f"import base64; exec(base64.b64decode('{coded}'))"


def _looked(said: str) -> dict[str, Any] | None:
    """Return what `_LOOK` found, which is its last line; None: this is something else."""
    try:
        found = parse_json(said.strip().splitlines()[-1], replace=True)
    except (ValueError, IndexError):
        return None
    if (
        isinstance(found, dict)
        and isinstance(found.get("python"), list)
        and all(type(number) is int for number in found["python"])
        and isinstance(found.get("store"), str)
        and "\0" not in found["store"]
        and isinstance(found.get("there"), bool)
        and isinstance(found.get("reason"), str | None)
    ):
        return found
    return None


def _was_not_sent_whole(result: JobResult, task: Task) -> bool:
    """Return whether a job failed because a file had another content than its digest says."""
    said = str(result.reason)
    return result.transient and any(other_content(digest) in said for digest in files_of(task))


class InstalledTarget(AgentTarget):
    """Runs jobs on another machine, which has a store of its own.

    Args:
        name: The target's name.
        host: Runs commands there.
        transport: Brings files there, and back.
        python: The interpreter there; a relative path starts at the home folder.
        store_root: The artifact store of this machine; the far side has its own.
        store: The folder there for models and data; by default in the user's cache folder.
        budget: Bytes that it may hold; None: as many as its disk.
        allow_network: Whether jobs may reach out.
        install: What to do where the interpreter lacks a package.

    Attributes:
        host: Runs commands there.
        transport: Counts what was sent.
    """

    def __init__(
        self,
        name: str,
        host: Host,
        transport: HostTransport,
        *,
        python: str,
        store_root: Path | None = None,
        store: str | None = None,
        budget: int | None = None,
        allow_network: bool = False,
        install: str = "",
    ) -> None:
        self.host, self.transport = host, transport
        self._python = f"./{python[2:]}" if python.startswith("~/") else python
        self._far_store, self._budget = store or "", budget
        self._describer = Describer(store_root)
        super().__init__(
            name,
            self._start_agent,
            shared=False,
            permissions=Permissions(network=allow_network),
            transport=transport,
            describer=self._describer,
            install=install,
        )
        transport.broken = self.give_up

    def close(self) -> None:
        """End every job, the agent and the connections; may be called again."""
        self.transport.close()
        super().close()
        self.host.close()

    def move_in(self, moving: Callable[[], AbstractContextManager[object]]) -> None:
        """Send and receive files only in such a context."""
        self.transport.moving = self._builds.moving = moving

    def _run(self, job: Job, *, turns: bool) -> tuple[Conversation, int, Pending]:
        task = self._describer.described(job.task)
        started = super()._run(replace(job, task=task), turns=turns)

        def look(future: Future[JobResult]) -> None:
            if future.exception() is None and _was_not_sent_whole(future.result(), task):
                self._describer.forget(task)  # else each further try would fail as well

        started[2].future.add_done_callback(look)
        return started

    @cached_property
    def _wheel(self) -> bytes:
        """This paretune; the same one at each connection."""
        with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
            return build_wheel(Path(folder)).read_bytes()

    def _start_agent(self) -> ProcessChannel:
        """Connect, and start the agent of this paretune there."""
        digest = hashlib.sha256(self._wheel).hexdigest()[:16]
        far = self._look(digest)
        if not far["there"]:
            try:
                self._run_python(_INSTALL, far["store"], digest, given=self._wheel)
            except CommandError as error:
                where = f"paretune cannot be installed on {self.host.host}"
                raise UsageError(f"{where}: {error.reason}", hint=_STORE) from error
        path = PurePosixPath(far["store"], "paretune", digest)
        python = (*AT_HOME, "env", f"PYTHONPATH={path}", self._python, "-P", "-m")
        self._hello = replace(self._hello, store=Path(far["store"]), budget=self._budget)
        self.transport.python = python
        self.transport.receive = (*python, "paretune.targets.transports.receive", far["store"])
        self.transport.store = far["store"]
        self.transport.give = (*python, "paretune.targets.transports.give", far["store"])
        self.transport.check()
        command = self.host.command(*python, "paretune.targets.agent", master=True)
        return ProcessChannel(command, dict(os.environ))

    def _look(self, digest: str) -> dict[str, Any]:
        """Return the store's path on the far side, and whether a wheel is installed there.

        Raises:
            UsageError: The interpreter is missing or too old, or the store cannot be written.
        """
        try:
            said = self._run_python(_LOOK, self._far_store, digest)
        except CommandError as error:
            where = f"{self._python!r} on {self.host.host}"
            known = {126: f"{where} cannot be executed", 127: f"there is no {where}"}
            what = known.get(error.status, f"{where} failed: {error.reason}")
            raise UsageError(what, hint=_PYTHON) from error
        found = _looked(said)
        if found is None:
            raise UsageError(
                f"{self._python!r} on {self.host.host} is not a Python interpreter",
                hint=_PYTHON,
            )
        if tuple(found["python"]) < LEAST_PYTHON:
            version = ".".join(map(str, found["python"]))
            raise UsageError(
                f"{self._python!r} on {self.host.host} is Python {version}; paretune "
                "needs 3.11 or later",
                hint=_PYTHON,
            )
        if found["reason"] is not None:
            raise UsageError(
                f"the folder {found['store']!r} on {self.host.host} cannot be "
                f"written: {found['reason']}",
                hint=_STORE,
            )
        return found

    def _run_python(self, program: str, *arguments: str, given: bytes = b"") -> str:
        """Run a Python program on the far side.

        Raises:
            CommandError: It failed, or there is no such interpreter.
            UsageError: The host cannot be reached, or refuses this user.
        """
        command = (*AT_HOME, self._python, "-c", one_line(program), *arguments)
        return self.host.run(*command, given=given).decode(errors="replace")
