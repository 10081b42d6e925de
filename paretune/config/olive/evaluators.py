"""Olive's evaluators become ``evaluate:``, their priorities objectives, their goals constraints."""

from __future__ import annotations

from dataclasses import dataclass, field

from paretune.config.olive.data import OF_MODEL, DataSets
from paretune.config.olive.entries import Ledger, Status, children
from paretune.config.olive.fields import (
    NULL,
    Fields,
    Node,
    Rule,
    apply,
    ignores,
    missing,
    near,
    nearly,
    no_effect,
    number,
    one,
    only,
    refused,
    shown,
    takes,
    whole,
)
from paretune.config.olive.metrics import HOW, KINDS, KINDS_OF_ARRAYS, LOWER
from paretune.config.olive.model import takes_arrays
from paretune.config.olive.reading import Workflow
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json

_OWN_TRACE = "paretune times a trace of its own, the same for every candidate"
_SAMPLES = "paretune measures until its interval is narrow, after a warm-up"
_NO_METRIC = "it belongs to no metric of paretune"
_PER_MB = 1e6
_METRIC_RULES: dict[str, Rule] = {
    "backend": nearly("paretune measures all of its metrics itself"),
}
_SUB_RULES: dict[str, Rule] = {
    "warmup_num": nearly(_SAMPLES),
    "repeat_test_num": nearly(_SAMPLES),
    "sleep_num": only(0, why="Olive's default", otherwise="paretune does not wait between samples"),
    "task": nearly("paretune takes the labels from the data"),
    "num_classes": nearly("paretune takes the labels from the data"),
}


def _no_settings(value: Json) -> Json:
    """Read a metric's runtime settings, none of which may change what is run."""
    left = value
    while isinstance(left, dict) and len(left) == 1:  # {"onnx": {"session_options": {...}}}
        (name, left) = next(iter(left.items()))
        if name == "enable_profiling" and left is False:
            return value
    if left not in ({}, None):
        raise ValueError("runtime settings belong to the target, not to a metric")
    return value


_NO_CODE = refused("names a function of a user's script; paretune runs none")
_USER_RULES: dict[str, Rule] = {
    "io_bind": ignores("the runtime that generates binds its own inputs and outputs"),
    "shared_kv_buffer": ignores("the runtime that generates shares it automatically"),
    "batch_size": only(
        1, why="one request at a time", otherwise="paretune times one request at a time"
    ),
    "inference_settings": Rule(
        _no_settings, None, Status.NO_EFFECT, "these settings only turn off profiling"
    ),
    **dict.fromkeys(("dataloader_func", "evaluate_func", "metric_func", "func_kwargs"), _NO_CODE),
}


@dataclass
class Measured:
    """The evaluators, objectives and constraints.

    Attributes:
        evaluators: Name to parameters.
        objectives: Rank and metric, most important first.
        constraints: As in paretune's configuration.
    """

    evaluators: dict[str, dict[str, Json]] = field(default_factory=dict)
    objectives: list[tuple[int, str]] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """One part of a metric; its priority decides whether it is an objective."""

    metric: str
    evaluator: str
    priority: Node | None
    goal: Node | None
    path: Path


def translate_evaluators(
    workflow: Workflow, data: DataSets, searching: bool, ledger: Ledger
) -> Measured | None:
    """Return what is measured; None if Olive measures nothing.

    Args:
        workflow: The configuration.
        data: The data sets.
        searching: Whether there is a search: without one, goals change nothing in Olive.
        ledger: Records the result for each key.
    """
    waiting, arrays = dict(workflow.evaluators), takes_arrays(workflow)
    node = workflow.engine.take("evaluator")
    found = None
    if node is not None and isinstance(node.value, dict):
        found = _Reader(data, searching, ledger, arrays).read(node)
    elif node is not None and isinstance(node.value, str) and node.value in waiting:
        ledger.translated(node.path, ("evaluate",))
        found = _Reader(data, searching, ledger, arrays).read(waiting.pop(node.value))
    elif node is not None and node.value is None:
        ledger.no_effect(node.path, "nothing is measured")
    elif node is not None:
        ledger.unsupported(
            node.path, f"no evaluator {shown(node.value)}{near(node.value, waiting)}"
        )
    for other in waiting.values():
        ledger.no_effect(other.path, "no metric uses it")
    return found


class _Reader:
    """Translates one of Olive's evaluators."""

    def __init__(
        self, data: DataSets, searching: bool, ledger: Ledger, arrays: bool = False
    ) -> None:
        self._data, self._searching, self._ledger = data, searching, ledger
        self._arrays = arrays
        self._kinds = KINDS_OF_ARRAYS if arrays else KINDS
        self._found = Measured()

    def read(self, node: Node) -> Measured:
        """Return what it becomes."""
        ledger = self._ledger
        ledger.came_from(("evaluate",), node.path)
        fields = Fields.of(node, ledger, nested="type_args")
        kind, metrics = fields.take("type"), fields.take("metrics")
        if kind is not None and kind.value not in (None, "OliveEvaluator"):
            ledger.unsupported(kind.path, f"paretune has no evaluator for {shown(kind.value)}")
            fields.rest(ledger, Status.NO_EFFECT, "belongs to an evaluator that is not supported")
        elif kind is not None:
            ledger.no_effect(kind.path, "Olive's own evaluator")
        no_effect(ledger, "the name of a metric, which changes nothing", fields.take("name"))
        apply({}, fields, ledger, of="an evaluator")
        parts: list[_Part] = []
        if metrics is not None and isinstance(metrics.value, list):
            each = [Node(p, v) for p, v in children(metrics.path, metrics.value)]
            parts = [part for one in each for part in self._metric(one)]
        elif metrics is not None:
            ledger.unsupported(
                metrics.path, f"expected a list of metrics, found {shown(metrics.value)}"
            )
        self._judge(parts)
        return self._found

    def _metric(self, node: Node) -> list[_Part]:
        ledger = self._ledger
        fields = Fields.of(node, ledger)
        name, kind = fields.take("name"), fields.take("type")
        data, subs = fields.take("data_config"), fields.take("sub_types")
        no_effect(ledger, "Olive's name of it; paretune's metrics have their own", name)
        known = self._kinds.get(kind.value) if kind and isinstance(kind.value, str) else None
        if known is None or kind is None:
            given = None if kind is None else kind.value
            why = f"paretune measures {', '.join(self._kinds)}, not {shown(given)}"
            missing(ledger, fields, "type", why, kind)
            no_effect(ledger, _NO_METRIC, data, subs)
            fields.rest(ledger, Status.NO_EFFECT, "of a metric that is not supported")
            return []
        ledger.translated(kind.path, ("evaluate",))
        user = Fields.of(fields.take("user_config"), ledger)
        apply(_USER_RULES, user, ledger, of="a metric's user_config")
        apply(_METRIC_RULES, fields, ledger, of="a metric")
        parts = self._parts(str(kind.value), known, subs)
        if kind.value == "accuracy":
            self._data_of(parts, data, fields)
        elif self._arrays:
            self._rows_of(str(kind.value), parts, data)
        elif data is not None:
            self._data.pass_over(data, _OWN_TRACE)
        return parts

    def _parts(
        self, kind: str, known: dict[str, tuple[str, str]], node: Node | None
    ) -> list[_Part]:
        if node is None or not isinstance(node.value, list):
            if node is not None:
                self._ledger.unsupported(node.path, f"expected a list, found {shown(node.value)}")
            return []
        read = (self._part(kind, known, Node(p, v)) for p, v in children(node.path, node.value))
        return [part for part in read if part is not None]

    def _part(self, kind: str, known: dict[str, tuple[str, str]], node: Node) -> _Part | None:
        ledger = self._ledger
        fields = Fields.of(node, ledger)
        name, priority, goal = (fields.take(key) for key in ("name", "priority", "goal"))
        better = fields.take("higher_is_better")
        config = Fields.of(fields.take("metric_config"), ledger)
        apply(_SUB_RULES, config, ledger, of="metric_config")
        apply({}, fields, ledger, of="a part of a metric")
        found = known.get(name.value) if name and isinstance(name.value, str) else None
        if name is None or found is None:
            told = None if name is None else name.value
            why = f"paretune measures {', '.join(known)} of {kind}, not {shown(told)}"
            missing(ledger, fields, "name", why, name)
            no_effect(ledger, _NO_METRIC, priority, goal, better)
            return None
        evaluator, metric = found
        if better is not None:
            right = metric not in LOWER
            other = f"{'higher' if right else 'lower'} values of {metric} are better"
            rule = only(right, why=f"{metric} has this direction", otherwise=other)
            one(rule, better, ledger, of="a part of a metric")
        ledger.approximated(name.path, ("evaluate", evaluator), f"{metric}: {HOW[metric]}")
        self._found.evaluators.setdefault(evaluator, {})
        return _Part(metric, evaluator, priority, goal, node.path)

    def _rows_of(self, kind: str, parts: list[_Part], node: Node | None) -> None:
        """Give a latency the rows that it is timed with; a throughput is of one row at a time."""
        if not parts:
            return
        params = self._found.evaluators["latency"]
        if kind == "throughput":
            params["batch_size"] = 1
        if node is not None and node.value is not None:
            reference = self._data.reference(node, ("evaluate",))
        else:
            no_effect(self._ledger, NULL, node)
            reference = self._data.models_own() if self._data.of_model is not None else None
        if reference is None:
            return
        if params.setdefault("data", reference) != reference:
            why = f"latency is measured on one data set, {params['data']} already"
            self._ledger.refuse(parts[0].path if node is None else node.path, why)

    def _data_of(self, parts: list[_Part], node: Node | None, fields: Fields) -> None:
        """Give an accuracy's evaluators the data that it is measured on."""
        wanted = {part.evaluator for part in parts}
        if (node is None or node.value is None) and self._data.of_model is not None:
            where = fields.path if node is None else node.path
            node, reference = Node(where, OF_MODEL), self._data.models_own()
        elif node is None or node.value is None:
            why = "an accuracy needs data to be measured on"
            missing(self._ledger, fields, "data_config", why, node)
            return
        else:
            found = self._data.reference(node, ("evaluate",))
            if found is None:
                return
            reference = found
        for name in sorted(wanted):
            if name != "perplexity" and not self._data.is_pair(reference):
                self._ledger.refuse(
                    node.path,
                    f"{name} needs prompts with answers (dataset_type: pair); running "
                    "text has no right answer",
                )
            params = self._found.evaluators[name]
            if params.setdefault("data", reference) != reference:
                self._ledger.refuse(
                    node.path, f"{name} is measured on one data set, {params['data']} already"
                )

    def _judge(self, parts: list[_Part]) -> None:
        """Turn priorities into objectives and goals into constraints."""
        ranked = any(part.priority is not None for part in parts)
        alone = len(parts) == 1
        why = (
            "Olive's default for the only one: 1"
            if alone
            else "without priorities, the order of the metrics counts"
        )
        for place, part in enumerate(parts):
            rank: int | None = None
            if part.priority is not None:
                rank = self._rank(part.priority)
            elif not ranked:
                rank = place
                self._ledger.absent((*part.path, "priority"), ("objectives",), why)
            if rank is not None:
                self._found.objectives.append((rank, part.metric))
            if part.goal is not None:
                self._goal(part, part.goal, counts=rank is not None)
        self._found.objectives.sort(key=lambda objective: objective[0])

    def _rank(self, node: Node) -> int | None:
        """Return the rank among the objectives that a priority gives; None if it gives none."""
        try:
            rank = whole(node.value)
        except ValueError as error:
            self._ledger.unsupported(node.path, str(error))
            return None
        if rank > 0:
            self._ledger.translated(node.path, ("objectives",))
            return rank
        self._ledger.no_effect(node.path, "it is measured, but is not an objective")
        return None

    def _goal(self, part: _Part, node: Node, counts: bool) -> None:
        if node.value is None:
            self._ledger.no_effect(node.path, NULL)
            return
        if not (counts and self._searching):
            why = "Olive uses only the goals of objectives"
            if not self._searching:
                why = "without a search strategy Olive ignores goals"
            self._ledger.no_effect(node.path, why)
            return
        fields = Fields.of(node, self._ledger)
        kind, value = fields.take("type"), fields.take("value")
        apply({}, fields, self._ledger, of="a goal")
        if kind is None or value is None:
            name, why = "type" if kind is None else "value", "Olive needs a goal's type and value"
            missing(self._ledger, Fields(node.path), name, why)
            no_effect(self._ledger, "it belongs to an incomplete goal", kind, value)
            return
        amount = one(takes("amount", number), value, self._ledger, of="a goal")
        constraint = None if amount is None else _constraint(part.metric, kind.value, amount)
        if constraint is not None:
            self._ledger.translated(kind.path, ("constraints",), constraint)
            self._found.constraints.append(constraint)
        elif amount is None:
            self._ledger.no_effect(kind.path, "its value is wrong")
        else:
            self._ledger.unsupported(kind.path, f"unknown kind of goal: {shown(kind.value)}")


def _constraint(metric: str, kind: Json, amount: float) -> str | None:
    """Return a goal as a constraint; None if there is no such kind of goal."""
    lower = metric in LOWER
    op, sign = ("<=", -1) if lower else (">=", 1)
    scaled = amount / _PER_MB if metric == "size_mb" else amount
    if kind == "threshold":
        return f"{metric} {op} {scaled:.12g}"
    better = {"min-improvement": 1, "max-degradation": -1}.get(str(kind).removeprefix("percent-"))
    if better is None:
        return None
    if str(kind).startswith("percent-"):
        return f"{metric} {op} baseline * {1 + sign * better * amount / 100:.12g}"
    change = sign * better * scaled
    return f"{metric} {op} baseline {'-' if change < 0 else '+'} {abs(change):.12g}"
