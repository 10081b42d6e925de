"""The target ``python``: another interpreter of this machine, with packages of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

from paretune.core import interrupts
from paretune.core.errors import UsageError
from paretune.core.permissions import Permissions
from paretune.targets.launchers.agent_target import AgentTarget
from paretune.targets.transports.bounded import LastWords, kill_session

_OURS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV")
"""What makes another interpreter look for packages where this one does."""
_ENDS_WITHIN_S = 25.0  # longer than a job that saves its state may take
_INTERPRETER = "Name a Python interpreter of this machine in `targets:` (`python:`)."


class ProcessChannel:
    """A channel to a process of this machine: its standard input and output.

    Args:
        command: What is started.
        environment: Its environment.
        hint: What to do if it cannot be started.

    Raises:
        UsageError: It cannot be started.
    """

    def __init__(self, command: list[str], environment: dict[str, str], hint: str = "") -> None:
        interrupts.at_stake()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # a terminal's Ctrl-C is the parent's to handle
            )
        except OSError as error:
            raise UsageError(
                f"{command[0]} cannot be started: {error.strerror}", hint=hint or None
            ) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.writer: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self.reader: BinaryIO = self._process.stdout  # type: ignore[assignment]
        assert self._process.stderr is not None
        self._said = LastWords(self._process.stderr)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """Return the end of what the process wrote to its standard error."""
        return self._said.text()

    def kill(self) -> None:
        """Kill the process and those that it started in its session; may be called again."""
        kill_session(self._process)

    def close(self) -> None:
        """Close its standard input, and wait until it has ended; may be called again."""
        with contextlib.suppress(OSError):  # it is gone, and something was still to be written
            self.writer.close()
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._said.text()


class PythonTarget(AgentTarget):
    """Runs jobs with another Python environment of this machine; paretune must be installed there.

    The interpreter is never given this one's ``sys.path``. The artifact store is shared.

    Args:
        store_root: The artifact store.
        allow_network: Whether jobs may reach out.
        name: The target's name.
        python: The interpreter's path; None: this interpreter.
        store: Another folder for the jobs' temporary files.
    """

    shares_folders = True
    """See `paretune.core.target.shares_folders`."""

    def __init__(
        self,
        store_root: Path | None = None,
        allow_network: bool = False,
        name: str = "python",
        python: str | None = None,
        store: str | None = None,
    ) -> None:
        interpreter = python or sys.executable
        environment = {key: value for key, value in os.environ.items() if key not in _OURS}
        command = [interpreter, "-P", "-m", "paretune.targets.agent"]
        super().__init__(
            name,
            lambda: ProcessChannel(command, environment, _INTERPRETER),
            store=store_root if store is None else Path(store),
            permissions=Permissions(network=allow_network),
            install=f"Install this paretune there: {sys.executable} -m "
            f"paretune.targets.launchers.wheel DIR, and {interpreter} -m pip install DIR/*.whl",
        )
