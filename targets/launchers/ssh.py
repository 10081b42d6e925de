"""The target ``ssh``: another machine, by the system's OpenSSH client.

A connection checks the interpreter there, installs this paretune into a folder of the store there
if it is not there already (by the digest of its wheel; nothing else on that machine is changed),
and starts the agent. The libraries that paretune needs are the interpreter's own. A connection that
is lost ends its jobs as transient; the next job connects again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from paretune.core.errors import UsageError
from paretune.core.job import Job
from paretune.core.packages import base
from paretune.core.permissions import Permissions
from paretune.targets.launchers.agent_target import AgentTarget
from paretune.targets.launchers.conversation import Conversation, Pending
from paretune.targets.launchers.python import ProcessChannel
from paretune.targets.launchers.wheel import build_wheel
from paretune.targets.transports.ssh import CommandError, SshHost, SshTransport
from paretune.targets.transports.tasks import Describer

_LEAST_PYTHON = (3, 11)
_NOT_THERE = (126, 127)
_LOOK = """
import json, os, sys
store, digest = sys.argv[1:]
home = os.path.expanduser("~")
cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
store = store or os.environ.get("PARETUNE_STORE") or os.path.join(cache, "paretune")
store = os.path.join(home, os.path.expanduser(store))
there = os.path.isdir(os.path.join(store, "paretune", digest))
print(json.dumps({"python": sys.version_info[:3], "store": store, "there": there}))
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
zipfile.ZipFile(io.BytesIO(wheel)).extractall(made)
try:
    os.rename(made, os.path.join(place, digest))
except OSError:
    shutil.rmtree(made)
    if not os.path.isdir(os.path.join(place, digest)):
        raise
"""


class SshTarget(AgentTarget):
    """Runs jobs on another machine.

    Args:
        store_root: The artifact store of this machine; the far side has its own.
        allow_network: Whether jobs may reach out.
        preload: Whether the runtimes are imported before the first job.
        name: The target's name.
        host: The host, as ssh takes it.
        python: The interpreter there; a relative path starts at the home folder.
        store: The folder there for models and data; by default in the user's cache folder.

    Attributes:
        transport: Counts what was sent.
    """

    def __init__(
        self,
        store_root: Path | None = None,
        allow_network: bool = False,
        preload: bool = True,
        name: str = "ssh",
        host: str = "",
        python: str = "python3",
        store: str | None = None,
    ) -> None:
        del store_root
        self._host = SshHost(host)
        self._python = python.removeprefix("~/")  # ssh begins in the home folder
        self._far_store = store or ""
        self._describer = Describer()
        self.transport = SshTransport(self._host)
        super().__init__(
            name,
            self._start_agent,
            shared=False,
            permissions=Permissions(network=allow_network),
            preload=preload,
            transport=self.transport,
            install=f"The interpreter there needs these packages: {', '.join(base())}. "
            f"Install them, such as with `ssh {host} {python} -m pip install ...`, or name another "
            "one (`python:`).",
        )

    def close(self) -> None:
        """End every job, the agent and the connections; may be called again."""
        self.transport.close()
        super().close()
        self._host.close()

    def _run(self, job: Job, *, turns: bool) -> tuple[Conversation, int, Pending]:
        return super()._run(replace(job, task=self._describer.described(job.task)), turns=turns)

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
            self._call(_INSTALL, far["store"], digest, given=self._wheel)
        path = PurePosixPath(far["store"], "paretune", digest)
        python = ("env", f"PYTHONPATH={path}", self._python, "-P", "-m")
        self._hello = replace(self._hello, store=Path(far["store"]))
        self.transport.receive = (*python, "paretune.targets.transports.receive", far["store"])
        command = self._host.command(*python, "paretune.targets.agent", master=True)
        return ProcessChannel(command, dict(os.environ))

    def _look(self, digest: str) -> dict[str, Any]:
        """Return the store's path on the far side, and whether a wheel is installed there.

        Raises:
            UsageError: The interpreter is missing or too old.
        """
        said = self._call(_LOOK, self._far_store, digest)
        try:
            found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise UsageError(
                f"{self.name}: {self._python} on {self._host.host} is not a Python interpreter",
                hint="Name one in `targets:` (`python:`).",
            ) from error
        if tuple(found["python"]) < _LEAST_PYTHON:
            version = ".".join(map(str, found["python"]))
            raise UsageError(
                f"{self.name}: {self._python} on {self._host.host} is Python {version}; paretune "
                "needs 3.11 or later",
                hint="Name another interpreter in `targets:` (`python:`).",
            )
        return found

    def _call(self, program: str, *arguments: str, given: bytes = b"") -> str:
        """Run a Python program on the far side."""
        try:
            said = self._host.run(self._python, "-c", program, *arguments, given=given)
        except CommandError as error:
            if error.status in _NOT_THERE:
                raise UsageError(
                    f"{self.name}: there is no {self._python!r} on {self._host.host}",
                    hint="Name its Python interpreter in `targets:` (`python:`).",
                ) from error
            raise UsageError(f"{self.name}: {error.message}") from error
        return said.decode(errors="replace")
