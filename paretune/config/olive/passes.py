"""Olive's passes become ``passes:``: one recipe, or a space where they are searched."""

from __future__ import annotations

from dataclasses import dataclass, replace

from paretune.config.olive.adapters import Environment
from paretune.config.olive.counterparts import BY_TYPE, COUNTERPARTS, ON_KIND, Counterpart
from paretune.config.olive.entries import Status, children
from paretune.config.olive.fields import (
    Fields,
    Rule,
    apply,
    ignores,
    missing,
    near,
    nearly,
    no_effect,
    shown,
)
from paretune.config.olive.model import given_kind
from paretune.config.olive.networks import halved, halves, optimize
from paretune.config.olive.quantizing import is_dynamic
from paretune.config.olive.reading import PassConfig, Workflow
from paretune.config.olive.systems import is_local
from paretune.config.olive.tuning import TUNES, tuned
from paretune.config.olive.whole_builds import (
    WholeBuild,
    record_parts,
    rounding,
    rounds,
    whole_build,
)
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json
from paretune.core.model import ModelKind

_HOST = "passes run where the whole workflow builds"


_HF, _ADAPTER = ModelKind.HF, ModelKind.HF_ADAPTER
_GENAI, _ONNX = ModelKind.GENAI, ModelKind.ONNX
_HALF: Json = {"genai": {"precision": "fp16"}}
_STEP, _TUNING = "a pass", "a setting of the runtime"
_PART, _ROUNDING = "a part of a build", "the rounding of a build"


@dataclass(frozen=True)
class Step:
    """One pass, translated.

    Attributes:
        type: The key that names the pass's type.
        at: The place of its parameters in paretune's configuration.
        counterpart: The pass in paretune.
        params: Its parameters.
    """

    type: Path
    at: Path
    counterpart: Counterpart
    params: dict[str, Json]

    @property
    def entry(self) -> Json:
        """What stands under ``passes:``."""
        name = self.counterpart.name
        return {name: self.params} if self.params else name


class Chain:
    """The passes of a workflow, translated.

    Args:
        workflow: The configuration.
        around: The context of translations.
        searching: Whether there is a search strategy; its alternatives are then tried.
        builds_on: The system that passes run on, as it is named; None: this machine.

    Attributes:
        entries: The entries of ``passes:``.
        first: The one recipe, or the first one.
        steps: Each pass once.
        settings: Settings of ONNX Runtime that are searched, each with its values.
    """

    def __init__(
        self, workflow: Workflow, around: Environment, searching: bool, builds_on: Json
    ) -> None:
        self._builds_on = builds_on
        self._workflow, self._around, self._ledger = workflow, around, around.ledger
        self._searching = searching
        self._first_kind: str = given_kind(workflow)
        self._evaluator = workflow.engine.peek("evaluator")
        self._done: dict[str, list[list[Step]]] = {}
        self._roles: dict[str, str] = {}
        self._seen: set[str] = set()
        self._roundings: dict[str, Json] = {}
        self.steps: list[Step] = []
        self.settings: dict[str, Json] = {}
        self.entries: list[Json] = []
        self.first: list[Json] = []
        flows = self._flows()
        if not workflow.passes:
            self._ledger.absent(
                ("passes",),
                ("passes",),
                "paretune needs passes: it picks none by itself",
                Status.UNSUPPORTED,
            )
        for name in workflow.passes.keys() - {name for flow in flows for name in flow}:
            self._unused(name)
        several = len(flows) > 1
        # All of them before the first is translated: that takes the keys which tell them.
        on_arrays = self._first_kind is not _HF
        builds = [None if on_arrays else whole_build(flow, workflow.passes) for flow in flows]
        alternatives = [
            self._flow(flow, build, ("passes", 0, "any", i) if several else ("passes",))
            for i, (flow, build) in enumerate(zip(flows, builds, strict=True))
        ]
        self.first = [each for entry in alternatives[0] for each in _first(entry)]
        self.entries = [{"any": alternatives}] if several else alternatives[0]
        self.steps = [step for ways in self._done.values() for steps in ways for step in steps]

    def _flows(self) -> list[list[str]]:
        """Return the orders in which passes run; Olive up to 0.7 may name several."""
        node = self._workflow.own.take("pass_flows")
        everything = list(self._workflow.passes)
        if node is None or node.value in (None, []):
            no_effect(self._ledger, "all passes run, in their order", node)
            return [everything]
        flows: Json = node.value
        names_only = isinstance(flows, list) and all(
            isinstance(flow, list)
            and flow
            and all(isinstance(name, str) and name in everything for name in flow)
            for flow in flows
        )
        if not names_only:
            unknown = _unknown(flows, everything)
            why = f"expected lists of the passes' names, {', '.join(everything)}"
            if unknown is not None:
                why += f"; found {shown(unknown)}{near(unknown, everything)}"
            self._ledger.unsupported(node.path, why)
            return [everything]
        for path, flow in children(node.path, flows):
            if len(flows) > 1 and not self._searching:
                why = "Olive runs each flow; here `paretune search` does"
                self._ledger.approximated(path, ("passes",), why)
            else:
                self._ledger.translated(path, ("passes",), f"in this order: {', '.join(flow)}")
        return [list(flow) for flow in flows]

    def _flow(self, names: list[str], build: WholeBuild | None, at: Path) -> list[Json]:
        """Return the entries of one flow; the kinds of its passes have to fit together."""
        found: list[Json] = []
        steps: list[Step] = []
        kind: str | None = self._first_kind
        if build is not None:
            new = [part for part in build.parts if self._is_new(part, _PART)]
            record_parts(replace(build, parts=tuple(new)), self._workflow.passes, self._ledger)
        for name in names:
            if build is not None and name in build.parts:
                continue
            if self._tunes(name, kind):
                continue
            if build is not None and name == build.builder and kind is _ADAPTER and not build.apart:
                self._merge(at, found, "Olive's conversion computes with the adapter")
                kind = _HF
            rounded = self._rounded(name, steps) if kind is _GENAI else None
            if rounded is not None:
                found[-1] = rounded
                continue
            ways = self._ways(name, (*at, len(found)), kind)
            for first, *_ in ways:
                if kind not in (None, first.counterpart.takes):
                    self._misfit(first, kind)
            steps = ways[0] if ways else []
            # After a pass that is not supported, nobody knows what there is.
            kind = steps[-1].counterpart.gives if steps else None
            if len(ways) > 1:
                found.append({"any": [_together(way) for way in ways]})
            else:
                found += [step.entry for step in steps]
        if kind is _ADAPTER:
            self._merge(at, found, "an adapter alone cannot be measured or packaged")
        return found

    def _merge(self, at: Path, found: list[Json], why: str) -> None:
        why = f"{why}, so it is merged into its model"
        self._ledger.absent(("passes",), (*at, len(found)), why)
        found.append("merge")

    def _tunes(self, name: str, kind: str | None) -> bool:
        """Return whether a pass tunes the session; its settings are then searched."""
        (config, *others) = self._workflow.passes[name]
        value = None if config.type is None else config.type.value
        tunes = isinstance(value, str) and value.lower() in TUNES
        if not tunes or others or kind is not _ONNX:
            return False
        if self._is_new(name, _TUNING):
            self.settings |= tuned(config, self._beside(config))
        return True

    def _is_new(self, name: str, role: str) -> bool:
        """Return whether a pass has not been translated yet; refuse a second role of it.

        Several flows may hold one pass, and each of its keys has one record.
        """
        given = self._roles.setdefault(name, role)
        config = self._workflow.passes[name][0]
        if given != role:
            where = config.path if config.type is None else config.type.path
            why = f"it is {given} in one flow and {role} in another; write it twice, by two names"
            self._ledger.refuse(where, why)
            return False
        if name in self._seen:
            return False
        self._seen.add(name)
        return True

    def _rounded(self, name: str, before: list[Step]) -> Json:
        """Return the entry of a build in 16 bits that a pass rounds; None: it is another pass.

        `matmul_nbits` takes builds in fp32; the builder rounds the weights that it reads itself.
        """
        (config, *others) = self._workflow.passes[name]
        if others or not rounds(config) or [step.entry for step in before] != [_HALF]:
            return None
        if self._is_new(name, _ROUNDING):
            around = self._beside(config)
            place = before[0].at
            if config.type is not None:
                self._ledger.approximated(config.type.path, place, "the builder itself rounds")
            self._roundings[name] = {"genai": rounding(config, place, around)}
        return self._roundings.get(name)

    def _misfit(self, step: Step, kind: str | None) -> None:
        wanted = step.counterpart.takes
        why = f"{step.counterpart.name} takes {wanted}, and what comes before it is {kind}"
        if kind is _ADAPTER and wanted is _HF:
            why += "; put MergeAdapterWeights before it"
        self._ledger.refuse(step.type, why)

    def _ways(self, name: str, at: Path, kind: str | None) -> list[list[Step]]:
        """Return a pass's alternatives; without a search Olive takes the first."""
        if self._is_new(name, _STEP):
            configs = self._workflow.passes[name]
            used = configs if self._searching else configs[:1]
            for config in configs[len(used) :]:
                self._aside(config, "without a search strategy Olive takes the first of them")
            found = [
                self._steps(config, (*at, "any", i) if len(used) > 1 else at, kind, len(used) > 1)
                for i, config in enumerate(used)
            ]
            self._done[name] = [steps for steps in found if steps]
        return self._done.get(name, [])

    def _steps(self, config: PassConfig, at: Path, given: str | None, beside: bool) -> list[Step]:
        """Return one pass, translated into one or two; none if paretune has none of its type.

        Args:
            config: The pass.
            at: Its place in paretune's configuration.
            given: The kind of what comes before it.
            beside: Whether it is one of several alternatives: two steps are a list then.
        """
        node = config.type
        value = None if node is None else node.value
        counterpart = BY_TYPE.get(value.lower()) if isinstance(value, str) else None
        if node is None or counterpart is None:
            self._no_counterpart(config)
            return []
        counterpart = ON_KIND.get((counterpart.name, given or ""), counterpart)
        if counterpart.name == "onnx_static_int8" and is_dynamic(config):
            counterpart = replace(counterpart, name="onnx_dynamic_int8")
        two = counterpart.translate is optimize and halves(config)
        if two and beside:
            at = (*at, 0)
        into = (*at, counterpart.name)
        self._ledger.translated(node.path, into)
        self._ledger.came_from(at, config.path)
        around = self._beside(config)
        after = []
        if two:
            half = COUNTERPARTS["OnnxFloatToFloat16"]
            then = (*at[:-1], int(at[-1]) + 1, half.name)
            after.append(Step(node.path, then, half, halved(config, then, around)))
        params = counterpart.translate(config, into, around)
        return [Step(node.path, into, counterpart, params), *after]

    def _no_counterpart(self, config: PassConfig) -> None:
        why, node = "Olive needs the pass's type", config.type
        if node is not None:
            given = node.value if isinstance(node.value, str) else shown(node.value)
            why = f"paretune has no pass for Olive's {given}{near(node.value, COUNTERPARTS)}"
        missing(self._ledger, Fields(config.path), "type", why, node)
        for fields in (config.settings, config.beside):
            fields.rest(self._ledger, Status.NO_EFFECT, "belongs to a pass that is not supported")

    def _beside(self, config: PassConfig) -> Environment:
        """Record the keys about a pass's run; returns the context of its translation."""
        around, beside = self._around, config.beside
        fixed, evaluator = beside.take("disable_search"), beside.take("evaluator")
        if fixed is not None and isinstance(fixed.value, bool):
            self._ledger.translated(fixed.path, ("passes",))
            searching = around.searching and not fixed.value
            around = Environment(around.ledger, around.generation, around.data, searching)
        elif fixed is not None:
            self._ledger.unsupported(
                fixed.path, f"expected true or false, found {shown(fixed.value)}"
            )
        if evaluator is not None:
            if evaluator.value in (None, self._evaluator):
                self._ledger.translated(evaluator.path, ("evaluate",), "the workflow's evaluator")
            else:
                self._ledger.unsupported(
                    evaluator.path, "paretune measures every candidate by the same evaluators"
                )
        apply(
            {
                "host": Rule(self._host, None, Status.TRANSLATED, _HOST),
                "clean_run_cache": ignores(
                    "no outdated artifact is ever used: the store's keys are content digests"
                ),
                "output_name": nearly("the result is in `best/` in the study's folder"),
            },
            beside,
            self._ledger,
            of="a pass",
        )
        return around

    def _host(self, value: Json) -> Json:
        """Read a pass's host, which has to be where all passes run."""
        here = self._builds_on is None
        if is_local(self._workflow, value) if here else value == self._builds_on:
            return value
        where = "this machine, a LocalSystem" if here else f"{shown(self._builds_on)}"
        raise ValueError(f"paretune runs all passes of a workflow on one system: {where}")

    def _unused(self, name: str) -> None:
        for config in self._workflow.passes[name]:
            self._aside(config, "no flow contains this pass")

    def _aside(self, config: PassConfig, why: str) -> None:
        no_effect(self._ledger, why, config.type)
        for fields in (config.settings, config.beside):
            fields.rest(self._ledger, Status.NO_EFFECT, why)


def _together(steps: list[Step]) -> Json:
    """Return what stands under ``any:`` for passes that follow each other."""
    entries = [step.entry for step in steps]
    return entries if len(entries) > 1 else entries[0]


def _first(entry: Json) -> list[Json]:
    """Return an entry without its choices: the first of each."""
    if isinstance(entry, dict) and "any" in entry:
        entry = entry["any"][0]
        together = entry if isinstance(entry, list) else [entry]
        return [each for inner in together for each in _first(inner)]
    return [entry]


def _unknown(flows: Json, passes: list[str]) -> str | None:
    """Return the first name in lists of names that no pass has; None: there is none."""
    lists = flows if isinstance(flows, list) else []
    names = (name for flow in lists if isinstance(flow, list) for name in flow)
    return next((n for n in names if isinstance(n, str) and n not in passes), None)
