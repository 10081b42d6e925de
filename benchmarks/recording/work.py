"""What is recorded whatever else the machine does: trainings, builds, sizes, accuracies."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import ROOT, public_data
from recording import plan
from recording.log import Log, claimed

from paretune.core.candidate import Step, recipe_to_json
from paretune.core.job import Build, Call, Job, JobStatus, Limits
from paretune.core.model import Model
from paretune.data.catalog import DataCatalog, DataSpec
from paretune.models.handle import open_model
from paretune.store.artifacts import Store
from paretune.targets.launchers.local import LocalTarget


@dataclass(frozen=True)
class Place:
    """Where recording happens.

    Attributes:
        folder: The log, the adapters, and builds until they are measured.
        base: The model that is tuned.
        data: The data sets.
    """

    folder: Path
    base: Model
    data: DataCatalog

    @property
    def log(self) -> Log:
        """What is recorded so far."""
        return Log(self.folder / "log.jsonl")

    @property
    def store(self) -> Store:
        """Adapters and checkpoints."""
        return Store(self.folder / "trained")


def make_place(folder: Path) -> Place:
    """Return the place of the real recording.

    Raises:
        SystemExit: The model or the data are not there.
    """
    model = ROOT / ".models" / "smollm2"
    if not (model / "config.json").is_file():
        raise SystemExit("SmolLM2 is not prepared: run `make demo`")
    file = public_data("phrase-tone") / "dataset-classification.json"
    spec = DataSpec.model_validate({"file": str(file), **plan.DATA})
    return Place(folder, open_model(model), DataCatalog({"tone": spec}, Path.cwd()))


def run(target: LocalTarget, task: Any, log: Path) -> tuple[Any, float]:
    """Return what a job found, and its seconds.

    Raises:
        SystemExit: It failed.
    """
    result = target.submit(Job(task, Limits(seconds=1800.0), log=log)).result()
    if result.status is not JobStatus.OK:
        raise SystemExit(f"{task.name}: {result.status}: {result.reason}")
    return result.value, result.seconds


def train(place: Place, target: LocalTarget, deadline: float, first: int | None = None) -> None:
    """Run the trainings that are not recorded, each up to each of its stops."""
    for number, training in enumerate(plan.trainings()[:first]):
        with claimed(place.folder / "locks" / f"training{number}") as mine:
            for stop in plan.STOPS if mine else ():
                step = plan.lora(training, stop)
                key = plan.name_of([step])
                if key in place.log.by_key("training"):
                    continue
                if time.monotonic() > deadline:
                    return
                trained = build_in_store(place, target, step, place.store.root, plan.STOPS)
                cost = trained.steps[0]
                place.log.add(
                    "training",
                    key,
                    recipe=recipe_to_json([step]),
                    artifact=trained.model.digest,
                    path=str(trained.model.path.relative_to(place.folder)),
                    s=cost.s,
                    resumed=cost.resumed,
                )
                print(f"training {number} to step {stop}: {cost.s:.1f} s", flush=True)


def build_in_store(
    place: Place, target: LocalTarget, step: Step, store: Path, stops: Sequence[float]
) -> Any:
    """Run a training as a search does: from its checkpoints in the store."""
    task = Build(
        model=place.base,
        recipe=(step,),
        provider="cpu",
        store=store,
        data=place.data.to_json(),
        stops={"lora": tuple(stops)},
    )
    return run(target, task, place.folder / "worker.log")[0]


def call(place: Place, target: LocalTarget, function: str, **args: Any) -> tuple[Any, float]:
    """Call a function of `recording.jobs` in a process of its own."""
    return run(target, Call(f"recording.jobs:{function}", args), place.folder / "worker.log")


def build_all(place: Place, target: LocalTarget, deadline: float, first: int | None = None) -> None:
    """Build and judge what is not recorded of the trainings that are."""
    for number, stop, builds in plan.units(first):
        with claimed(place.folder / "locks" / f"builds{number}-{stop}") as mine:
            trained = place.log.by_key("training")
            adapter = trained.get(plan.name_of([plan.lora(plan.trainings()[number], stop)]))
            if not mine or adapter is None:
                continue
            folder = place.folder / f"builds{number}-{stop}"
            for recipe in builds:
                if not _build(place, target, adapter, recipe, folder, deadline):
                    return
            shutil.rmtree(folder, ignore_errors=True)


def _build(
    place: Place,
    target: LocalTarget,
    adapter: Mapping[str, Any],
    recipe: tuple[Step, ...],
    folder: Path,
    deadline: float,
) -> bool:
    """Record one build, if it is not; False: the time is over."""
    passes = recipe_to_json([Step("merge"), *recipe])
    key = plan.name_of([*map(Step.from_json, adapter["recipe"]), Step("merge"), *recipe])
    if key in place.log.by_key("build"):
        return True
    if time.monotonic() > deadline:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    found, seconds = call(
        place,
        target,
        "build_and_judge",
        adapter=str(place.folder / adapter["path"]),
        base=str(place.base.path),
        recipe=passes,
        folder=str(folder),
        data=place.data.to_json(),
    )
    path = found.pop("path")
    if not any(recipe == other[: len(recipe)] != other for other in plan.builds()):
        shutil.rmtree(path)
    place.log.add("build", key, recipe=[*adapter["recipe"], *passes], **found)
    share = found["right"].count("1") / len(found["right"])
    print(f"{folder.name} {recipe[-1]}: {share:.3f}, {seconds:.1f} s", flush=True)
    return True
