"""What `paretune compare` compares: models, packages, and candidates of studies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paretune.config.measurable import misfits, need_of
from paretune.config.model_source import given_model
from paretune.core.candidate import RuntimeSettings, describe
from paretune.core.device import TargetInfo
from paretune.core.errors import StateError, UsageError
from paretune.core.model import Model
from paretune.core.result import TrialResult
from paretune.core.user_paths import default_store
from paretune.models.handle import open_model
from paretune.reporting.opened import lacking, open_study
from paretune.reporting.outputs import input_model
from paretune.reporting.picking import resolved_config
from paretune.runtimes.serving import runtime_of
from paretune.store.artifacts import Store

_STUDY = re.compile(r"(?P<folder>.+?)(?:#(?P<id>\d+))?")


@dataclass(frozen=True)
class Subject:
    """One of those compared.

    Attributes:
        label: A short name, unlike the others'.
        given: As written on the command line.
        model: Its files.
        runtime: What it runs with.
        about: What it is, in a few words.
        outcome: What a study measured of it; None if it comes from no study.
        study: The study's folder.
    """

    label: str
    given: str
    model: Model
    runtime: RuntimeSettings
    about: str
    outcome: TrialResult | None = None
    study: Path | None = None


def open_entrants(
    given: Sequence[str],
    device: TargetInfo,
    *,
    threads: int | None = None,
    store: Path | None = None,
) -> tuple[Subject, ...]:
    """Open everything that is to be compared.

    Args:
        given: Folders: a model, a package, a study (its pick), or ``STUDY#7``.
        device: Where they will run.
        threads: Threads for all of them; None: each with its own, else the physical cores.
        store: Where studies' artifacts are kept.

    Raises:
        UsageError: Fewer than two, something that is none of these, or that cannot be run.
        StateError: A candidate's artifact is not in the store any more.
    """
    if len(given) < 2:
        raise UsageError(
            f"{len(given)} to compare; a comparison needs two or more",
            hint="Give model folders, packages or studies: paretune compare A B.",
        )
    labels = _labels(given)
    return tuple(
        _open(text, label, device, threads, store)
        for text, label in zip(given, labels, strict=True)
    )


def _labels(given: Sequence[str]) -> list[str]:
    """Return the last parts of the paths if they are distinct, else the paths."""
    short = [Path(text).name or text for text in given]
    distinct = len(set(given))
    if len(set(short)) < distinct:
        short = list(given)
    if distinct == len(given):
        return short
    # The same model twice shows a machine's noise.
    return [f"{name} ({n})" for n, name in enumerate(short, start=1)]


def _open(
    text: str, label: str, device: TargetInfo, threads: int | None, store: Path | None
) -> Subject:
    found = _STUDY.fullmatch(text)
    folder = Path(text if found is None else found["folder"])
    number = None if found is None or found["id"] is None else int(found["id"])
    if Path(text).is_dir():  # a folder whose name has a # in it
        folder, number = Path(text), None
    if number is not None or (folder / "candidates").is_dir():
        return _of_study(text, label, folder, number, threads, store)
    model = open_model(given_model(folder))
    for misfit in misfits(model.kind, [need_of("generation", {})], repr(text)):
        raise UsageError(misfit.message, hint=misfit.hint)
    runtime = RuntimeSettings("cpu", threads or _own_threads(model) or device.cores)
    return Subject(label, text, model, runtime, model.kind)


def _own_threads(model: Model) -> int | None:
    """Return the threads that a package is written to run with."""
    served = runtime_of(model.kind)
    return None if served is None else served.configured_threads(model.path)


def _of_study(
    text: str, label: str, folder: Path, number: int | None, threads: int | None, store: Path | None
) -> Subject:
    results, known = open_study(folder)
    id = results.best if number is None else number
    if id is None:
        raise UsageError(
            f"{text!r}: this study has no pick, because no candidate is feasible",
            hint=f"Name one of its candidates: {text}#1.",
        )
    outcomes = {o.id: o for o in known}
    if id not in outcomes:
        ids = ", ".join(map(str, sorted(outcomes)[:20]))
        raise UsageError(
            f"{text!r}: no candidate {id} in this study", hint=f"Its candidates: {ids}."
        )
    outcome = outcomes[id]
    if outcome.artifact is None:
        raise UsageError(
            f"{text!r}: candidate {id} has no model to run: it ended as {outcome.kind.value}",
            hint=None if outcome.reason is None else f"The reason: {outcome.reason}",
        )
    settings = outcome.candidate.runtime
    runtime = replace(settings, threads=threads or settings.threads)
    model = _artifact(outcome, folder, store)
    about = f"candidate {id}: {describe(outcome.candidate)}"
    return Subject(label, text, model, runtime, about, outcome, folder)


def _artifact(outcome: TrialResult, folder: Path, store: Path | None) -> Model:
    assert outcome.artifact is not None
    if not outcome.candidate.recipe:  # the input model itself
        return input_model(resolved_config(folder), outcome)
    try:
        return Store(store or default_store()).open_object(outcome.artifact)
    except StateError as error:
        raise lacking(error, folder, outcome, resolved_config(folder)) from error
