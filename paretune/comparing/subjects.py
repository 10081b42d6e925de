"""What `paretune compare` compares: models, packages, and candidates of studies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paretune.comparing.workloads import NetworkWorkload, Workload
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
from paretune.runtimes.serving import required_runtime
from paretune.runtimes.settings import check_settings
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
        evaluator: That times it: `generation` or `latency`.
        outcome: What a study measured of it; None if it comes from no study.
        study: The study's folder.
    """

    label: str
    given: str
    model: Model
    runtime: RuntimeSettings
    about: str
    evaluator: str = Workload.evaluator
    outcome: TrialResult | None = None
    study: Path | None = None


def open_entrants(
    given: Sequence[str],
    device: TargetInfo,
    *,
    threads: int | None = None,
    providers: Sequence[str] = (),
    store: Path | None = None,
) -> tuple[Subject, ...]:
    """Open everything that is to be compared.

    Args:
        given: Folders: a model, a package, a study (its pick), or ``STUDY#7``.
        device: Where they will run.
        threads: Threads for all of them; None: each with its own, else the physical cores.
        providers: Execution providers: each of them runs with each; empty: each with its own.
        store: Where studies' artifacts are kept.

    Raises:
        UsageError: Fewer than two, something that is none of these, that cannot be run, or that
            the others cannot be compared with.
        StateError: A candidate's artifact is not in the store any more.
    """
    if len(given) * (len(providers) or 1) < 2:
        raise UsageError(
            f"{len(given)} to compare; a comparison needs two or more",
            hint="Give model folders, packages or studies: paretune compare A B.",
        )
    labels = _labels(given)
    opened = [
        _open(text, label, device, threads, store)
        for text, label in zip(given, labels, strict=True)
    ]
    found = [each for subject in opened for each in _with_providers(subject, providers)]
    for subject in found:
        runtime = required_runtime(subject.model.kind, subject.runtime.name)
        check_settings(runtime.name, runtime.Settings, subject.runtime.settings)
    first, *rest = found
    for other in rest:
        if other.evaluator != first.evaluator:
            raise UsageError(
                f"{first.given!r} is measured by {first.evaluator}, and {other.given!r} by "
                f"{other.evaluator}: their times are not comparable",
                hint="Compare language models with each other, and networks with each other.",
            )
    return tuple(found)


def _with_providers(subject: Subject, providers: Sequence[str]) -> Iterator[Subject]:
    """Yield a model with each provider; with itself alone if none is given."""
    if not providers:
        yield subject
    for provider in providers:
        runtime = replace(subject.runtime, provider=provider)
        label = f"{subject.label} on {provider}" if len(providers) > 1 else subject.label
        yield replace(subject, label=label, runtime=runtime)


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
    evaluator = _evaluator_of(model, "", text)
    served = required_runtime(model.kind)
    settings = {
        "provider": "cpu",
        "threads": device.cores,
        **served.configured_settings(model.path),
    }
    runtime = RuntimeSettings.from_json(settings | ({"threads": threads} if threads else {}))
    return Subject(label, text, model, runtime, model.kind, evaluator)


def _evaluator_of(model: Model, runtime: str, text: str) -> str:
    """Return the evaluator that times a model.

    Raises:
        UsageError: None does; says why its speed is not measured as a language model's is.
    """
    refused = [
        misfits(model.kind, [need_of(name, {})], repr(text), runtime)
        for name in (Workload.evaluator, NetworkWorkload.evaluator)
    ]
    if not refused[0]:
        return Workload.evaluator
    if not refused[1]:
        return NetworkWorkload.evaluator
    raise UsageError(refused[0][0].message, hint=refused[0][0].hint)


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
    evaluator = _evaluator_of(model, settings.name, text)
    return Subject(label, text, model, runtime, about, evaluator, outcome, folder)


def _artifact(outcome: TrialResult, folder: Path, store: Path | None) -> Model:
    assert outcome.artifact is not None
    if not outcome.candidate.recipe:  # the input model itself
        return input_model(resolved_config(folder), outcome)
    try:
        return Store(store or default_store()).open_object(outcome.artifact)
    except StateError as error:
        raise lacking(error, folder, outcome, resolved_config(folder)) from error
