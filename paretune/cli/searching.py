"""Commands that search, and that use a finished search: search, run, report, pick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from paretune.cli.options import (
    SeveralStudies,
    UserPath,
    config_argument,
    json_option,
    say,
    store_option,
    trust_options,
)
from paretune.core import interrupts

if TYPE_CHECKING:
    from paretune.api import SearchResult

_STUDY = click.argument("study", type=UserPath())
_MLFLOW = click.option(
    "--mlflow", is_flag=True, help="Also write the pick as an MLflow folder, beside its package."
)


@click.command(cls=SeveralStudies)
@config_argument
@click.option("--study", type=UserPath(), help="Default: studies/NAME, by the file's name.")
@click.option(
    "--from",
    "from_studies",
    type=UserPath(),
    multiple=True,
    metavar="STUDY...",
    help="Earlier studies, on other devices, models or data: priors, never results.",
)
@click.option("--trials", type=click.IntRange(1), help="Maximum number of candidates that run.")
@click.option("--time", help="Maximum time of the whole study: 90s, 10m, 2h.")
@click.option("--dry-run", is_flag=True, help="Show what would be tried and its estimated cost.")
@_MLFLOW
@store_option
@trust_options
@json_option
def search(
    config: Path,
    study: Path | None,
    from_studies: tuple[Path, ...],
    trials: int | None,
    time: str | None,
    dry_run: bool,
    mlflow: bool,
    store: Path | None,
    allow_network: bool,
    trust_remote_code: bool,
    as_json: bool,
) -> int:
    """Search for the best model; the same command again continues where it stopped."""
    if dry_run:
        from paretune.preflight.dry_run import foresee, render

        found = foresee(
            config,
            study=study,
            store=store,
            trials=trials,
            time=time,
            allow_network=allow_network,
            trust_remote_code=trust_remote_code,
            from_studies=from_studies or None,
            mlflow=mlflow,
        )
        say(json.dumps(found) if as_json else render(found))
        # As the search itself would end where nothing fits.
        parts = found.get("devices", {"": found}).values()
        return 2 if any(each["skipped"] == each["looked_at"] for each in parts) else 0
    return _search(
        config,
        as_json=as_json,
        study=study,
        store=store,
        trials=trials,
        time=time,
        allow_network=allow_network,
        trust_remote_code=trust_remote_code,
        from_studies=from_studies or None,
        mlflow=mlflow,
    )


@click.command()
@config_argument
@click.option("--study", type=UserPath(), help="Default: studies/NAME, by the file's name.")
@_MLFLOW
@store_option
@trust_options
@json_option
def run(
    config: Path,
    study: Path | None,
    mlflow: bool,
    store: Path | None,
    allow_network: bool,
    trust_remote_code: bool,
    as_json: bool,
) -> int:
    """Run one fixed recipe, no search: every parameter has one value. Takes Olive's JSON too."""
    return _search(
        config,
        as_json=as_json,
        study=study,
        store=store,
        single=True,
        mlflow=mlflow,
        allow_network=allow_network,
        trust_remote_code=trust_remote_code,
    )


def _search(config: Path, *, as_json: bool, **options: Any) -> int:
    interrupts.resumable()
    from paretune.api import optimize
    from paretune.display.live import make_display

    display = make_display(quiet=as_json)
    result = optimize(config, watcher=display, **options)
    if as_json:
        say(json.dumps(result.results))
    else:
        for line in closing(result):
            say(line)
    return 3 if None in (result.best, *result.devices.values()) else 0


def closing(result: SearchResult) -> list[str]:
    """Return the last lines of a search: the answer, and the paths of report and package."""
    from paretune.reporting.answer import plain_answer
    from paretune.reporting.devices_section import device_sentences
    from paretune.study.results import Results

    results = Results.from_json(result.results)
    answer = [*plain_answer(results), *device_sentences(results)]
    lines = ["", *answer, "", f"report:  {result.study / 'report.html'}"]
    if result.best is not None:
        lines.append(f"package: {result.best}   (python {result.best / 'sample.py'} runs it)")
    if result.mlflow is not None:
        lines.append(f"mlflow:  {result.mlflow}")
    further = list(result.devices.items())[1:]
    return lines + [f"package for {name}: {best}" for name, best in further if best is not None]


@click.command()
@_STUDY
@json_option
def report(study: Path, as_json: bool) -> None:
    """Write report.html and results.csv again from the existing measurements."""
    from paretune.reporting.reopened import rewrite_report

    written = rewrite_report(study)
    say(json.dumps({"report": str(written)}) if as_json else f"report: {written}")


@click.command()
@_STUDY
@click.option("--where", default="", help="Constraints, such as 'size_mb<=120, accuracy>=0.9'.")
@click.option("--minimize", multiple=True, help="Metric to minimize; repeatable, in order.")
@click.option("--maximize", multiple=True, help="Metric to maximize; repeatable, in order.")
@click.option(
    "--within",
    multiple=True,
    metavar="[METRIC=]TOLERANCE",
    help="Tolerance of the first objective (or METRIC) from the best value: 0.01, or 1%.",
)
@click.option(
    "--prefer", metavar="METRIC", help="Objective that decides first which candidate is best."
)
@click.option("--out", type=UserPath(), help="Folder to write the package to.")
@_MLFLOW
@store_option
@json_option
def pick(
    study: Path,
    where: str,
    minimize: tuple[str, ...],
    maximize: tuple[str, ...],
    within: tuple[str, ...],
    prefer: str | None,
    out: Path | None,
    mlflow: bool,
    store: Path | None,
    as_json: bool,
) -> int:
    """Make another choice from the existing measurements; nothing is run."""
    from paretune.reporting.picking import pick_again, render

    interrupts.at_stake()
    picked = pick_again(
        study,
        where,
        minimize,
        maximize,
        within=within,
        prefer=prefer,
        out=out,
        store=store,
        mlflow=mlflow,
    )
    say(json.dumps(picked) if as_json else render(picked))
    return 0 if picked["best"] is not None else 3
