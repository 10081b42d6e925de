"""The part of recording that needs a quiet machine: seconds of steps, speeds of structures.

Neither depends on the values of weights, so that each is timed for one training's builds and holds
for all. Seconds of a training are those of its start, and of a step: 2 steps are timed, and then 12
more from their checkpoint, which starts again, for each combination of rank, longest example and
target modules (the learning rate does not matter); 10 steps are what the second took longer.
Builds are timed twice. Judging is timed on two numbers of examples, which gives the time to load
and that of an example.

Speeds are measured in rounds: in each, every build runs once with each number of threads, in random
order, each time in a new process.

What was timed while other work ran is marked, and not used where there is a quiet figure.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recording import plan
from recording.work import Place, build_in_store, call, run

from paretune.core.candidate import RuntimeSettings, Step, recipe_to_json
from paretune.core.job import Measure, Smoke
from paretune.core.measurement import by_metric
from paretune.models.handle import open_model
from paretune.runtimes.package import lay_out
from paretune.targets.launchers.local import LocalTarget

SHORT, MORE = 2, 14
"""Steps that are timed: from the beginning, and from the checkpoint there up to this one."""
REPEATS = 2
JUDGED = (8, 56)
"""Examples on which judging is timed."""
CONFIGURATION = ("r", "max_length", "target_modules")
"""What the seconds of a training depend on."""


def of_training(training: Mapping[str, Any]) -> str:
    """Return the name of what a training's seconds depend on."""
    return plan.name_of([Step("lora", {name: training[name] for name in CONFIGURATION})])


class Timings:
    """Times what is not timed yet.

    Args:
        place: Where recording happens; one training must be recorded up to its end.
        target: Runs the jobs.
        deadline: Begin nothing after this (`time.monotonic`).
        quiet: Whether nothing else runs on the machine.
        rounds: Processes for each speed.
    """

    def __init__(
        self, place: Place, target: LocalTarget, deadline: float, *, quiet: bool, rounds: int
    ) -> None:
        self._place = place
        self._target = target
        self._deadline = deadline
        self._kind = "quiet" if quiet else "provisional"
        self._rounds = rounds
        self._folder = place.folder / f"timed-{self._kind}"

    def run(self) -> None:
        """Time everything; what is recorded is not timed again."""
        trained = self._place.log.by_key("training")
        whole = [plan.name_of([plan.lora(one, plan.STEPS)]) for one in plan.trainings()]
        found = next((trained[key]["path"] for key in whole if key in trained), None)
        if found is None:
            raise SystemExit("record a training first: --part trainings")
        adapter = str(self._place.folder / found)
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._kind == "quiet":  # else what `work.py` recorded under load is as good
            self._trainings()
            for repeat in range(REPEATS):
                self._builds(adapter, repeat)
        self._runs(adapter)
        if time.monotonic() < self._deadline:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _todo(self, *keys: str) -> Iterator[str]:
        """Yield what is not recorded, while there is time."""
        known = self._place.log.by_key(self._kind)
        for key in keys:
            if key not in known and time.monotonic() < self._deadline:
                yield key

    def _trainings(self) -> None:
        by_name = {of_training(one): one for one in plan.trainings()}
        for key in self._todo(*by_name):
            store = self._folder / "store"
            shutil.rmtree(store, ignore_errors=True)
            seconds = []
            for stop in (SHORT, MORE):
                step = plan.lora(by_name[key], stop)
                made = build_in_store(self._place, self._target, step, store, (SHORT, MORE))
                seconds.append(made.steps[0].s)
            self._add(key, s=seconds)

    def _builds(self, adapter: str, repeat: int) -> None:
        keys = {f"{repeat} {plan.name_of(recipe)}": recipe for recipe in plan.builds()}
        if repeat < REPEATS - 1 and list(self._todo(*keys)) == []:
            return
        folder = self._folder / f"builds{repeat}"
        for key in self._todo(*keys):
            found = self._build(adapter, keys[key], folder)
            self._add(key, s=found["s"])
        if repeat < REPEATS - 1:
            shutil.rmtree(folder, ignore_errors=True)

    def _build(self, adapter: str, recipe: tuple[Step, ...], folder: Path) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        asked = {
            "adapter": adapter,
            "base": str(self._place.base.path),
            "recipe": recipe_to_json([Step("merge"), *recipe]),
            "folder": str(folder),
        }
        found: dict[str, Any] = call(self._place, self._target, "build", **asked)[0]
        return found

    def _runs(self, adapter: str) -> None:
        """Time loading, judging and generating; the builds of the last repeat are still there."""
        recipes = {plan.name_of(recipe): recipe for recipe in plan.builds()}
        keys = [f"load {n}" for n in recipes]
        if self._kind == "quiet":
            keys += [f"judge {count} {name}" for count in JUDGED for name in recipes]
        rounds: list[str] = []
        draw = random.Random(0)
        for number in range(self._rounds):
            some = [f"speed {number} {t} {n}" for t in plan.THREADS for n in recipes]
            rounds += draw.sample(some, len(some))
        built: dict[str, dict[str, Any]] = {}
        for key in self._todo(*keys, *rounds):
            name = key[key.index("[") :]
            if name not in built:
                folder = self._folder / f"builds{REPEATS - 1}"
                built[name] = self._build(adapter, recipes[name], folder)
            self._one(key.split(), built[name], key)

    def _one(self, words: list[str], built: Mapping[str, Any], key: str) -> None:
        threads = int(words[2]) if words[0] == "speed" else max(plan.THREADS)
        runtime = RuntimeSettings("cpu", threads)
        package = Path(built["path"]).with_name("package")
        shutil.rmtree(package, ignore_errors=True)
        model = lay_out(open_model(Path(built["path"])), runtime, package, link=True)
        told = {"structure": built["structure"], "threads": threads}
        log, data = self._place.folder / "worker.log", self._place.data.to_json()
        if words[0] == "load":
            _, seconds = run(self._target, Smoke(model=model, runtime=runtime), log)
            self._add(key, s=seconds, **told)
            return
        name = "classification" if words[0] == "judge" else "generation"
        task = Measure(
            model=model,
            runtime=runtime,
            evaluator=name,
            params={"data": "tone.test"} if name == "classification" else plan.GENERATION,
            examples=int(words[1]) if name == "classification" else None,
            data=data,
        )
        values, seconds = run(self._target, task, log)
        measured = by_metric(values)
        if name == "classification":
            self._add(key, s=seconds, examples=int(words[1]), **told)
            return
        metrics = {
            metric: [measured[metric].value, measured[metric].low, measured[metric].high]
            for metric in plan.EVALUATORS[1]["metrics"]
        }
        self._add(key, s=seconds, metrics=metrics, **told)

    def _add(self, key: str, **told: Any) -> None:
        self._place.log.add(self._kind, key, **told)
        print(self._kind, key[:100], told["s"], flush=True)
