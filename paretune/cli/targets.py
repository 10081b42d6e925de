"""Commands that prepare devices behind ssh and remember them: target add, list, show, ..."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from paretune.cli.options import UserPath, json_option, say, store_option
from paretune.core import interrupts

if TYPE_CHECKING:
    from paretune.cli.adding import Known
    from paretune.targets.launchers.wish import Does


@click.group()
def target() -> None:
    """Prepare machines behind ssh, and remember them by name."""


@target.command()
@click.argument("host")
@click.option("--name", help="The target's name; by default that of the host.")
@click.option("--python", metavar="PATH", help="Python 3.11 or later there; else it is looked for.")
@click.option(
    "--folder",
    metavar="DIR",
    help="Folder there for the environment, models and data; by default in its cache folder.",
)
@click.option(
    "--runtime",
    "runtimes",
    metavar="NAME",
    multiple=True,
    help="A runtime that it must be able to run: genai, onnxruntime, torch; may be repeated. By "
    "default genai and onnxruntime.",
)
@click.option(
    "--evaluator",
    "evaluators",
    metavar="NAME",
    multiple=True,
    help="An evaluator whose packages it must have, such as regression; may be repeated.",
)
@click.option(
    "--does",
    type=click.Choice(["build", "measure", "both"]),
    default="measure",
    show_default=True,
    help="What it does: a machine that builds gets PyTorch and the packages of the passes, in "
    "exactly the versions of this machine.",
)
@click.option("--gpu", is_flag=True, help="Measure on its NVIDIA GPU: the runtimes' GPU packages.")
@click.option(
    "--copy-wheels",
    is_flag=True,
    help="Download the packages here and copy them; use no index there.",
)
@click.option(
    "--wheelhouse", type=UserPath(), help="Copy packages from this folder of wheels; use no index."
)
@click.option("--no-bench", is_flag=True, help="Do not measure the device's own figures.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done; change nothing there.")
@store_option
@json_option
def add(
    host: str,
    name: str | None,
    python: str | None,
    folder: str | None,
    runtimes: tuple[str, ...],
    evaluators: tuple[str, ...],
    does: Does,
    gpu: bool,
    copy_wheels: bool,
    wheelhouse: Path | None,
    no_bench: bool,
    dry_run: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Prepare a machine behind ssh, check it, measure it, and remember it by a name.

    HOST is what the system's ssh takes: a name of ~/.ssh/config, user@host or ssh://user@host:22.
    The same command again does only what is missing.
    """
    from paretune.cli.adding import add_target, name_of
    from paretune.targets.launchers.wish import RUNTIMES, Wish

    interrupts.at_stake()
    interrupts.resumable()
    wish = Wish(
        python, folder, runtimes or RUNTIMES, copy_wheels, wheelhouse, does, gpu, evaluators
    )
    known = _known(name or name_of(host), host, store, as_json)
    found = add_target(known, wish, with_bench=not no_bench, dry_run=dry_run)
    if as_json:
        say(json.dumps(found))
    elif not dry_run:
        written = in_yaml(known.name)
        builds = f"build: {written}, " if wish.builds else ""
        measures = written if wish.measures else "local"
        say(f"use it with: target: {{{builds}measure: {measures}, threads: [...]}}")


@target.command("list")
@json_option
def list_targets(as_json: bool) -> None:
    """List the known targets."""
    from paretune.config.known_targets import known_targets, known_targets_file

    known = {n: t.model_dump(exclude_none=True) for n, t in known_targets().items()}
    if as_json:
        say(json.dumps({"file": str(known_targets_file()), "targets": known}))
        return
    width = max(map(len, known), default=0)
    for name, keys in known.items():
        say(f"{name:<{width}}  {', '.join(f'{key}: {value}' for key, value in keys.items())}")
    if not known:
        say("no target is known; make one known with: paretune target add HOST")


@target.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show what is known of a target; connects to nothing."""
    from paretune.config.known_targets import known_target, known_targets_file

    keys = known_target(name).model_dump(exclude_none=True)
    if as_json:
        say(json.dumps({"name": name, "target": keys, "file": str(known_targets_file())}))
        return
    say("\n".join([name, *(f"  {key}: {value}" for key, value in keys.items())]))
    say(f"known in {known_targets_file()}")


@target.command()
@click.argument("name")
@click.option(
    "--does",
    type=click.Choice(["build", "measure", "both"]),
    default="measure",
    show_default=True,
    help="What it must be able to do.",
)
@store_option
@json_option
def check(name: str, does: Does, store: Path | None, as_json: bool) -> None:
    """Run doctor on a known target."""
    from paretune.cli.adding import checked
    from paretune.config.known_targets import known_target
    from paretune.targets.launchers.wish import Wish

    declared = known_target(name)
    interrupts.at_stake()
    known = _known(name, declared.ssh or "", store, as_json)
    found = checked(known, declared, Wish(runtimes=(), does=does), with_bench=False)
    if as_json:
        say(json.dumps(found["doctor"]))


@target.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Forget a known target; nothing is removed on the device."""
    from paretune.config.known_targets import forget, known_targets_file

    gone = forget(name)
    keys = gone.model_dump(exclude_none=True)
    if as_json:
        say(json.dumps({"name": name, "target": keys, "file": str(known_targets_file())}))
        return
    say(f"removed {name} from {known_targets_file()}")
    if gone.ssh is not None:
        say(f"  what was installed there stays: {gone.python or 'nothing'} on {gone.ssh}")


def in_yaml(name: str) -> str:
    """Return a name as a configuration may have it."""
    plain = name.replace("-", "").isidentifier() and yaml.safe_load(name) == name
    return name if plain else json.dumps(name)


def _known(name: str, host: str, store: Path | None, as_json: bool) -> Known:
    from paretune.cli.adding import Known
    from paretune.core.user_paths import default_store

    return Known(name, host, store or default_store(), partial(say, err=as_json))
