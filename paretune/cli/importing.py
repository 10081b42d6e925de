"""The command that brings another tool's configuration over: import-olive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from paretune.cli.options import UserPath, json_option, say

if TYPE_CHECKING:
    from paretune.config.olive.conda import CondaTranslation


@click.command("import-olive")
@click.argument("file", type=UserPath())
@click.option(
    "--out",
    type=UserPath(),
    help="Default: FILE with the ending .yaml; of a conda file .requirements.txt.",
)
@json_option
def import_olive(file: Path, out: Path | None, as_json: bool) -> None:
    """Translate a configuration of Microsoft Olive; lists the result for each key.

    Nothing is written if a part of it is not supported; each such part is listed. A conda file
    becomes the requirements of an environment in which a worker runs.
    """
    from paretune.config.olive.conda import read_conda
    from paretune.config.olive.importing import read_import
    from paretune.config.olive.rendering import entries_text

    conda = read_conda(file)
    if conda is not None:
        _write_conda(conda, file.with_suffix(".requirements.txt") if out is None else out, as_json)
        return
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


def _write_conda(conda: CondaTranslation, out: Path, as_json: bool) -> None:
    """Write the requirements of a conda file, and list what became of each line."""
    from paretune.config.olive.conda import lines_text
    from paretune.config.olive.importing import write_new

    write_new(out, conda.text(out.name))
    if as_json:
        lines = [line.to_json() for line in conda.lines]
        told = {"python": conda.python, "runtimes": conda.variant, "lines": lines}
        say(json.dumps({"written": str(out), **told}))
    else:
        say(lines_text(conda.lines))
        say(f"\nwrote {out}; next: uv pip install -r {out}, in Python {conda.python}")
