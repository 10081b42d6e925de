"""The seeds of a recipe's trainings, and the same recipe with other ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pydantic import ValidationError

from paretune.config.yaml_source import Wrong
from paretune.core.candidate import Candidate, Step
from paretune.core.jsontools import Json
from paretune.registry import find_pass


def seed_parameter(name: str) -> str | None:
    """Return the parameter that is the seed of a pass's training; None: it has none.

    Args:
        name: The pass.
    """
    pass_ = find_pass(name)
    parameter: str | None = getattr(pass_.Params, "seeded_by", None)
    return parameter if pass_.trains else None


def check_repeats(count: int, passes: Iterable[str], wrong: Wrong) -> None:
    """Refuse repeats of the pick where no pass trains with a seed.

    Args:
        count: How often the pick is to be repeated.
        passes: All that the configuration names.
        wrong: Called with the key and what is wrong.
    """
    if count and not any(seed_parameter(name) for name in passes):
        wrong(
            ("search", "repeat_pick"),
            "there is nothing to repeat: no pass of this configuration trains with a seed",
            "Remove repeat_pick, or add a pass that trains, such as lora.",
        )


def seeds(candidate: Candidate) -> tuple[int, ...]:
    """Return the seed of each training of a candidate's recipe, in order."""
    found = (_seed(step) for step in candidate.recipe)
    return tuple(seed for seed in found if seed is not None)


def reseeded(candidate: Candidate, by: int) -> Candidate:
    """Return the same candidate with each training's seed larger by a number."""
    return replace(candidate, recipe=tuple(_reseeded(step, by) for step in candidate.recipe))


def training_of(candidate: Candidate) -> tuple[Step, ...]:
    """Return a candidate's steps up to its last training, without the seeds; empty: none trains.

    Candidates that have these in common are builds of one training, or of it with other seeds.
    """
    trains = [find_pass(step.name).trains for step in candidate.recipe]
    count = max((i for i, trained in enumerate(trains, start=1) if trained), default=0)
    return tuple(_without_seed(step) for step in candidate.recipe[:count])


def _seed(step: Step) -> int | None:
    parameter = seed_parameter(step.name)
    if parameter is None:
        return None
    try:
        value = getattr(find_pass(step.name).Params(**step.params), parameter)
    except ValidationError:  # values that do not go together: the prechecks say so, candidate wise
        return None
    return value if type(value) is int else None


def _reseeded(step: Step, by: int) -> Step:
    seed, parameter = _seed(step), seed_parameter(step.name)
    if seed is None or parameter is None:
        return step
    return _with(step, {**step.params, parameter: seed + by})


def _without_seed(step: Step) -> Step:
    parameter = seed_parameter(step.name)
    return _with(step, {key: value for key, value in step.params.items() if key != parameter})


def _with(step: Step, params: dict[str, Json]) -> Step:
    return replace(step, params=params)
