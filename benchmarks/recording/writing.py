"""From the log to the table, in the format of `simulator/recorded.py`."""

from __future__ import annotations

import gzip
import io
import json
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from recording import plan
from recording.log import Log
from recording.timings import JUDGED, MORE, SHORT, of_training
from simulator.recorded import FORMAT, VERSION

from paretune.core.candidate import Step, recipe_from_json
from paretune.stats.intervals import wilson

Estimates = Mapping[str, float | None]
"""By the name of a recipe what its last pass says beforehand, in seconds."""


class Seconds:
    """What steps and runs take: by quiet figures where there are some, else by those under load.

    Args:
        log: What is recorded.

    Attributes:
        provisional: Of what a figure under load had to be used.
    """

    def __init__(self, log: Log) -> None:
        self.provisional: set[str] = set()
        self._kinds = {kind: log.by_key(kind) for kind in ("quiet", "provisional")}
        self._trained = log.by_key("training")
        self._built = log.by_key("build")

    def _timed(self, what: str, quiet: Any, loaded: Any) -> Any:
        if quiet is None:
            self.provisional.add(what)
            return loaded
        return quiet

    def training(self, step: Step) -> float:
        """Return the seconds of a training up to its stop, from its beginning."""
        training, stop = dict(step.params), int(step.params["stop_at"])
        told = self._kinds["quiet"].get(of_training(training))
        quiet = None
        if told is not None:
            a_step = (told["s"][1] - told["s"][0]) / (MORE - 2 * SHORT)
            quiet = told["s"][0] + (stop - SHORT) * a_step
        loaded = 0.0
        for earlier in plan.STOPS:
            known = self._trained.get(plan.name_of([plan.lora(training, earlier)]))
            if earlier <= stop and known is not None:
                loaded = known["s"] + (loaded if known["resumed"] else 0.0)
        return float(self._timed("trainings", quiet, loaded))

    @cached_property
    def _builds(self) -> dict[str, dict[str, float]]:
        """By kind, and by what follows the training, the mean seconds of its last step."""
        found: dict[str, dict[str, list[float]]] = {
            kind: defaultdict(list) for kind in (*self._kinds, "recorded")
        }

        def take(kind: str, recipe: Sequence[Step], seconds: Sequence[float | None]) -> None:
            for count, s in enumerate(seconds, start=1):
                if s is not None:
                    found[kind][plan.name_of(recipe[:count])].append(s)

        for kind, entries in self._kinds.items():
            for recipe in plan.builds():
                for key, told in entries.items():
                    number, _, name = key.partition(" ")
                    if number.isdigit() and name == plan.name_of(recipe):
                        take(kind, (Step("merge"), *recipe), told["s"])
        for told in self._built.values():
            take("recorded", recipe_from_json(told["recipe"])[1:], told["s"])
        return {kind: {n: statistics.fmean(s) for n, s in of.items()} for kind, of in found.items()}

    def build(self, recipe: Sequence[Step]) -> float:
        """Return the seconds of the last step of what follows a training."""
        name = plan.name_of(recipe)
        known = self._builds
        loaded = known["recorded"].get(name, known["provisional"].get(name))
        if loaded is None and name not in known["quiet"]:
            raise SystemExit(f"no seconds of {name} are recorded: --part timings")
        return float(self._timed("builds", known["quiet"].get(name), loaded))

    def of_structure(self, word: str) -> dict[str, list[Mapping[str, Any]]]:
        """Return what was timed of each structure: ``load``, ``judge`` or ``speed``.

        With one number of threads all of it is quiet, or all of it is not.
        """
        taken: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
        for kind in ("provisional", "quiet"):
            here: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
            for key, told in self._kinds[kind].items():
                if key.split()[0] == word:
                    here[told["structure"], told["threads"]].append({**told, "kind": kind})
            taken |= here
        found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for (structure, _), runs in taken.items():
            found[structure] += runs
            if runs[0]["kind"] == "provisional":
                self.provisional.add(word)
        return found


def lines(
    log: Log, estimates: Estimates, pairs: Any, device: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the header and the lines of the table.

    Args:
        log: What is recorded.
        estimates: What passes say beforehand.
        pairs: The summary of `structure_pairs.py`; None: it was not run.
        device: Where it was recorded.
    """
    seconds = Seconds(log)
    body = [*_steps(log, seconds, estimates), *_values(log, seconds), *_speeds(seconds)]
    trained, built = log.by_key("training"), log.by_key("build")
    yield {
        "format": FORMAT,
        "version": VERSION,
        "name": "own",
        "about": "SmolLM2-135M tuned on phrase-tone (500 rows, 100 of them held out), recorded by "
        "benchmarks/record_chains.py",
        "seconds": "A training: its start and the mean of 12 steps, times its steps. A build: the "
        "mean of two. Judging: the time to load and that of an example. Both by structure.",
        "device": device,
        "provisional": sorted(seconds.provisional),
        "recorded": {"trainings up to a stop": len(trained), "builds": len(built)},
        "space": space_of(built),
        "continued": {"lora": "stop_at"},
        "evaluators": list(plan.EVALUATORS),
        "problems": {},
        "pairs": pairs,
    }
    yield from body


def space_of(built: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the part of the plan's space whose trainings are recorded.

    Half of the combinations are not in the plan. A search that had to find out which ones would
    spend most of its requests on that: each training is an alternative, with the stops of which
    something is built.

    Args:
        built: The builds that are recorded.
    """
    stops: dict[str, tuple[dict[str, Any], set[int]]] = {}
    for told in built.values():
        params = dict(told["recipe"][0]["params"])
        stop = params.pop("stop_at")
        stops.setdefault(json.dumps(params), (params, set()))[1].add(stop)
    trainings = [
        {
            "pass": "lora",
            "grid": {**{k: [v] for k, v in params.items()}, "stop_at": sorted(some)},
        }
        for params, some in stops.values()
    ]
    return {**plan.SPACE, "stages": [{"any": trainings}, *plan.SPACE["stages"][1:]]}


def _steps(log: Log, seconds: Seconds, estimates: Estimates) -> Iterator[dict[str, Any]]:
    def line(recipe: Sequence[Step], s: float, **more: Any) -> dict[str, Any]:
        told = [step.to_json() for step in recipe]
        estimate = estimates.get(plan.name_of(recipe))
        return {"kind": "step", "recipe": told, "s": s, "estimate_s": estimate, **more}

    for told in log.by_key("training").values():
        recipe = recipe_from_json(told["recipe"])
        yield line(recipe, seconds.training(recipe[0]), artifact=told["artifact"])
    built = log.by_key("build")
    written = set(built)
    for told in built.values():
        recipe = recipe_from_json(told["recipe"])
        for count in range(2, len(recipe)):
            name = plan.name_of(recipe[:count])
            if name not in written:
                written.add(name)
                yield line(recipe[:count], seconds.build(recipe[1:count]))
        more = {"artifact": told["artifact"], "structure": told["structure"]}
        yield line(recipe, seconds.build(recipe[1:]), **more)


def _values(log: Log, seconds: Seconds) -> Iterator[dict[str, Any]]:
    judged = seconds.of_structure("judge")
    for told in log.by_key("build").values():
        right, artifact = told["right"], told["artifact"]
        yield {
            "kind": "value",
            "artifact": artifact,
            "metric": "size_mb",
            "value": round(told["size_mb"], 6),
        }
        known = {one["examples"]: one["s"] for one in judged.get(told["structure"], ())}
        each, load = told["judged_s"] / len(right), 0.0
        if all(count in known for count in JUDGED):
            few, many = JUDGED
            each = max(0.0, known[many] - known[few]) / (many - few)
            load = max(0.0, known[few] - few * each)
        else:
            seconds.provisional.add("judge")
        for count in (*(c for c in plan.COUNTS if c < len(right)), len(right)):
            hits = right[:count].count("1")
            low, high = wilson(hits, count)
            yield {
                "kind": "value",
                "artifact": artifact,
                "metric": "accuracy",
                "examples": count,
                "value": hits / count,
                "low": round(low, 5),
                "high": round(high, 5),
                "s": round(load + count * each, 3),
            }


def _speeds(seconds: Seconds) -> Iterator[dict[str, Any]]:
    for structure, loads in sorted(seconds.of_structure("load").items()):
        s = statistics.fmean(one["s"] for one in loads)
        yield {"kind": "load", "structure": structure, "s": round(s, 3)}
    for structure, runs in sorted(seconds.of_structure("speed").items()):
        for threads in plan.THREADS:
            here = [one for one in runs if one["threads"] == threads]
            for metric in plan.EVALUATORS[1]["metrics"] if here else ():
                known = [one["metrics"][metric] for one in here]
                within = [(high - low) / 2 / v for v, low, high in known if low is not None]
                yield {
                    "kind": "speed",
                    "structure": structure,
                    "threads": threads,
                    "metric": metric,
                    "processes": [round(value, 5) for value, _, _ in known],
                    "within": round(statistics.fmean(within), 5) if within else 0.01,
                    "s": round(statistics.fmean(one["s"] for one in here), 3),
                }


def write(path: Path, table: Iterable[Mapping[str, Any]]) -> None:
    """Write a table; equal ones are equal files, and it appears whole or not at all."""
    text = "".join(json.dumps(line) + "\n" for line in table).encode()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as file:
        file.write(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(packed.getvalue())
    os.replace(part, path)
