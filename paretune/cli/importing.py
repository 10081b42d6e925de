"""The command that brings another tool's configuration over: import-olive."""

from __future__ import annotations

import json
from pathlib import Path

import click

from paretune.cli.options import UserPath, json_option, say


@click.command("import-olive")
@click.argument("file", type=UserPath())
@click.option("--out", type=UserPath(), help="Default: FILE with the ending .yaml.")
@json_option
def import_olive(file: Path, out: Path | None, as_json: bool) -> None:
    """Translate a configuration of Microsoft Olive; lists the result for each key.

    Nothing is written if a part of it is not supported; each such part is listed.
    """
    from paretune.config.olive.importing import read_import
    from paretune.config.olive.rendering import entries_text

    found = read_import(file, out)
    entries = found.translation.entries
    if found.is_whole:
        found.write()
    if as_json:
        written = str(found.out) if found.is_whole else None
        told = {"written": written, "entries": [entry.to_json() for entry in entries]}
        say(json.dumps(told))
    found.translation.require_whole()
    if not as_json:
        say(entries_text(entries))
        say(f"\nwrote {found.out}; next: {found.command(Path.cwd())}")
