"""The ``paretune`` command, and how errors become exit statuses.

Exit status: 0 done; 1 a bug of ours; 2 the configuration or the call is wrong, or nothing in the
space fits this machine; 3 nothing feasible; 4 the study or store is locked, damaged or incomplete;
130 interrupted, to be resumed.
"""

from __future__ import annotations

import errno
import io
import signal
import sys
import traceback
from types import FrameType

import click

from paretune.cli.caching import cache
from paretune.cli.comparing import compare
from paretune.cli.importing import import_olive
from paretune.cli.looking import bench, doctor, init, passes
from paretune.cli.options import accept_everywhere, say
from paretune.cli.searching import pick, report, run, search
from paretune.errors import ParetuneError, StateError

INTERRUPTED = 130
BUG = 1
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="paretune")
def app() -> None:
    """Finds the model to ship: tries combinations of passes, measures them on this device.

    Begin with `paretune init` for a first configuration, then `paretune search FILE`.
    """


for command in (
    search, run, compare, report, pick, bench, doctor, passes, init, import_olive, cache
):  # fmt: skip
    app.add_command(command)
accept_everywhere(app)


def main() -> None:
    """Run the command line and end the process with its exit status."""
    sys.exit(call(sys.argv[1:]))


def call(arguments: list[str]) -> int:
    """Run one command; returns its exit status (errors are printed to stderr)."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        status = app.main(arguments, prog_name="paretune", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        say(told.getvalue().rstrip("\n"), err=True)
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; the same command again goes on from here", err=True)
        return INTERRUPTED
    except ParetuneError as error:
        say(f"error: {error.message}", err=True)
        if error.hint is not None:
            say(f"  {error.hint}", err=True)
        return error.exit_status
    except BrokenPipeError:  # the reader of our output is gone: nobody to tell
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in _DISK_FULL:
            return _bug()
        say(f"error: the disk is full: {error}", err=True)
        say(
            "  What was recorded is kept. Free some space, and run the same command again.",
            err=True,
        )
        return StateError.exit_status
    except Exception:
        # The outermost frame of the program: whatever comes here is ours to mend.
        return _bug()


def _bug() -> int:
    """Tell of the exception that is being handled as what it is: ours to mend."""
    say(traceback.format_exc().rstrip("\n"), err=True)
    click.echo("this is a bug of paretune; please report it with the text above", err=True)
    return BUG


def _as_interrupt(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    raise KeyboardInterrupt
