"""Olive's ``search_strategy`` becomes ``search:``; without one there is one recipe to run."""

from __future__ import annotations

from dataclasses import dataclass, field

from paretune.config.olive.entries import Ledger, Status
from paretune.config.olive.fields import (
    Fields,
    Node,
    Rule,
    apply,
    count,
    flag,
    nearly,
    one,
    one_of,
    only,
    takes,
    whole,
)
from paretune.config.olive.reading import Workflow
from paretune.core.jsontools import Json

_SAMPLERS = {
    "sequential": "exhaustive",
    "exhaustive": "exhaustive",
    "random": "random",
    "tpe": "tpe",
}
_ORDERS = ("joint", "pass-by-pass")
_SEED = 1
_OLD_SAMPLES = 1
_BESIDE = "candidates beside the input model, which is the first trial"
_ONCE = "no candidate is tried twice"
_OF = "a search strategy"
_RULES: dict[str, Rule] = {
    "seed": takes("seed", whole),
    "max_time": takes("time", count, nearly="seconds of work in the whole study"),
    "output_model_num": nearly(
        "only the best model is packaged; `paretune pick` packages another one"
    ),
    "stop_when_goals_met": only(
        False, why="Olive's default", otherwise="a search goes on after its goals are met"
    ),
    "with_replacement": only(False, why=_ONCE, otherwise=_ONCE),
    "multivariate": nearly("paretune's estimator takes each parameter by itself"),
    "group": nearly("paretune's estimator takes each parameter by itself"),
}


@dataclass(frozen=True)
class Search:
    """The search.

    Attributes:
        on: Whether anything is searched.
        parameters: Whether the passes' parameters are searched, or only their alternatives.
        settings: The settings of ``search:``.
    """

    on: bool
    parameters: bool = False
    settings: dict[str, Json] = field(default_factory=dict)


def translate_strategy(workflow: Workflow, ledger: Ledger) -> Search:
    """Return the search.

    Args:
        workflow: The configuration.
        ledger: Records the result for each key.
    """
    node = workflow.engine.take("search_strategy")
    if node is None:
        return Search(False)
    if node.value in (None, False, {}):
        ledger.translated(node.path, ("passes",), "one recipe: `paretune run`")
        return Search(False)
    if node.value is True:
        why = "as in Olive 0.5: all passes together, every combination"
        ledger.translated(node.path, ("search", "strategy"), why)
        return Search(True, True, {"strategy": "exhaustive"})
    if not isinstance(node.value, dict):
        ledger.unsupported(node.path, "expected settings, true or false")
        return Search(False)
    fields = _settings(node, ledger)
    _order(fields.take("execution_order"), ledger)
    sampler = fields.take("sampler", "search_algorithm")
    settings = _sampler(sampler, ledger)
    params = fields.take("include_pass_params")
    chosen = None if params is None else one(takes("params", flag), params, ledger, of=_OF)
    old = sampler is not None and sampler.path[-1] == "search_algorithm"
    settings |= _limits(fields, old, str(settings.get("strategy")), ledger)
    return Search(True, chosen is not False, settings)


def _settings(node: Node, ledger: Ledger) -> Fields:
    """Return a strategy's settings, those of its sampler among them."""
    nested = "sampler_config" if "sampler_config" in node.value else "search_algorithm_config"
    return Fields.of(node, ledger, nested=nested)


def _order(node: Node | None, ledger: Ledger) -> None:
    if node is None:
        return
    if node.value == "joint":
        ledger.translated(node.path, ("passes",), "all passes are searched together")
    elif node.value == "pass-by-pass":
        ledger.approximated(
            node.path,
            ("passes",),
            "all passes are searched together, which tries every combination that Olive would",
        )
    else:
        ledger.unsupported(node.path, f"expected {' or '.join(_ORDERS)}")


def _sampler(node: Node | None, ledger: Ledger) -> dict[str, Json]:
    if node is None:
        return {}
    strategy = one(takes("strategy", one_of(**_SAMPLERS)), node, ledger, ("search",), of=_OF)
    return {} if strategy is None else {"strategy": strategy}


def _limits(fields: Fields, old: bool, strategy: str, ledger: Ledger) -> dict[str, Json]:
    """Return how much is tried, and the seed."""
    at = ("search",)
    sampled = strategy in ("random", "tpe")
    samples, most = fields.take("max_samples", "num_samples"), fields.take("max_iter")
    found = apply(_RULES, fields, ledger, at, of=_OF)
    if sampled and "seed" not in found:
        found["seed"] = _SEED
        ledger.absent((*fields.path, "seed"), (*at, "seed"), f"Olive's default: {_SEED}")
    trials = []
    if samples is not None:
        trials.append(_trials(samples, Status.TRANSLATED, _BESIDE, ledger))
    elif sampled and old:
        trials.append(_OLD_SAMPLES)
        ledger.absent(
            (*fields.path, "num_samples"),
            (*at, "trials"),
            f"Olive's default: {_OLD_SAMPLES}, {_BESIDE}",
        )
    if most is not None:
        trials.append(
            _trials(
                most,
                Status.APPROXIMATED,
                f"those ruled out before any job do not count; {_BESIDE}",
                ledger,
            )
        )
    limits = [limit for limit in trials if limit is not None]
    return found | ({"trials": min(limits) + 1} if limits else {})


def _trials(node: Node, status: Status, why: str, ledger: Ledger) -> int | None:
    """Return how many candidates are tried; None: all of them."""
    if node.value in (None, 0):
        ledger.translated(node.path, None, "every candidate is tried")
        return None
    rule = Rule(count, "trials", status, why)
    found: int | None = one(rule, node, ledger, ("search",), of=_OF)
    return found
