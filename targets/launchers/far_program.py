"""Runs `paretune.targets.launchers.far_setup` on a host, with an interpreter of that host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paretune.core.errors import ConnectionLostError, UsageError
from paretune.core.jsontools import Json, parse_json
from paretune.targets.launchers import far_setup
from paretune.targets.launchers.installed import AT_HOME, one_line
from paretune.targets.launchers.python import ProcessChannel
from paretune.targets.transports.host import CommandError
from paretune.targets.transports.ssh import SshHost

_MOST_LINE = 1 << 16
_SECONDS = 600.0
OTHER_PYTHON = "Name another interpreter: --python PATH."
OTHER_FOLDER = "Free space there, or name a folder on another disk: --folder DIR."


class FarProgram:
    """The program on a host.

    Args:
        host: Where it runs.
        python: The interpreter there.
    """

    def __init__(self, host: SshHost, python: str) -> None:
        self.host, self.python = host, python

    def answer(self, *arguments: str, given: bytes = b"") -> dict[str, Json]:
        """Run it to its end.

        Args:
            arguments: Its arguments.
            given: Its standard input.

        Returns:
            Its last message; empty if that is not one.

        Raises:
            UsageError: It failed, or the host cannot be reached.
        """
        try:
            said = self.host.run(*self._command(*arguments), given=given, seconds=_SECONDS)
            message = parse_json(said.decode(errors="replace").strip().splitlines()[-1])
        except CommandError as error:
            raise UsageError(
                f"{self.host.host}: {self.python} failed: {error.reason}", hint=OTHER_PYTHON
            ) from error
        except (ValueError, IndexError):
            return {}
        if not isinstance(message, dict):
            return {}
        if "failed" in message:
            raise UsageError(f"{self.host.host}: {message['failed']}", hint=OTHER_FOLDER)
        return message

    @contextmanager
    def running(self, *arguments: str) -> Iterator[ProcessChannel]:
        """Start it, and yield its standard input and output; it ends when they are closed."""
        channel = ProcessChannel(self.host.command(*self._command(*arguments)), dict(os.environ))
        try:
            yield channel
        finally:
            channel.close()
            channel.reader.close()

    def lost(self, channel: ProcessChannel, why: str | None = None) -> ConnectionLostError:
        """Return the error for a channel that ended before the last message came.

        Args:
            channel: It.
            why: What is known of the reason; None: the last line of its standard error.
        """
        said = channel.last_words().strip().splitlines() or ["no reason was given"]
        return ConnectionLostError(
            f"{self.host.host}: the connection was lost while the device was prepared: "
            f"{why or said[-1]}",
            hint="Run the same command again: it continues.",
        )

    def _command(self, *arguments: str) -> tuple[str, ...]:
        return (*AT_HOME, self.python, "-c", _PROGRAM, *arguments)


def messages(channel: ProcessChannel) -> Iterator[dict[str, Json]]:
    """Yield the messages of a program that was started, until it ends."""
    while line := channel.reader.readline(_MOST_LINE):
        try:
            message = parse_json(line.decode(errors="replace"), replace=True)
        except ValueError:
            continue  # what a login script prints
        if isinstance(message, dict):
            yield message


_PROGRAM = one_line(Path(far_setup.__file__).read_text(encoding="utf-8"))
