"""Tables in a file: one JSON object a line, ``.jsonl`` or ``.jsonl.gz`` (or a folder with one).

This is the format of ``benchmarks/data/chains.jsonl.gz`` and of any other table that
``search_power.py --table PATH`` reads. A recipe is a list of ``{"pass": name, "params": {...}}``.

The first line describes the table::

    {"format": "paretune-table", "version": 1, "name": "chains",
     "space": {"stages": [STAGE, ...], "threads": [1, 2]},
     "continued": {"lora": "stop_at"},         # optional: pass -> parameter by which it goes on
     "evaluators": [{"name": "classification", "metrics": {"accuracy": ["fraction", "maximize"]},
                     "rungs": {"rough": 64, "full": null}},          # rung -> examples; null: all
                    {"name": "generation", "device": true, "processes": 3,
                     "metrics": {"decode_ms_p50": ["ms", "minimize"]}, "rungs": {"full": null}}],
     "noise_floor": 0.05,                                            # optional
     "problems": {"two": {"objectives": {"accuracy": "maximize", "decode_ms_p50": "minimize"},
                          "reference": {"accuracy": 0.5, "decode_ms_p50": 40},
                          "constraints": ["size_mb <= 300"], "baseline": {"recipe": []}}}}

A ``STAGE`` is ``{"pass": name, "grid": {parameter: [values]}, "optional": false}``,
``{"chain": [STAGE, ...]}`` or ``{"any": [STAGE, ...], "optional": false}``. Candidates of the space
that are not recorded are ruled out before they run, at no cost. A larger value of a `continued`
parameter goes on from a smaller one: its seconds are those of the whole pass, and the difference is
charged. ``evaluators`` with ``"device": true`` measure speeds, in ``processes`` processes each.

Every other line has a ``kind``:

- ``step``: ``{"kind": "step", "recipe": [...], "s": 61.2, "estimate_s": 50.0, "artifact": "a",
  "structure": "x"}``: the last pass of the recipe takes ``s`` seconds from its source. Optional:
  what it says beforehand, its output's digest, and what its speeds depend on (else the recipe).
- ``load``: ``{"kind": "load", "structure": "x", "s": 1.2}``: to load it and run it once. Optional.
- ``value``: ``{"kind": "value", "artifact": "a", "metric": "accuracy", "examples": 343, "value":
  0.93, "low": 0.9, "high": 0.95, "s": 8.1}``, one for each recorded number of examples. The
  value at the most examples is the true one. Without ``examples`` it is exact (a size).
- ``speed``: ``{"kind": "speed", "structure": "x", "threads": 1, "metric": "decode_ms_p50",
  "processes": [9.9, 10.1, 10.0], "within": 0.01, "s": 4.0}``: medians of processes, and half the
  interval within one, as a share. The true value is the mean of all recorded processes; a search
  draws one of them for each process that it starts.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from simulator.tables import Measured, Recipe, exact, timed

from paretune.core.candidate import Candidate, recipe_from_json
from paretune.core.jsontools import canonical, digest
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.search.jobs import EvaluatorSlot
from paretune.search.space import AnyOf, Chain, PassSlot, Space, Stage

FORMAT, VERSION = "paretune-table", 1
_WITHIN, _LOAD_S, _NOISE_FLOOR = 0.01, 1.0, 0.05


def read_table(path: Path) -> RecordedTable:
    """Read a table.

    Args:
        path: The file, or a folder that holds one ``.jsonl`` or ``.jsonl.gz`` file.

    Raises:
        SystemExit: It is not a table, or a line of it cannot be read; says which.
    """
    file = path
    if path.is_dir():
        inside = sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")])
        if len(inside) != 1:
            raise SystemExit(f"{path} holds {len(inside)} files *.jsonl or *.jsonl.gz; expected 1")
        file = inside[0]
    opened = gzip.open if file.suffix == ".gz" else open
    table: RecordedTable | None = None
    with opened(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                told = json.loads(line)
                if table is None:
                    table = RecordedTable(_header(told))
                else:
                    table.take(told)
            except (KeyError, TypeError, ValueError) as error:
                raise SystemExit(f"{file}, line {number}: {error!r}") from error
    if table is None:
        raise SystemExit(f"{file} is empty")
    return table


def _header(told: Mapping[str, Any]) -> Mapping[str, Any]:
    if told.get("format") != FORMAT or told.get("version") != VERSION:
        raise ValueError(f"expected a header with format {FORMAT!r} and version {VERSION}")
    return told


def _stage(told: Mapping[str, Any]) -> Stage:
    optional = bool(told.get("optional", False))
    if "chain" in told:
        return Chain(tuple(map(_stage, told["chain"])))
    if "any" in told:
        return AnyOf(tuple(map(_stage, told["any"])), optional)
    grid = {name: tuple(values) for name, values in told.get("grid", {}).items()}
    return PassSlot(told["pass"], grid, optional)


def _slots(told: Sequence[Mapping[str, Any]]) -> Iterator[EvaluatorSlot]:
    for index, each in enumerate(told):
        device = bool(each.get("device", False))
        specs = [MetricSpec(n, unit, way, device) for n, (unit, way) in each["metrics"].items()]
        rungs = tuple(rung for rung in Rung if rung.value in each["rungs"])
        yield EvaluatorSlot(
            index, each["name"], {}, tuple(specs), rungs, int(each.get("processes", 1))
        )


@dataclass
class RecordedTable:
    """A table that was read from a file.

    Attributes:
        header: Its first line.
    """

    header: Mapping[str, Any]
    _steps: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _load: dict[str, float] = field(default_factory=dict)
    _values: dict[tuple[str, str], list[Mapping[str, Any]]] = field(default_factory=dict)
    _speeds: dict[tuple[str, int, str], Mapping[str, Any]] = field(default_factory=dict)

    def take(self, told: Mapping[str, Any]) -> None:
        """Take a line into the table; a later line replaces an earlier one of the same thing.

        Raises:
            KeyError: A key is missing, or the kind is unknown.
        """
        kind = told["kind"]
        if kind == "step":
            float(told["s"])
            self._steps[_name(recipe_from_json(told["recipe"]))] = told
        elif kind == "load":
            self._load[str(told["structure"])] = float(told["s"])
        elif kind == "value":
            known = self._values.setdefault((str(told["artifact"]), told["metric"]), [])
            known[:] = [one for one in known if one.get("examples") != told.get("examples")]
            known.append(told)
            known.sort(key=lambda one: one.get("examples") or 0)
        elif kind == "speed":
            self._speeds[str(told["structure"]), int(told["threads"]), told["metric"]] = told
        else:
            raise KeyError(f"kind {kind!r}; expected step, load, value or speed")

    @property
    def name(self) -> str:
        """As its header says."""
        return str(self.header["name"])

    @property
    def problems(self) -> Mapping[str, Mapping[str, Any]]:
        """What is searched for on it, by name."""
        found: Mapping[str, Mapping[str, Any]] = self.header["problems"]
        return found

    @cached_property
    def space(self) -> Space:
        """What may be searched."""
        told = self.header["space"]
        stages = tuple(map(_stage, told["stages"]))
        return Space(stages, threads=tuple(told.get("threads", (1,))))

    @cached_property
    def evaluators(self) -> Sequence[EvaluatorSlot]:
        """What measures."""
        return tuple(_slots(self.header["evaluators"]))

    @property
    def noise_floor(self) -> float:
        """What two processes' medians differ by."""
        return float(self.header.get("noise_floor", _NOISE_FLOOR))

    @property
    def continued(self) -> Mapping[str, str]:
        """Pass to the parameter by which it goes on."""
        return dict(self.header.get("continued", {}))

    def distinct(self) -> Iterator[Candidate]:
        """Yield every candidate that is recorded."""
        return (candidate for candidate in self.space if self.missing(candidate) is None)

    def missing(self, candidate: Candidate) -> str | None:
        """Return why a candidate is not recorded, as far as to its last metric."""
        recipe = candidate.recipe
        for count in range(1, len(recipe) + 1):
            if _name(recipe[:count]) not in self._steps:
                return f"not recorded: {recipe[count - 1].name}"
        for slot in self.evaluators:
            for spec in slot.metrics:
                if not self._has(candidate, slot, spec.name):
                    return f"not recorded: {spec.name}"
        return None

    def _has(self, candidate: Candidate, slot: EvaluatorSlot, metric: str) -> bool:
        if slot.on_device:
            return self._speed_key(candidate, metric) in self._speeds
        return (self.artifact(candidate.recipe), metric) in self._values

    def _speed_key(self, candidate: Candidate, metric: str) -> tuple[str, int, str]:
        return self.structure(candidate.recipe), candidate.runtime.threads, metric

    def seconds(self, recipe: Recipe) -> float:
        """Return what the last pass takes."""
        return float(self._steps[_name(recipe)]["s"])

    def estimate(self, recipe: Recipe) -> float | None:
        """Return what the last pass says beforehand."""
        told = self._steps[_name(recipe)].get("estimate_s")
        return None if told is None else float(told)

    def artifact(self, recipe: Recipe) -> str:
        """Return the recorded digest, or that of the recipe."""
        told = self._steps.get(_name(recipe), {}).get("artifact")
        return digest(_name(recipe)) if told is None else str(told)

    def structure(self, recipe: Recipe) -> str:
        """Return the recorded structure, or the artifact's digest."""
        told = self._steps.get(_name(recipe), {}).get("structure")
        return self.artifact(recipe) if told is None else str(told)

    def truth(self, candidate: Candidate) -> dict[str, float]:
        """Return the mean of all processes, and the values at the most examples."""
        found = {}
        for slot in self.evaluators:
            for spec in slot.metrics:
                if slot.on_device:
                    processes = self._speeds[self._speed_key(candidate, spec.name)]["processes"]
                    found[spec.name] = sum(processes) / len(processes)
                else:
                    known = self._values[self.artifact(candidate.recipe), spec.name]
                    found[spec.name] = float(known[-1]["value"])
        return found

    def smoke_seconds(self, candidate: Candidate) -> float:
        """Return what it takes to load it and to run it once."""
        return self._load.get(self.structure(candidate.recipe), _LOAD_S)

    def measure(
        self,
        candidate: Candidate,
        slot: EvaluatorSlot,
        rung: Rung,
        examples: int | None,
        draw: random.Random,
    ) -> Measured:
        """Return one of the recorded processes, or the values at a number of examples."""
        found, seconds = list[Measurement](), 0.0
        for spec in slot.metrics:
            if slot.on_device:
                told = self._speeds[self._speed_key(candidate, spec.name)]
                value = float(draw.choice(told["processes"]))
                found.append(timed(spec.name, spec.unit, value, told.get("within", _WITHIN)))
            else:
                told = self._at(candidate, slot, rung, spec.name, examples)
                found.append(_value(spec, told))
            seconds = max(seconds, float(told.get("s", 0.0)))
        return Measured(found, seconds)

    def _at(
        self,
        candidate: Candidate,
        slot: EvaluatorSlot,
        rung: Rung,
        metric: str,
        examples: int | None,
    ) -> Mapping[str, Any]:
        """Return the recorded value at the asked number of examples, or at the next larger one."""
        known = self._values[self.artifact(candidate.recipe), metric]
        asked = examples or self.header["evaluators"][slot.index]["rungs"][rung.value]
        enough = [one for one in known if asked is not None and (one.get("examples") or 0) >= asked]
        return enough[0] if enough else known[-1]


def _name(recipe: Recipe) -> str:
    return canonical([step.to_json() for step in recipe])


def _value(spec: MetricSpec, told: Mapping[str, Any]) -> Measurement:
    value = float(told["value"])
    if told.get("examples") is None:
        return exact(spec.name, spec.unit, value)
    ends = (told.get("low"), told.get("high"))
    return Measurement(
        spec.name, value, spec.unit, *ends, int(told["examples"]), "recorded-value-1"
    )
