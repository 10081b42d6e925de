"""Commands that show what there is: bench, doctor, passes, init."""

from __future__ import annotations

import json
from pathlib import Path

import click

from paretune.cli.options import (
    UserPath,
    json_option,
    opened_target,
    say,
    store_option,
    target_options,
)
from paretune.core import interrupts


@click.command()
@click.argument("model", required=False, type=UserPath())
@target_options
@store_option
@json_option
def bench(
    model: Path | None,
    target: str | None,
    config: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Measure a device (bandwidth, arithmetic, start-up, noise), or a model on it.

    The device's figures are kept in the store, where searches find them.
    """
    from paretune.bench.device import bench_device, render
    from paretune.bench.model import bench_model, render_model
    from paretune.core.user_paths import default_store

    interrupts.at_stake()
    root = store or default_store()
    with opened_target(target, config, root) as opened:
        if model is None:
            measured = bench_device(opened, root, waits=lambda why: say(why, err=True))
            text = render
        else:
            measured, text = bench_model(model, opened, store_root=root), render_model
    say(json.dumps(measured) if as_json else text(measured))


@click.command()
@target_options
@click.option(
    "--role",
    type=click.Choice(["search", "measure", "build"]),
    help="What it is judged for; by default search for this machine, measure for a --target.",
)
@json_option
def doctor(target: str | None, config: Path | None, role: str | None, as_json: bool) -> None:
    """Show what a machine can run, and what each missing piece needs."""
    from paretune.cli.doctor_checks import MEASURE, SEARCH, render, report, report_of

    with opened_target(target, config, Path()) as opened:
        if opened is None:
            found = report(role=role or SEARCH)
        else:
            found = report_of(opened, role or MEASURE)
    say(json.dumps(found) if as_json else render(found))


@click.command()
@click.argument("name", required=False)
@json_option
def passes(name: str | None, as_json: bool) -> None:
    """List the passes, or one pass's parameters."""
    from paretune.cli.listing import all_passes, one_pass, render_one, render_passes

    if name is None:
        listed = all_passes()
        say(json.dumps(listed) if as_json else render_passes(listed))
    else:
        shown = one_pass(name)
        say(json.dumps(shown) if as_json else render_one(shown))


@click.command()
@click.argument("file", default="paretune.yaml", type=UserPath())
def init(file: Path) -> None:
    """Write a first configuration, with comments, to be filled in."""
    from paretune.cli.listing import write_first_configuration

    write_first_configuration(file)
    say(f"wrote {file}; edit `model:` and `data:`, then: paretune search {file} --dry-run")
