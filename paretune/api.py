"""The public call: `optimize` takes a configuration and gives the model to ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.config import load
from paretune.config.given_functions import importable
from paretune.core.errors import UsageError
from paretune.display.log import Logged
from paretune.preflight.mlflow_form import check_picks
from paretune.preflight.prepared import PreparedSearch
from paretune.reporting.mlflow_beside import keep_beside
from paretune.searching.one import Search, SearchResult
from paretune.searching.running import search_plan

if TYPE_CHECKING:
    from paretune.display.live import Display

__all__ = ["PreparedSearch", "Search", "SearchResult", "optimize"]


def optimize(
    config: Path | str | Mapping[str, Any],
    *,
    study: Path | str | None = None,
    store: Path | str | None = None,
    trials: int | None = None,
    time: str | float | None = None,
    watcher: Display | None = None,
    single: bool = False,
    allow_network: bool = False,
    trust_remote_code: bool = False,
    from_studies: Sequence[Path | str] | None = None,
    mlflow: bool = False,
) -> SearchResult:
    """Search for the best model that meets the constraints; the same call again continues.

    Args:
        config: A configuration: a file, YAML or JSON text, or a mapping. In a mapping the function
            of a ``custom`` evaluator may be the function itself, also one defined in a notebook.
        study: Folder of the study; by default the one that the configuration names (Olive's
            does), else ``studies/`` and the file's stem (``studies/search`` without a file).
        store: Folder of the artifact store; by default that of the configuration, else the user's.
        trials: Maximum number of candidates that run a job, instead of the configuration's.
        time: Maximum time (``10m``, or seconds), instead of the configuration's.
        watcher: Receives the events of the search; by default each event is logged to the logger
            ``paretune``, which writes to the standard error stream unless it is configured.
        single: The configuration must be one fixed recipe.
        allow_network: Allow jobs to use the network.
        trust_remote_code: Allow Python code of models or configurations to run.
        from_studies: Earlier studies, on other devices, models or data, whose outcomes are priors
            of the forecasts and never results, instead of the configuration's. None: if it names
            none either, those of the last run of this study; an empty list: none.
        mlflow: Also write the pick (of several devices: that of the main one) as an MLflow folder.

    Returns:
        The study's folder, its results, and the package if anything is feasible.

    Raises:
        UsageError: The configuration is wrong, or nothing in the space fits this machine.
        StateError: The study is in use or damaged.
        KeyboardInterrupt: The search was interrupted; the results so far were written.
    """
    if trials is not None and (type(trials) is not int or trials < 1):
        raise UsageError(f"trials: expected a whole number from 1, found {trials!r}")
    for name, folder in (("study", study), ("store", store)):
        if folder is not None and not str(folder):
            raise UsageError(f"{name}: the path is empty", hint="Leave it out for the default.")
    with importable(config) as (plain, code):
        plan = load(
            plain,
            trials=trials,
            time=time,
            single=single,
            allow_network=allow_network,
            trust_remote_code=trust_remote_code,
            from_studies=from_studies,
        )
        if mlflow:
            check_picks(plan)
        found = search_plan(plan, study, store, watcher or Logged(), code)
        beside = keep_beside(found.best, found.study, found.results, plan.model.name, wanted=mlflow)
        return replace(found, mlflow=beside)
