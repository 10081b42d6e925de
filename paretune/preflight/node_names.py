"""Checks the names of nodes in a configuration against the model's, before anything is built.

The model's names are those of a small model of the same configuration
(`paretune.passes.genai.twin_nodes`), built in a job; the result is kept in the store, under all
that it depends on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from paretune.core.distributions import package_version
from paretune.core.errors import UsageError, nearest
from paretune.core.job import Call, Job, JobStatus, Limits
from paretune.core.jsontools import Json, canonical, digest, read_json, read_model_json, write_json
from paretune.models.remote_code import brings_code
from paretune.registry import find_pass
from paretune.search.sample import covering
from paretune.targets.split import near_target

if TYPE_CHECKING:
    from pathlib import Path

    from paretune.config import Plan
    from paretune.core.candidate import Candidate
    from paretune.preflight.prepared import PreparedSearch

_VERSION = 1
_LIMITS = Limits(seconds=300.0)
_PACKAGES = ("onnxruntime-genai", "onnxruntime", "transformers", "torch")
_SHOWN = 6
_NAMING = ("genai", "genai_adapter", "matmul_nbits")
_SPLIT = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
_PATTERNS = ("exclude", "keep_8bit")


@dataclass(frozen=True)
class _Given:
    """A name that is given to a pass.

    Attributes:
        step: The pass.
        parameter: The parameter that names it.
        name: The name, or a pattern for `matmul_nbits`.
    """

    step: str
    parameter: str
    name: str


@dataclass
class _Asked:
    """A build, and the names that must be in it."""

    build: dict[str, Json]
    given: dict[_Given, None] = field(default_factory=dict)


def check_nodes(prepared: PreparedSearch) -> tuple[str, ...]:
    """Check the names of nodes that passes are given against the model.

    Returns:
        Notes on names that only some of the affected builds have.

    Raises:
        UsageError: A name is in none of the builds that use it.
    """
    plan = prepared.plan
    asked = _asked(plan, prepared.baseline)
    folder = plan.base or plan.model
    if not asked or not (folder / "config.json").is_file() or brings_code(folder):
        return ()
    found = _looked_up(prepared, folder, [one.build for one in asked])
    where: dict[_Given, list[bool | None]] = {}
    names: dict[_Given, list[str]] = {}
    for one, graph in zip(asked, found, strict=True):
        for given in one.given:
            where.setdefault(given, []).append(None if graph is None else _is_in(given, graph))
            if graph is not None:
                names.setdefault(given, [*graph["plain"], *graph["quantized"]])
    wrong, notes = [], []
    for given, held in where.items():
        if None in held or all(held):
            continue
        if any(held):
            notes.append(
                f"{given.step}: {given.parameter} names {given.name!r}, which does not exist in "
                f"{held.count(False)} of the {len(held)} kinds of build that use it: those cannot "
                "be built"
            )
            continue
        what = "matches no matrix" if given.parameter in _PATTERNS else "is not a matrix"
        wrong.append(
            plan.wrong_at(
                _key_of(plan, given),
                f"{given.name!r} {what} of this model's build",
                _hint(given.name, names[given]),
            )
        )
    if len(wrong) > 1:
        told = "\n".join(dict.fromkeys(map(str, wrong)))
        raise UsageError(f"{len(wrong)} errors:\n{told}")
    if wrong:
        raise wrong[0]
    return tuple(notes)


def _hint(name: str, known: Sequence[str]) -> str:
    told = nearest(name, known)
    if told.startswith("Did"):
        return told
    return (
        f"Existing names include: {', '.join(list(dict.fromkeys([*known[:_SHOWN], *known[-1:]])))}."
    )


def _is_in(given: _Given, graph: Mapping[str, Sequence[str]]) -> bool:
    if given.parameter in _PATTERNS:
        return any(fnmatchcase(name, given.name) for name in graph["constant"])
    return given.name in graph["plain"]


def _asked(plan: Plan, baseline: Candidate) -> list[_Asked]:
    """Return each kind of build that uses names of nodes, once."""
    asked: dict[str, _Asked] = {}
    for candidate in (baseline, *plan.try_first, *covering(plan.space)):
        for build, given in _names_in(candidate):
            asked.setdefault(canonical(build), _Asked(build)).given.update(dict.fromkeys(given))
    return list(asked.values())


def _names_in(candidate: Candidate) -> Iterator[tuple[dict[str, Json], list[_Given]]]:
    from paretune.passes.genai.twin_nodes import relevant

    built: Any = None
    for step in candidate.recipe:
        if step.name not in _NAMING:
            continue
        try:
            params: Any = find_pass(step.name).Params(**step.params)
        except ValidationError:
            return  # ruled out with its reason by the prechecks
        given = []
        if step.name != "matmul_nbits":
            built = params
            apart = step.name == "genai_adapter"
            if apart:  # beside an adapter nothing is fused, and what is fused in the file is split
                built = params.model_copy(update={"fuse_qkv": False})
            if params.quantized:
                given = [
                    _Given(step.name, "nodes_to_exclude", name)
                    for name in params.nodes_to_exclude or ()
                    if not (apart and any(part in name.split("/") for part in _SPLIT))
                ]
        else:
            given = [
                _Given(step.name, key, pattern)
                for key in _PATTERNS
                for pattern in getattr(params, key)
            ]
        if given and built is not None:
            yield {"params": relevant(built), "provider": candidate.runtime.provider}, given


def _key_of(plan: Plan, given: _Given) -> tuple[str | int, ...]:
    """Return the key of a name in the configuration."""
    value = None if plan.source is None else plan.source.value
    key = (given.step, given.parameter)
    for section in ("passes", "baseline", "try_first"):
        inner = value.get(section) if isinstance(value, dict) else None
        for path, text in _texts(inner, (section,)):
            if text == given.name and key == tuple(p for p in path if isinstance(p, str))[-2:]:
                return path
    return ("passes",)


def _texts(value: Json, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    items = value.items() if isinstance(value, dict) else ()
    for place, inner in enumerate(value) if isinstance(value, list) else items:
        yield from _texts(inner, (*path, place))


def _looked_up(prepared: PreparedSearch, folder: Path, builds: list[dict[str, Json]]) -> list[Json]:
    """Return the names of each build; None where they are not known."""
    tied = prepared.model_info.tied
    args: dict[str, Json] = {"builds": builds, "tied": tied}
    key = digest(
        {
            "nodes": _VERSION,
            "config": read_model_json(folder / "config.json"),
            **args,
            "versions": {name: package_version(name) for name in _PACKAGES},
        }
    )
    kept = prepared.store.root / "twins" / f"{key.removeprefix('sha256:')}.json"
    try:
        found = read_json(kept)
        if isinstance(found, list) and len(found) == len(builds):
            return found
    except (OSError, ValueError, UsageError):
        pass
    args["folder"] = str(folder.resolve())
    call = Call("paretune.passes.genai.twin_nodes:look", args)
    with near_target(prepared.target, prepared.store.root) as near:
        result = near.submit(Job(call, _LIMITS)).result()
    if result.status is not JobStatus.OK or not isinstance(result.value, list):
        return [None for _ in builds]  # the build itself says it, if a name is wrong
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept, result.value, durable=False)
    return result.value
