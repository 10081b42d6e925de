"""Commands that show what there is: bench, doctor, passes, init, cache."""

from __future__ import annotations

import json
from pathlib import Path

import click

from paretune.cli.options import json_option, store_option


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@json_option
def bench(model: Path | None, as_json: bool) -> None:
    """Measure this device (bandwidth, arithmetic, start-up), or a model on it."""
    from paretune.bench import bench_device, bench_model, render

    measured = bench_device() if model is None else bench_model(model)
    click.echo(json.dumps(measured) if as_json else render(measured))


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Show what this machine can run, and what each missing piece needs."""
    from paretune.doctor import render, report

    found = report()
    click.echo(json.dumps(found) if as_json else render(found))


@click.command()
@click.argument("name", required=False)
@json_option
def passes(name: str | None, as_json: bool) -> None:
    """List the passes, or one pass's parameters."""
    from paretune.catalogue import all_passes, one_pass, render_one, render_passes

    if name is None:
        listed = all_passes()
        click.echo(json.dumps(listed) if as_json else render_passes(listed))
    else:
        shown = one_pass(name)
        click.echo(json.dumps(shown) if as_json else render_one(shown))


@click.command()
@click.argument("file", default="paretune.yaml", type=click.Path(path_type=Path))
def init(file: Path) -> None:
    """Write a first configuration, with comments, to be filled in."""
    from paretune.catalogue import write_first_configuration

    write_first_configuration(file)
    click.echo(f"wrote {file}; edit `model:` and `data:`, then: paretune search {file} --dry-run")


@click.group()
def cache() -> None:
    """Look after the artifact store."""


@cache.command()
@store_option
@json_option
def verify(store: Path | None, as_json: bool) -> int:
    """Compare every artifact with its digest."""
    from paretune.store import Store, default_store

    opened = Store(store or default_store())
    faults = opened.verify()
    objects, size = opened.usage()
    if as_json:
        shown = {"store": str(opened.root), "artifacts": objects, "bytes": size, "faults": faults}
        click.echo(json.dumps(shown))
        return 4 if faults else 0
    for fault in faults:
        click.echo(fault)
    click.echo(f"{objects} artifacts, {size / 1e6:.0f} MB, {len(faults)} faults in {opened.root}")
    return 4 if faults else 0


@cache.command()
@store_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def clean(store: Path | None, yes: bool) -> None:
    """Remove every artifact; studies keep their results."""
    from paretune.store import Store, default_store

    opened = Store(store or default_store())
    objects, size = opened.usage()
    if not yes:
        click.confirm(
            f"Remove {objects} artifacts ({size / 1e6:.0f} MB) from {opened.root}?", abort=True
        )
    opened.clear()
    click.echo(f"removed {objects} artifacts, {size / 1e6:.0f} MB")
