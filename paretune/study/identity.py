"""What a study's outcomes are valid for: everything that one of its numbers depends on.

`identity_of` gives it as JSON, which lies in the study as ``identity.json``;
`paretune.study.changes` says what becomes of a study when it is another one later on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.core.candidate import Candidate, Step
from paretune.core.distributions import package_version
from paretune.core.jsontools import Json, digest
from paretune.core.model import Model
from paretune.plugin_identity import (
    _distribution,
    _told,
    code_of_evaluator,
    code_of_pass,
    data_read_by,
    files_named,
)
from paretune.registry import find_evaluator, find_pass, is_ours
from paretune.search.space import Chain, Space, slots_of

if TYPE_CHECKING:
    from paretune.config import EvaluatorChoice, Plan
    from paretune.data.catalog import DataCatalog
    from paretune.search.jobs import EvaluatorSlot

SCHEMA = 2
"""Version of ``identity.json``: the first did not know training data, code and versions."""
_MAX_WAYS = 256
"""Combinations of one pass's parameters that are checked; of more, each value alone."""


def identity_of(
    plan: Plan, model: Model, catalog: DataCatalog, baseline: Candidate
) -> dict[str, Json]:
    """Return everything that a study's numbers depend on, but the device.

    Args:
        plan: The configuration.
        model: The input model.
        catalog: Its data sets.
        baseline: What others are measured against.

    Returns:
        ``model`` (digest) with ``model_files``, ``base`` likewise for an adapter; ``data``: of
        each data set that evaluators read the digest, ``labels``: that of all answers of the
        whole data set, ``training``: the digest of those that passes read, ``rows``: how many there
        are of both; ``evaluators``: names and parameters, and in the same
        order ``measured_by``: their versions, code and files; ``passes``: the same by name;
        ``baseline``; ``paretune``: its version.
    """
    measured = sorted({ref for choice in plan.evaluators for ref in data_of_evaluator(choice)})
    steps = tuple(steps_of(plan.space, (baseline, *plan.try_first)))
    trained = sorted({ref for step in steps for ref in data_read_by(step)})
    names = sorted({step.name for step in steps})
    runtimes = sorted({grid.name for grid in plan.space.every_grid} - {""})
    return {
        "schema": SCHEMA,
        **_of_model(model),
        "data": {ref: catalog.digest(ref) for ref in measured},
        "training": {ref: catalog.digest(ref) for ref in trained},
        "labels": {ref: digest(list(catalog.labels(ref))) for ref in measured},
        "rows": {ref: catalog.count(ref)[0] for ref in sorted({*measured, *trained})},
        "evaluators": [{"name": e.name, "params": dict(e.params)} for e in plan.evaluators],
        "measured_by": [_evaluator(choice, plan.root, runtimes) for choice in plan.evaluators],
        "passes": {name: _pass(name, steps, plan.root) for name in names},
        "baseline": baseline.to_json(),
        "paretune": package_version("paretune"),
    }


def _of_model(model: Model) -> dict[str, Json]:
    found: dict[str, Json] = {"model": model.digest}
    if model.files is not None:
        found["model_files"] = {file.name: file.sha256 for file in model.files}
    if model.base is not None:
        found["base"] = _of_model(model.base)
    return found


def steps_of(space: Space, candidates: Iterable[Candidate]) -> Iterator[Step]:
    """Yield steps so that each value of each pass's parameters that can name something is there.

    Args:
        space: All of a pass's combinations are yielded, up to a few hundred.
        candidates: Those beside the space; their steps are yielded as they are.
    """
    for candidate in candidates:
        yield from candidate.recipe
    for slot in slots_of(Chain(space.stages)):
        ways = slot.size - slot.optional
        if ways <= _MAX_WAYS:
            yield from (slot.at(index)[0] for index in range(ways))
            continue
        first = slot.at(0)[0]
        yield first
        for name, values in slot.grid.items():
            for value in filter(_may_name, islice(values, 1, None)):
                yield Step(slot.name, {**first.params, name: value})


def _may_name(value: Json) -> bool:
    """Return whether a value can name a file or a data set: a number cannot."""
    return type(value) not in (bool, int, float)


def data_of(plan: Plan, candidates: Iterable[Candidate], catalog: DataCatalog) -> tuple[str, ...]:
    """Return the data sets that the jobs of a plan read, sorted: held-out parts, too.

    Args:
        plan: The configuration.
        candidates: Those beside the space.
        catalog: Its data sets.
    """
    measured = {ref for choice in plan.evaluators for ref in data_of_evaluator(choice)}
    refs = {ref for step in steps_of(plan.space, candidates) for ref in data_read_by(step)}
    aside = {part for ref in measured if (part := catalog.kept_aside(ref)) is not None}
    return tuple(sorted(refs | measured | aside))


def data_of_evaluator(choice: EvaluatorChoice | EvaluatorSlot) -> tuple[str, ...]:
    """Return the data sets that a configured evaluator reads."""
    kind = find_evaluator(choice.name)
    return kind(kind.Params(**choice.params)).data


def _evaluator(choice: EvaluatorChoice, root: Path, runtimes: Iterable[str]) -> dict[str, Json]:
    """Return what the numbers of one evaluator depend on, beside its parameters."""
    kind = find_evaluator(choice.name)
    found: dict[str, Json] = {"version": kind.version}
    protocol = getattr(kind, "protocol", None)
    if protocol is not None:
        found["protocol"] = protocol
    found |= _told(code_of_evaluator(choice.name, choice.params, runtimes))
    if not is_ours("evaluators", choice.name):
        found["distribution"] = _distribution("evaluators", choice.name, kind.__module__)
    files = files_named(kind.Params, choice.params, root)
    if files:
        found["files"] = {file.name: file.sha256 for file in files}
    return found


def _pass(name: str, steps: Iterable[Step], root: Path) -> dict[str, Json]:
    """Return what the builds of one pass depend on, beside its parameters and its input."""
    pass_ = find_pass(name)
    found: dict[str, Json] = {
        "version": pass_.version,
        "packages": {each: package_version(each) for each in pass_.packages},
        **_told(code_of_pass(pass_)),
    }
    if not is_ours("passes", name):
        found["distribution"] = _distribution("passes", pass_.name, type(pass_).__module__)
    files: dict[str, str] = {}
    for step in steps:
        if step.name == name:
            named = files_named(pass_.Params, step.params, root)
            files |= {file.name: file.sha256 for file in named}
    if files:
        found["files"] = files
    return found
