"""Options that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from paretune.core.target import Target

F = TypeVar("F", bound=Callable[..., Any])


class UserPath(click.ParamType[Path]):
    """A path as the user writes it: ``~`` is the home folder (see `paretune.core.user_paths`)."""

    name = "path"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path."""
        from paretune.core.user_paths import user_path

        return value if isinstance(value, Path) else user_path(str(value))


class SeveralStudies(click.Command):
    """A command whose ``--from`` takes all folders that follow it: ``--from A B``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give each of them an option of its own; an option or a file ends their list."""
        found: list[str] = []
        inside = False
        for number, text in enumerate(args):
            if text == "--":
                found += args[number:]
                break
            first = found[-1:] == ["--from"]
            if text.startswith("-"):
                inside = text == "--from"
            elif inside and not first:
                inside = not os.path.isfile(text)
                found += ["--from"] if inside else []
            found.append(text)
        return super().parse_args(ctx, found)


store_option = click.option(
    "--store",
    type=UserPath(),
    envvar="PARETUNE_STORE",
    help="Artifact store; by default the user's cache folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def say(text: str, *, err: bool = False) -> None:
    """Print text that may come from files, without control characters other than line breaks.

    Args:
        text: Any number of lines.
        err: To standard error.
    """
    from paretune.core.os_errors import printable

    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr if err else None, flush=True)


def accept_everywhere(command: click.Command) -> None:
    """Add the switches that every command accepts.

    A command that a switch does not affect accepts it and does not show it in its help, so
    that a script can pass the same switches to each call.
    """
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            accept_everywhere(inner)
        if not command.invoke_without_command:
            return
    taken = {param.name for param in command.params}
    switches = [
        click.Option(["--allow-network"], is_flag=True, expose_value=False, hidden=True),
        click.Option(["--trust-remote-code"], is_flag=True, expose_value=False, hidden=True),
        click.Option(["--json", "as_json"], is_flag=True, expose_value=False, hidden=True),
        click.Option(["--store"], type=UserPath(), expose_value=False, hidden=True),
    ]
    command.params += [switch for switch in switches if switch.name not in taken]


def config_argument(function: F) -> F:
    """Add the configuration: as an argument, or with ``--config`` as in Olive.

    The function gets it as ``config``.
    """

    @wraps(function)
    def command(config: Path | None, config_option: Path | None, **options: Any) -> Any:
        given = [path for path in (config, config_option) if path is not None]
        if len(given) != 1:
            raise click.UsageError("expected one configuration: CONFIG, or --config CONFIG")
        return function(config=given[0], **options)

    place = UserPath()
    option = click.option("--config", "config_option", type=place, help="The same as CONFIG.")
    argument = click.argument("config", required=False, type=place)
    return cast(F, argument(option(command)))


def target_options(function: F) -> F:
    """Add the choice of the device on which a command measures (see `opened_target`)."""
    name = click.option(
        "--target",
        metavar="NAME",
        help="Device to use: a known one (`paretune target list`), or of `targets:` of --config.",
    )
    config = click.option(
        "--config", type=UserPath(), help="Configuration that declares the --target."
    )
    return name(config(function))


@contextmanager
def opened_target(
    name: str | None, config: Path | None, store_root: Path
) -> Iterator[Target | None]:
    """Yield the target that the options name, closed afterwards; None: this machine.

    Args:
        name: ``--target``.
        config: ``--config``.
        store_root: The artifact store of this machine.
    """
    from paretune.config.known_targets import open_named
    from paretune.config.targets import LOCAL

    if name is None and config is not None:
        raise click.UsageError("--config names the configuration that declares --target NAME")
    if name in (None, LOCAL):
        yield None
        return
    target = open_named(str(name), config, store_root)
    try:
        yield target
    finally:
        target.close()


def trust_options(function: F) -> F:
    """Add the two switches that turn off a protection; no file can turn it off."""
    network = click.option(
        "--allow-network", is_flag=True, help="Allow downloads of data sets and models."
    )
    remote = click.option(
        "--trust-remote-code",
        is_flag=True,
        help="Allow Python code of a model or configuration to run (custom metrics too).",
    )
    return network(remote(function))
