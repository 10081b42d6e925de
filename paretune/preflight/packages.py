"""Which packages a search uses; one that lacks some is refused before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from paretune.config.space_building import fitting_kinds
from paretune.core.packages import UsedPackages, check_installed
from paretune.preflight.baseline import baseline_recipe
from paretune.registry import evaluator_packages, find_pass
from paretune.runtimes.serving import packages_of, runtime_of, source_runtime

if TYPE_CHECKING:
    from paretune.config import Plan

_SEARCH = ("optuna", "plotly", "scikit-learn")


def check_packages(plan: Plan) -> None:
    """Check the packages of the search itself and of each pass and evaluator that is named.

    Raises:
        UsageError: A package is not installed; with the command that installs it.
    """
    check_installed("a search", _SEARCH)
    fixed = (*(plan.baseline or ()), *(s for c in plan.try_first for s in c.recipe))
    for name in sorted({*plan.space.pass_names, *(step.name for step in fixed)}):
        check_installed(f"the pass {name}", find_pass(name).packages)
    for name in sorted({choice.name for choice in plan.evaluators}):
        check_installed(f"the evaluator {name}", evaluator_packages(name))


def used_packages(plan: Plan, kind: str) -> UsedPackages:
    """Return what the jobs of a search import: of its passes, evaluators and runtimes.

    Args:
        plan: A checked configuration.
        kind: Of the input model.
    """
    recipes = [baseline_recipe(plan, kind), *(c.recipe for c in plan.try_first)]
    passes = {*plan.space.pass_names, *(step.name for recipe in recipes for step in recipe)}
    produced = {name: find_pass(name).produces for name in passes}
    build = {each for name in passes for each in find_pass(name).packages}
    for each in {kind, *produced.values()} if passes else ():
        compared = source_runtime(each)  # what is built is compared with its source
        build.update(() if compared is None else packages_of(compared))
    last, _ = fitting_kinds(plan.space.stages, frozenset({kind}), "the input model")
    ends = [produced[recipe[-1].name] if recipe else kind for recipe in recipes]
    named = [(end, c.runtime.name) for end, c in zip(ends[1:], plan.try_first, strict=True)]
    named += [
        (end, grid.name) for end in {*last, ends[0]} for grid in plan.space.runtimes_of(end).grids
    ]
    measure = measuring_packages(named, [choice.name for choice in plan.evaluators])
    if "cuda" in plan.providers:
        measure |= {"torch"}  # where it is installed, the others find CUDA's libraries by it
    return UsedPackages(frozenset(build), measure)


def measuring_packages(
    models: Iterable[tuple[str, str]], evaluators: Iterable[str]
) -> frozenset[str]:
    """Return what measurements import.

    Args:
        models: Of each model its kind and the runtime that runs it; empty: that of its kind.
        evaluators: Names.
    """
    found = {each for name in evaluators for each in evaluator_packages(name)}
    for kind, name in models:
        runtime = runtime_of(kind, name)
        found.update(() if runtime is None else packages_of(runtime))
    return frozenset(found)
