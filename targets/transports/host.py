"""Another machine on which commands can be run."""

from __future__ import annotations

from typing import Protocol

from paretune.core.errors import UsageError


class Host(Protocol):
    """A machine that a program of this one runs commands on.

    Attributes:
        host: Its name, for messages.
    """

    host: str

    def command(self, *remote: str, master: bool = False) -> list[str]:
        """Return the command that runs a command there, with its three streams.

        Args:
            remote: It and its arguments, which no shell changes.
            master: Whether other commands may use this one's connection.
        """

    def run(self, *remote: str, given: bytes = b"", seconds: float = 120.0) -> bytes:
        """Run a command to its end, and return its standard output.

        Args:
            remote: It and its arguments.
            given: Its standard input.
            seconds: How long it may take.

        Raises:
            CommandError: It failed there.
            UsageError: The machine cannot be reached.
        """

    def close(self) -> None:
        """Release what the connections need; may be called again."""


class CommandError(UsageError):
    """A command on the far side failed.

    Attributes:
        status: Its exit status; 126 and 127: it cannot be run, or is not there.
        reason: The last line of its standard error; else its exit status.
    """

    def __init__(self, program: str, status: int, said: str) -> None:
        self.status = status
        self.reason = (said.strip().splitlines() or [f"exit status {status}"])[-1]
        super().__init__(f"{program}: {self.reason}")
