"""A space as named choices: what a sampler picks from, and what a candidate picked.

Each parameter, each alternative and each optional stage is one categorical choice, named by its
place: ``0.lora.r``, ``2.any``, ``1.merge``, ``runtime.threads``. A choice exists only on the ways
that come by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.jsontools import Json, canonical
from paretune.search.space import Chain, PassSlot, Space, Stage

Choose: TypeAlias = Callable[[str, tuple[str, ...]], int]
"""Given a choice's name and its labels, return the position of the one that is taken."""

_WITH, _WITHOUT = "with", "without"


def propose(space: Space, choose: Choose) -> Candidate:
    """Walk through a space, choosing at every fork.

    Args:
        space: The space.
        choose: Called once for each choice on the way, in order.
    """
    steps: list[Step] = []
    for position, stage in enumerate(space.stages):
        steps += _walk(stage, str(position), choose)
    kind = space.kind_of(steps)
    return Candidate(tuple(steps), _runtime(space, kind, choose))


def _runtime(space: Space, kind: str, choose: Choose) -> RuntimeSettings:
    """Choose a runtime where several run a kind, and then each of its settings."""
    left, place = list(space.runtimes_of(kind)), "runtime"
    if space.by_kind is not None:
        place = f"runtime.{kind}"
        names = tuple(dict.fromkeys(settings.name for settings in left))
        if len(names) > 1:
            name = names[choose(f"{place}.name", names)]
            left, place = [s for s in left if s.name == name], f"{place}.{name}"
    for key in left[0].settings:
        labels = tuple(dict.fromkeys(str(settings.settings[key]) for settings in left))
        label = labels[choose(f"{place}.{key}", labels)]
        left = [settings for settings in left if str(settings.settings[key]) == label]
    return left[0]


def _walk(stage: Stage, place: str, choose: Choose) -> Iterator[Step]:
    if isinstance(stage, Chain):
        for position, inner in enumerate(stage.stages):
            yield from _walk(inner, f"{place}.{position}", choose)
    elif isinstance(stage, PassSlot):
        name = f"{place}.{stage.name}"
        if stage.optional and choose(name, (_WITH, _WITHOUT)) == 1:
            return
        params: dict[str, Json] = {}
        for param, values in stage.grid.items():
            labels = tuple(canonical(value) for value in values)
            params[param] = values[choose(f"{name}.{param}", labels)]
        yield Step(stage.name, params)
    else:
        # An alternative's label holds its place too: two of the same pass are two choices.
        labels = tuple(f"{i} {_first_name(option)}" for i, option in enumerate(stage.options))
        if stage.optional:
            labels += ("none",)
        taken = choose(f"{place}.any", labels)
        if taken < len(stage.options):
            yield from _walk(stage.options[taken], f"{place}.any{taken}", choose)


def _first_name(stage: Stage) -> str:
    if isinstance(stage, PassSlot):
        return stage.name
    inner = stage.stages if isinstance(stage, Chain) else stage.options
    return _first_name(inner[0]) if inner else "nothing"


def choices_of(
    space: Space, candidate: Candidate
) -> tuple[dict[str, str], dict[str, tuple[str, ...]]] | None:
    """Return what a candidate chose, and among what.

    Args:
        space: The space.
        candidate: One of its candidates.

    Returns:
        Choice to label, and choice to all labels; None if the candidate is not in the space.
    """
    if space.index(candidate) is None:
        return None
    found = next(_retrace(space, candidate, {}), None)
    assert found is not None, "a candidate with a number has a way to it"
    return {name: labels[taken] for name, (taken, labels) in found.items()}, {
        name: labels for name, (_, labels) in found.items()
    }


_Trace: TypeAlias = Mapping[str, tuple[int, tuple[str, ...]]]


class _Fork(Exception):
    """The walk came to a choice that is not decided yet."""

    def __init__(self, name: str, labels: tuple[str, ...]) -> None:
        super().__init__(name)
        self.name = name
        self.labels = labels


def _retrace(space: Space, candidate: Candidate, decided: _Trace) -> Iterator[_Trace]:
    """Yield the choices that lead to a candidate, by trying each where the way forks."""

    def follow(name: str, labels: tuple[str, ...]) -> int:
        if name not in decided:
            raise _Fork(name, labels)
        return decided[name][0]

    try:
        reached = propose(space, follow)
    except _Fork as fork:
        for taken in _plausible(fork, candidate):
            yield from _retrace(space, candidate, {**decided, fork.name: (taken, fork.labels)})
        return
    if reached.digest == candidate.digest:
        yield decided


def _plausible(fork: _Fork, candidate: Candidate) -> Iterator[int]:
    """Yield the labels that the candidate does not rule out at once."""
    param = fork.name.rpartition(".")[2]
    if fork.name.startswith("runtime."):
        label = str({"name": "", **candidate.runtime.to_json()}.get(param))
        yield from (taken for taken, known in enumerate(fork.labels) if known == label)
        return
    held = {canonical(s.params[param]) for s in candidate.recipe if param in s.params}
    structural = fork.labels == (_WITH, _WITHOUT) or fork.name.endswith(".any")
    for taken, label in enumerate(fork.labels):
        if structural or label in held:
            yield taken
