"""What a study's outcomes are valid for: everything that one of its numbers depends on.

`identity_of` gives it as JSON, which lies in the study as ``identity.json``;
`paretune.study.changes` says what becomes of a study when it is another one later on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from paretune.core.candidate import Candidate, Step
from paretune.core.code_files import Code, code_of
from paretune.core.distributions import brought_by, normal, package_version
from paretune.core.jsontools import Json, digest
from paretune.core.stamps import Stamped, take
from paretune.models.handle import Model
from paretune.registry import find_evaluator, find_pass, is_ours
from paretune.search.space import Chain, Space, slots_of

if TYPE_CHECKING:
    from paretune.config import EvaluatorChoice, Plan
    from paretune.data.catalog import DataCatalog
    from paretune.passes.base import Pass
    from paretune.search.jobs import EvaluatorSlot

SCHEMA = 2
"""Version of ``identity.json``: the first did not know training data, code and versions."""
_WRITTEN = re.compile(r"(^|_)(out|output|log|journal|trace|dump|save|cache|report)(_|$)")
_MAX_WAYS = 256
"""Ways through one pass's parameters that are looked at together; of more, each value alone."""


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
    return {
        "schema": SCHEMA,
        **_of_model(model),
        "data": {ref: catalog.digest(ref) for ref in measured},
        "training": {ref: catalog.digest(ref) for ref in trained},
        "labels": {ref: digest(list(catalog.labels(ref))) for ref in measured},
        "rows": {ref: len(catalog.load(ref).examples) for ref in sorted({*measured, *trained})},
        "evaluators": [{"name": e.name, "params": dict(e.params)} for e in plan.evaluators],
        "measured_by": [_evaluator(choice, plan.root) for choice in plan.evaluators],
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
    """Yield steps so that each value of each pass's parameters is among them.

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
            for value in islice(values, 1, None):
                yield Step(slot.name, {**first.params, name: value})


def data_read_by(step: Step) -> tuple[str, ...]:
    """Return the data sets that a pass reads; none if its parameters do not go together."""
    pass_ = find_pass(step.name)
    try:
        references = getattr(pass_, "data", None)
        return () if references is None else tuple(references(pass_.Params(**step.params)))
    except ValidationError:
        return ()


def data_of_evaluator(choice: EvaluatorChoice | EvaluatorSlot) -> tuple[str, ...]:
    """Return the data sets that a configured evaluator reads."""
    kind = find_evaluator(choice.name)
    return kind(kind.Params(**choice.params)).data


def _evaluator(choice: EvaluatorChoice, root: Path) -> dict[str, Json]:
    """Return what the numbers of one evaluator depend on, beside its parameters."""
    kind = find_evaluator(choice.name)
    found: dict[str, Json] = {"version": kind.version}
    protocol = getattr(kind, "protocol", None)
    if protocol is not None:
        found["protocol"] = protocol
    found |= _told(code_of_evaluator(choice.name, choice.params))
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


def pass_key(pass_: Pass, params: Mapping[str, Json], root: Path) -> dict[str, Json]:
    """Return what joins a build's key beside the pass's version and packages; ours: nothing.

    Args:
        pass_: The pass.
        params: As configured.
        root: Where relative paths start.
    """
    found: dict[str, Json] = {}
    if not is_ours("passes", pass_.name):
        found["code"] = _told(code_of_pass(pass_))
        found["distribution"] = _distribution("passes", pass_.name, type(pass_).__module__)
    files = files_named(pass_.Params, params, root)
    if files:
        found["files"] = {file.name: file.sha256 for file in files}
    return found


def code_of_evaluator(name: str, params: Mapping[str, Json]) -> Code:
    """Return the code from elsewhere that an evaluator runs: its own, and its user's function."""
    found = _NOTHING
    if not is_ours("evaluators", name):
        found = _joined(found, code_of(find_evaluator(name).__module__))
    if getattr(find_evaluator(name), "runs_user_code", False):
        for value in params.values():
            if isinstance(value, str) and ":" in value:
                found = _joined(found, code_of(value.partition(":")[0]))
    return found


def code_of_pass(pass_: Pass) -> Code:
    """Return the code of a pass that comes from elsewhere; nothing for ours."""
    return _NOTHING if is_ours("passes", pass_.name) else code_of(type(pass_).__module__)


_NOTHING = Code((), {})


def _joined(one: Code, other: Code) -> Code:
    files = {file.name: file for file in (*one.files, *other.files)}
    return Code(tuple(files[name] for name in sorted(files)), one.installed | other.installed)


def _told(code: Code) -> dict[str, Json]:
    found: dict[str, Json] = {}
    if code.files:
        found["code"] = {file.name: file.sha256 for file in code.files}
    if code.installed:
        found["imports"] = dict(sorted(code.installed.items()))
    return found


@cache
def _distribution(group: str, name: str, module: str) -> dict[str, str]:
    """Return the distributions behind a plug-in: that of its entry, and those of its module."""
    found = brought_by(module.partition(".")[0])
    for entry in entry_points(group=f"paretune.{group}", name=name):
        if entry.dist is not None:
            found = {**found, normal(entry.dist.name): entry.dist.version}
    return found


def files_named(
    kind: type[BaseModel], params: Mapping[str, Json], root: Path
) -> tuple[Stamped, ...]:
    """Return the files that parameters name: templates, word lists, whatever will be read.

    A text that is the path of a file, from the configuration's folder or the working folder, names
    it; so does an entry of a list. A parameter that names what is written says so, by
    ``parameter(..., writes=True)`` or by its name (``log``, ``out_file``). A folder counts with all
    its files, where the text has a separator in it.

    Args:
        kind: The parameters' class.
        params: As configured.
        root: The configuration's folder.
    """
    found: dict[str, Stamped] = {}
    for name, value in params.items():
        field = kind.model_fields.get(name)
        extra = None if field is None else field.json_schema_extra
        writes = _WRITTEN.search(name) or (isinstance(extra, dict) and extra.get("writes"))
        if field is None or writes or _is_closed(field.annotation):
            continue
        for text in _texts(value):
            for file in _named(text, root):
                found[file.name] = file
    return tuple(found[name] for name in sorted(found))


def _is_closed(annotation: Any) -> bool:
    """Return whether a parameter's values are listed: then none of them is a path."""
    inner = get_args(annotation)
    return bool(inner) and all(isinstance(each, (str, int, type(None))) for each in inner)


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)


def _named(text: str, root: Path) -> Iterator[Stamped]:
    if not text.strip() or len(text) > 4096 or "\0" in text or "\n" in text:
        return
    for place in (root / text, Path(text)):
        try:
            if place.is_file():
                yield take(place, text)
                return
            if ("/" in text or "\\" in text) and place.is_dir():
                for file in sorted(place.rglob("*")):
                    if file.is_file():
                        yield take(file, f"{text.rstrip('/')}/{file.relative_to(place)}")
                return
        except OSError:  # too long for a name
            return
