"""Commands that look after the artifact store: cache, cache verify, cache clean."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from paretune.cli.options import UserPath, json_option, say, store_option

if TYPE_CHECKING:
    from paretune.store.artifacts import Store

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BYTES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class Age(click.ParamType[float]):
    """Reads ``30d``, ``12h``, ``10m`` as seconds."""

    name = "age"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", str(value))
        if found is None:
            self.fail(f"{value!r}: expected an age such as 30d, 12h or 10m", param, ctx)
        return float(found[1]) * _SECONDS[found[2]]


class Size(click.ParamType[int]):
    """Reads ``5GB``, ``500MB`` as bytes."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return bytes."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)", str(value).upper())
        if found is None:
            self.fail(f"{value!r}: expected a size such as 5GB or 500MB", param, ctx)
        return int(float(found[1]) * _BYTES[found[2] if found[2] != "B" else ""])


@click.group(invoke_without_command=True)
@store_option
@json_option
@click.pass_context
def cache(ctx: click.Context, store: Path | None, as_json: bool) -> None:
    """Show what the artifact store holds and for which studies; verify and clean it."""
    del store
    if ctx.invoked_subcommand is not None:
        return
    from paretune.store.gc import artifacts

    opened = _open(ctx)
    found = artifacts(opened)
    if as_json:
        shown = {"store": str(opened.root), "artifacts": [a.to_json() for a in found]}
        say(json.dumps(shown))
        return
    for artifact in found:
        age = _age(time.time() - artifact.used)
        name = artifact.digest.partition(":")[2][:12]
        say(
            f"{artifact.bytes / 1e6:>9.1f} MB  used {age:>4} ago  {name}  "
            f"{'; '.join(artifact.made_by)}"
        )
        for study in artifact.studies:
            say(f"{'':>14}used by {study}{' (search running)' if artifact.live else ''}")
    total = sum(a.bytes for a in found)
    say(f"{len(found)} artifacts, {total / 1e6:.0f} MB in {opened.root}")


def _open(ctx: click.Context) -> Store:
    """Return the store of the command's option, else of the group's option, else the default."""
    from paretune.core.user_paths import default_store
    from paretune.store.artifacts import Store

    group = ctx.parent
    said = ctx.get_parameter_source("store") is ParameterSource.COMMANDLINE
    if not said and group is not None and group.params.get("store") is not None:
        ctx = group
    return Store(ctx.params["store"] or default_store())


def _age(seconds: float) -> str:
    for unit in ("w", "d", "h", "m"):
        if seconds >= _SECONDS[unit]:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{max(0, seconds):.0f}s"


@cache.command()
@store_option
@json_option
@click.pass_context
def verify(ctx: click.Context, store: Path | None, as_json: bool) -> int:
    """Compare every artifact with its digest; a damaged artifact is moved and built again later."""
    from paretune.store import checkpoints

    del store
    opened = _open(ctx)
    as_json = as_json or bool(ctx.parent and ctx.parent.params["as_json"])
    opened.verify()
    checkpoints.verify(opened)
    faults = opened.faults
    objects, size = opened.usage()
    if as_json:
        shown = {"store": str(opened.root), "artifacts": objects, "bytes": size, "faults": faults}
        say(json.dumps(shown))
        return 4 if faults else 0
    for fault in faults:
        say(fault)
    say(f"{objects} artifacts, {size / 1e6:.0f} MB, {len(faults)} faults in {opened.root}")
    return 4 if faults else 0


@cache.command()
@store_option
@click.option("--older-than", type=Age(), help="Only artifacts unused for this long: 30d, 12h.")
@click.option("--max-size", type=Size(), help="Only until the store is not larger than this: 5GB.")
@click.option("--study", type=UserPath(), help="Only artifacts that no study but this one uses.")
@click.option("--yes", is_flag=True, help="Remove without asking for confirmation.")
@json_option
@click.pass_context
def clean(
    ctx: click.Context,
    store: Path | None,
    older_than: float | None,
    max_size: int | None,
    study: Path | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove artifacts, all or some; studies keep their results.

    Artifacts of a study whose search is running are always kept. Without --max-size and --study,
    also what else the store holds and no process uses: model folders that are put together there,
    copies of files in Azure, and logs of jobs there.
    """
    from paretune.azure.copies import remove_unused_copies
    from paretune.models.made_folders import remove_unused_folders
    from paretune.store.gc import clean as remove
    from paretune.targets.launchers.azureml_records import remove_logs

    del store
    opened = _open(ctx)
    as_json = as_json or bool(ctx.parent and ctx.parent.params["as_json"])
    objects, size = opened.usage()
    if not (yes or as_json):
        conditions = (older_than, max_size, study)
        which = "artifacts" if any(c is not None for c in conditions) else "all artifacts"
        click.confirm(
            f"Remove {which} from {opened.root} ({objects} in all, {size / 1e6:.0f} MB)?",
            abort=True,
        )
    done = remove(opened, older_than_s=older_than, size_budget=max_size, study=study)
    if max_size is None and study is None:
        for remove_beside in (remove_unused_folders, remove_unused_copies, remove_logs):
            remove_beside(opened.root, older_than or 0.0)
    if as_json:
        shown = {"removed": done.artifacts, "bytes": done.bytes, "kept_live": done.kept_live}
        say(json.dumps(shown))
        return
    kept = f"; {done.kept_live} kept: a study whose search is running uses them"
    say(
        f"removed {done.artifacts} artifacts, {done.bytes / 1e6:.0f} MB"
        + (kept if done.kept_live else "")
    )
