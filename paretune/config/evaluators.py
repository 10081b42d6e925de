"""Reads ``evaluate:``: which evaluators measure a candidate, and which metrics they yield."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from paretune.config.plan import EvaluatorChoice
from paretune.config.sections import refuse_booleans
from paretune.config.space_building import shown
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Source, Wrong
from paretune.core.errors import UsageError, nearest
from paretune.core.fidelity import METRICS as FIDELITY
from paretune.core.measurement import MetricSpec
from paretune.core.permissions import Permissions
from paretune.registry import find_evaluator, is_ours


def read_evaluators(
    entries: list[Any], permissions: Permissions, source: Source, wrong: Wrong
) -> tuple[EvaluatorChoice, ...]:
    """Return the evaluators that a configuration names; those that are wrong are left out.

    Args:
        entries: As given.
        permissions: What the user allows.
        source: The configuration.
        wrong: Receives what is wrong.
    """
    found = []
    for i, entry in enumerate(entries):
        path: KeyPath = ("evaluate", i)
        params: Any
        if isinstance(entry, str):
            name, params = entry, {}
        elif isinstance(entry, dict) and len(entry) == 1:
            ((name, params),) = entry.items()
        else:
            wrong(path, f"expected an evaluator's name, found {shown(entry)}")
            continue
        choice = _evaluator(name, params or {}, (*path, name), source, wrong)
        if choice is None:
            continue
        if getattr(find_evaluator(name), "runs_user_code", False) and not permissions.remote_code:
            wrong(
                (*path, name),
                f"{name} runs code that the configuration names, which is not allowed by default",
                "If you trust this code, allow it with --trust-remote-code.",
            )
        found.append(choice)
    return tuple(found)


def _evaluator(
    name: str, params: Any, path: KeyPath, source: Source, wrong: Wrong
) -> EvaluatorChoice | None:
    try:
        kind = find_evaluator(name)
    except UsageError as error:
        wrong(path, error.message, error.hint)
        return None
    if not isinstance(params, dict):
        wrong(path, f"expected parameters by name, found {shown(params)}")
        return None
    told = refuse_booleans(kind.Params, params, path, source, wrong)
    try:
        read = kind.Params(**params)
    except ValidationError as error:
        for detail in error.errors():
            at = (*path, *detail["loc"])
            if any(at[: len(where)] == where for where in told):
                continue
            if detail["type"] == "extra_forbidden":
                key = str(detail["loc"][-1])
                wrong(
                    at,
                    f"the evaluator {name} has no parameter {key!r}",
                    nearest(key, kind.Params.model_fields),
                )
            elif detail["type"] == "missing":
                wrong(path, f"the evaluator {name} needs {detail['loc'][-1]!r}")
            else:
                wrong(at, f"{detail['msg']}, found {shown(detail['input'])}")
        return None
    if told:
        return None
    return EvaluatorChoice(name, read.model_dump(mode="json", exclude_unset=True))


def metrics_of(evaluators: Iterable[EvaluatorChoice], wrong: Wrong) -> dict[str, MetricSpec]:
    """Return all metrics by name; refuse a metric that two evaluators yield."""
    found: dict[str, MetricSpec] = {}
    owner: dict[str, str] = {}
    for choice in evaluators:
        kind = find_evaluator(choice.name)
        for spec in kind(kind.Params(**choice.params)).metrics:
            if spec.name in found:
                wrong(
                    ("evaluate",),
                    f"both {owner[spec.name]} and {choice.name} yield the metric {spec.name}",
                    "Remove one of them.",
                )
            found[spec.name], owner[spec.name] = spec, choice.name
    return {spec.name: spec for spec in FIDELITY} | found


def metrics_of_others(evaluators: Iterable[EvaluatorChoice]) -> frozenset[str]:
    """Return the metrics that a user's function or another package's evaluator yields."""
    others = (e for e in evaluators if e.name == "custom" or not is_ours("evaluators", e.name))
    made = (find_evaluator(e.name)(find_evaluator(e.name).Params(**e.params)) for e in others)
    return frozenset(spec.name for evaluator in made for spec in evaluator.metrics)
