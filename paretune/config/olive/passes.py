"""Olive's passes become ``passes:``: one recipe, or a space where they are searched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from paretune.config.olive.adapters import Environment, dora, lora, qlora
from paretune.config.olive.builder import genai
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
from paretune.config.olive.model import is_encoder
from paretune.config.olive.networks import export, float16, genai_weights, optimize, weights
from paretune.config.olive.quantizing import dynamic_int8, int8, is_dynamic, static_int8
from paretune.config.olive.reading import PassConfig, Workflow
from paretune.config.olive.systems import is_local
from paretune.config.olive.tuning import TUNES, tuned
from paretune.config.olive.whole_builds import record_parts, rounding, rounds, whole_build
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json
from paretune.core.model import ModelKind

Translator = Callable[[PassConfig, Path, Environment], dict[str, Json]]

_HOST = "passes run where the whole workflow builds"


@dataclass(frozen=True)
class Counterpart:
    """The pass of paretune that corresponds to one of Olive's.

    Attributes:
        name: The pass in paretune.
        takes: The kind of its input.
        gives: The kind of its output.
        translate: Translates Olive's parameters.
    """

    name: str
    takes: str
    gives: str
    translate: Translator


def _none(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    return apply({}, config.settings, around.ledger, at, of=shown(config.name))


_HF, _ADAPTER, _GENAI = ModelKind.HF, ModelKind.HF_ADAPTER, ModelKind.GENAI
_ENCODER, _ONNX = ModelKind.HF_ENCODER, ModelKind.ONNX
COUNTERPARTS: Mapping[str, Counterpart] = {
    "LoRA": Counterpart("lora", _HF, _ADAPTER, lora),
    "DoRA": Counterpart("lora", _HF, _ADAPTER, dora),
    "QLoRA": Counterpart("qlora", _HF, _ADAPTER, qlora),
    "MergeAdapterWeights": Counterpart("merge", _ADAPTER, _HF, _none),
    "ModelBuilder": Counterpart("genai", _HF, _GENAI, genai),
    "OnnxConversion": Counterpart("onnx_export", _ENCODER, _ONNX, export),
    "OrtTransformersOptimization": Counterpart("onnx_optimize", _ONNX, _ONNX, optimize),
    "OnnxFloatToFloat16": Counterpart("onnx_float16", _ONNX, _ONNX, float16),
    "OnnxQuantization": Counterpart("onnx_static_int8", _ONNX, _ONNX, int8),
    "OnnxStaticQuantization": Counterpart("onnx_static_int8", _ONNX, _ONNX, static_int8),
    "OnnxDynamicQuantization": Counterpart("onnx_dynamic_int8", _ONNX, _ONNX, dynamic_int8),
    "OnnxMatMul4Quantizer": Counterpart("onnx_weight_only", _ONNX, _ONNX, weights),
    "OnnxBlockWiseRtnQuantization": Counterpart("onnx_weight_only", _ONNX, _ONNX, weights),
}
"""Olive's passes that we have; their names are compared without regard to case."""

_ON: Mapping[tuple[str, str], Counterpart] = {
    ("genai", _ADAPTER): Counterpart("genai_adapter", _ADAPTER, _GENAI, genai),
    ("onnx_weight_only", _GENAI): Counterpart("matmul_nbits", _GENAI, _GENAI, genai_weights),
}
"""What stands for a pass on another kind; an adapter that is not merged stays apart."""

_HALF: Json = {"genai": {"precision": "fp16"}}

_BY_TYPE = {name.lower(): counterpart for name, counterpart in COUNTERPARTS.items()}


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
        self._evaluator = workflow.engine.peek("evaluator")
        self._done: dict[str, list[Step]] = {}
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
        alternatives = [
            self._flow(flow, ("passes", 0, "any", i) if several else ("passes",))
            for i, flow in enumerate(flows)
        ]
        self.first = [_first(entry) for entry in alternatives[0]]
        self.entries = [{"any": alternatives}] if several else alternatives[0]
        self.steps = [step for steps in self._done.values() for step in steps]

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
            self._ledger.unsupported(node.path, "expected lists of the passes' names")
            return [everything]
        for path, flow in children(node.path, flows):
            if len(flows) > 1 and not self._searching:
                why = "Olive runs each flow; here `paretune search` does"
                self._ledger.approximated(path, ("passes",), why)
            else:
                self._ledger.translated(path, ("passes",), f"in this order: {', '.join(flow)}")
        return [list(flow) for flow in flows]

    def _flow(self, names: list[str], at: Path) -> list[Json]:
        """Return the entries of one flow; the kinds of its passes have to fit together."""
        found: list[Json] = []
        steps: list[Step] = []
        kind: str | None = _ENCODER if is_encoder(self._workflow) else _HF
        build = None if kind is _ENCODER else whole_build(names, self._workflow.passes)
        if build is not None:
            record_parts(build, self._workflow.passes, self._ledger)
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
            steps = self._steps(name, (*at, len(found)), kind)
            for step in steps:
                if kind not in (None, step.counterpart.takes):
                    self._misfit(step, kind)
            # After a pass that is not supported, nobody knows what there is.
            kind = steps[0].counterpart.gives if steps else None
            entries = [step.entry for step in steps]
            found += [{"any": entries}] if len(entries) > 1 else entries
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
        self.settings |= tuned(config, self._beside(config))
        return True

    def _rounded(self, name: str, before: list[Step]) -> Json:
        """Return the entry of a build in 16 bits that a pass rounds; None: it is another pass.

        `matmul_nbits` takes builds in fp32; the builder rounds the weights that it reads itself.
        """
        (config, *others) = self._workflow.passes[name]
        if others or not rounds(config) or [step.entry for step in before] != [_HALF]:
            return None
        around = self._beside(config)
        place = before[0].at
        if config.type is not None:
            self._ledger.approximated(config.type.path, place, "the builder itself rounds")
        return {"genai": rounding(config, place, around)}

    def _misfit(self, step: Step, kind: str | None) -> None:
        wanted = step.counterpart.takes
        why = f"{step.counterpart.name} takes {wanted}, and what comes before it is {kind}"
        if kind is _ADAPTER and wanted is _HF:
            why += "; put MergeAdapterWeights before it"
        self._ledger.refuse(step.type, why)

    def _steps(self, name: str, at: Path, kind: str | None) -> list[Step]:
        """Return a pass's alternatives; without a search Olive takes the first."""
        if name not in self._done:
            configs = self._workflow.passes[name]
            used = configs if self._searching else configs[:1]
            for config in configs[len(used) :]:
                self._aside(config, "without a search strategy Olive takes the first of them")
            found = [
                self._step(config, (*at, "any", i) if len(used) > 1 else at, kind)
                for i, config in enumerate(used)
            ]
            self._done[name] = [step for step in found if step is not None]
        return self._done[name]

    def _step(self, config: PassConfig, at: Path, given: str | None) -> Step | None:
        """Return one pass, translated; None if paretune has none of its type."""
        node = config.type
        value = None if node is None else node.value
        counterpart = _BY_TYPE.get(value.lower()) if isinstance(value, str) else None
        if node is None or counterpart is None:
            self._no_counterpart(config)
            return None
        counterpart = _ON.get((counterpart.name, given or ""), counterpart)
        if counterpart.name == "onnx_static_int8" and is_dynamic(config):
            counterpart = replace(counterpart, name="onnx_dynamic_int8")
        at = (*at, counterpart.name)
        self._ledger.translated(node.path, at)
        self._ledger.came_from(at[:-1], config.path)
        around = self._beside(config)
        return Step(node.path, at, counterpart, counterpart.translate(config, at, around))

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


def _first(entry: Json) -> Json:
    """Return an entry without its choices: the first of each."""
    return _first(entry["any"][0]) if isinstance(entry, dict) and "any" in entry else entry
