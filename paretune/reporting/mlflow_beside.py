"""The pick as an MLflow folder, beside its package."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from paretune.config.reading import read_configuration
from paretune.config.yaml_source import ForeignSource
from paretune.core.errors import UsageError
from paretune.core.jsontools import Json
from paretune.core.model import Model, ModelKind
from paretune.core.permissions import Permissions
from paretune.core.result import OutcomeKind, TrialResult
from paretune.models.handle import detect_kind, open_model
from paretune.models.kinds.base import kind_named
from paretune.models.mlflow import MLMODEL
from paretune.models.mlflow_writing import KINDS, check_form, write_mlflow
from paretune.registry import find_pass


def beside(package: Path) -> Path:
    """Return the MLflow folder of a package."""
    return package.with_name(f"{package.name}-mlflow")


def write_beside(package: Path, artifact: str, name: str) -> Path:
    """Write a package's model as an MLflow folder; returns the folder.

    Args:
        package: The package.
        artifact: Digest of its model.
        name: What the input model is called.

    Raises:
        UsageError: The model has no such form.
    """
    base = kind_named(detect_kind(package)).base(package, package.parent, Permissions())
    out = beside(package)
    write_mlflow(replace(open_model(package, base), digest=artifact), out, name)
    return out


def keep_beside(
    package: Path | None, study: Path, results: Mapping[str, Json], name: str, *, wanted: bool
) -> Path | None:
    """Write the MLflow folder of a search's pick, and remove that of an earlier pick.

    Args:
        package: The package of the pick; None: there is none.
        study: The study's folder.
        results: The content of ``results.json``.
        name: What the input model is called.
        wanted: Whether one was asked for.

    Returns:
        The folder; None if there is none.
    """
    out = beside(study / "best")
    best = next((c for c in results["candidates"] if c["id"] == results["best"]), None)
    if wanted and package is not None and best is not None:
        return write_beside(package, best["artifact"], name)
    written = _artifact_of(out)
    if written is None:
        return None
    if best is not None and written == best["artifact"]:
        return out
    shutil.rmtree(out)
    return None


def check_candidate(best: TrialResult, model: Path, outcomes: list[TrialResult]) -> None:
    """Refuse a candidate whose model has no MLflow form, before anything is written.

    Args:
        best: The candidate.
        model: The study's input model.
        outcomes: Those of the study, to say which candidates have one.

    Raises:
        UsageError: It has none.
    """
    kind = _kind_of(best, model)
    try:
        check_form(Model(ModelKind(kind or "unknown"), model, ""))
    except UsageError as error:
        others = [
            o.id for o in outcomes if o.kind is OutcomeKind.OK and _kind_of(o, model) in KINDS
        ]
        if kind in KINDS or not others:
            raise
        named = ", ".join(map(str, others[:10]))
        raise UsageError(
            f"candidate {best.id}: {error.message}",
            hint=f"Candidates with one: {named}. Choose one of them with --where, or use the "
            "package itself.",
        ) from error


def _kind_of(outcome: TrialResult, model: Path) -> str | None:
    """Return the kind of a candidate's model; None: of a pass or a model that is not here."""
    last = outcome.candidate.recipe[-1:]
    try:
        return find_pass(last[0].name).produces if last else str(detect_kind(model))
    except UsageError:
        return None


def _artifact_of(folder: Path) -> str | None:
    """Return which model an MLflow folder of ours holds; None: it is none of ours."""
    file = folder / MLMODEL
    if not file.is_file():
        return None
    try:
        value = ForeignSource(read_configuration(file), str(file)).value
        return str(value["metadata"]["paretune"]["artifact"])
    except (UsageError, KeyError, TypeError):
        return None
