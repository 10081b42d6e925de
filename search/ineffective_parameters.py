"""Names the parameters that changed nothing: other value, same bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from paretune.core.jsontools import Json, canonical
from paretune.core.result import TrialResult


def parameters_without_effect(outcomes: Sequence[TrialResult]) -> list[dict[str, Json]]:
    """Return each parameter whose every tried change left the artifact byte-identical.

    Two candidates show something of a parameter when their recipes differ in it alone. A parameter
    is named only if every such group has one artifact.

    Args:
        outcomes: Of a study; those without an artifact show nothing.

    Returns:
        ``{"pass", "param", "values", "groups"}`` a parameter: the values tried and in how many
        groups of otherwise equal recipes.
    """
    groups: dict[tuple[str, str], dict[str, dict[str, str]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for outcome in outcomes:
        if outcome.artifact is None:
            continue
        recipe = outcome.candidate.recipe
        for position, step in enumerate(recipe):
            for param in step.params:
                rest = [
                    s.to_json() if i != position else _without(s.to_json(), param)
                    for i, s in enumerate(recipe)
                ]
                key = (step.name, param)
                groups[key][canonical(rest)][canonical(step.params[param])] = outcome.artifact
    found: list[dict[str, Json]] = []
    for (name, param), by_rest in sorted(groups.items()):
        telling = [group for group in by_rest.values() if len(group) > 1]
        if telling and all(len(set(group.values())) == 1 for group in telling):
            tried = sorted({value for group in telling for value in group})
            found.append({"pass": name, "param": param, "values": tried, "groups": len(telling)})
    return found


def _without(step: dict[str, Json], param: str) -> dict[str, Json]:
    params = {k: v for k, v in step["params"].items() if k != param}
    return {"pass": step["pass"], "params": params}
