"""The ``paretune`` command, and how errors become exit statuses.

Exit status: 0 done; 1 a bug of ours; 2 the configuration or the call is wrong, or nothing in the
space fits this machine; 3 nothing feasible; 4 the study or store is locked, damaged or incomplete;
130 interrupted, to be resumed.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from pathlib import Path

import click

from paretune.cli.caching import cache
from paretune.cli.comparing import compare
from paretune.cli.importing import import_olive
from paretune.cli.looking import bench, doctor, init, passes
from paretune.cli.options import accept_everywhere, say
from paretune.cli.searching import pick, report, search
from paretune.cli.searching import run as run_command
from paretune.cli.streams import open_standard_streams, what_was_lost
from paretune.cli.targets import target
from paretune.core import interrupts
from paretune.core.errors import ParetuneError, StateError, UsageError
from paretune.core.os_errors import explained
from paretune.core.packages import explained_import
from paretune.core.user_paths import check_encoding

BUG = 1


class _InterruptedError(BaseException):
    """Takes an interrupt past click, which would write an empty line of its own."""


class _Commands(click.Group):
    """The group of all commands."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _InterruptedError from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="paretune")
def app() -> None:
    """Find the model to deploy: try combinations of passes and measure them on this device.

    `paretune init` writes a first configuration; `paretune search FILE` runs it.
    """


for command in (
    search,
    run_command,
    compare,
    report,
    pick,
    bench,
    doctor,
    passes,
    init,
    import_olive,
    cache,
    target,
):
    app.add_command(command)
accept_everywhere(app)


def run() -> None:
    """Run the command line as a process of its own, and end that with its exit status."""
    _use_utf8()
    output = open_standard_streams()
    status = call(sys.argv[1:])
    interrupts.finish()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    lost = what_was_lost(output)
    if lost is not None:
        say(f"error: standard output cannot be written, so it is incomplete: {lost}", err=True)
        status = status or StateError.exit_status
    sys.exit(status)


def _use_utf8() -> None:
    """Restart the process if file names have an encoding other than UTF-8 (old POSIX locales).

    Models, data and configurations name files in UTF-8, whatever the locale is.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    os.execve(
        sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1"}
    )


def call(arguments: list[str]) -> int:
    """Run one command; returns its exit status (errors are printed to stderr)."""
    try:
        _check_working_folder()
        status = app.main(arguments, prog_name="paretune", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except BaseException as error:
        if interrupts.came() or isinstance(error, (KeyboardInterrupt, _InterruptedError)):
            say(interrupts.line(), err=True)
            return interrupts.INTERRUPTED
        return _ended(error)


def _ended(error: BaseException) -> int:
    """Print why a command ended; returns the exit status."""
    if isinstance(error, click.ClickException):
        told = io.StringIO()
        error.show(told)
        say(told.getvalue().rstrip("\n"), err=True)
        return UsageError.exit_status
    if isinstance(error, click.Abort):
        say("error: the question was not answered, so nothing was done", err=True)
        say("  To skip the question, pass --yes.", err=True)
        return UsageError.exit_status
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else BUG
    known = (
        error if isinstance(error, ParetuneError) else explained(error) or explained_import(error)
    )
    if known is None:
        # The outermost frame of the program: an error that reaches it is a bug.
        say("".join(traceback.format_exception(error)).rstrip("\n"), err=True)
        say("this is a bug of paretune; please report it with the text above", err=True)
        return BUG
    say(f"error: {known.message}", err=True)
    if known.hint is not None:
        say(f"  {known.hint}", err=True)
    return known.exit_status


def _check_working_folder() -> None:
    """Refuse to start in a folder that was removed, where no relative path works.

    Raises:
        UsageError: The folder was removed, or its name is not UTF-8.
    """
    try:
        check_encoding(Path.cwd())
    except OSError as error:
        raise UsageError(
            f"the working folder cannot be used: {error.strerror}",
            hint="Change to an existing folder with cd.",
        ) from error
