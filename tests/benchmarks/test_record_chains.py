"""The recorded table `own`: what is kept, what is done again, and what is read back."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from recording import plan
from recording.log import Log, claimed
from recording.timings import of_training
from recording.work import Place, build_all
from recording.writing import lines, write
from simulator.recorded import RecordedTable, read_table

from paretune.core.candidate import Step, recipe_from_json, recipe_to_json
from paretune.core.job import Job, JobResult, JobStatus
from paretune.core.model import Model, ModelKind
from paretune.data.catalog import DataCatalog

RIGHT = "1" * 40 + "0" * 60
FIRST = plan.trainings()[0]


def test_a_line_that_was_cut_off_is_passed_over_and_later_ones_are_kept(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    assert log.entries() == []
    log.add("build", "a", s=1)
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"kind": "build", "key": "b", "s"')
    log.add("build", "c", s=3)
    log.add("build", "a", s=4)
    log.add("quiet", "a", s=5)
    assert {key: one["s"] for key, one in log.by_key("build").items()} == {"a": 4, "c": 3}


def test_what_one_process_works_on_is_left_out_by_the_others(tmp_path: Path) -> None:
    x, y = tmp_path / "locks" / "x", tmp_path / "locks" / "y"
    with claimed(x) as mine, claimed(x) as other, claimed(y) as free:
        assert (mine, other, free) == (True, False, True)
    with claimed(x) as again:
        assert again


def test_the_plan_is_a_part_of_the_space_and_holds_every_value_equally_often(
    tmp_path: Path,
) -> None:
    header = {"name": "own", "space": plan.SPACE, "evaluators": plan.EVALUATORS, "problems": {}}
    in_space = {plan.name_of(one.recipe) for one in RecordedTable(header).space}
    planned = [
        plan.name_of([plan.lora(plan.trainings()[number], stop), Step("merge"), *recipe])
        for number, stop, builds in plan.units()
        for recipe in builds
    ]
    assert len(set(planned)) == len(planned) == 12 * 3 * 12
    assert set(planned) <= in_space
    for name in ("r", "learning_rate", "max_length", "target_modules"):
        values = [str(one[name]) for one in plan.trainings()]
        assert len({values.count(value) for value in values}) == 1


def _place(folder: Path) -> Place:
    return Place(folder, Model(ModelKind.HF, folder / "base", "base"), DataCatalog({}, folder))


def _trained(place: Place, stop: int, **told: Any) -> None:
    step = plan.lora(FIRST, stop)
    place.log.add(
        "training",
        plan.name_of([step]),
        recipe=recipe_to_json([step]),
        artifact=f"adapter{stop}",
        path="adapter",
        **told,
    )


class _Killed(BaseException):
    pass


class _Target:
    """Answers what a build would, until it is killed."""

    def __init__(self, until: int) -> None:
        self.built: list[str] = []
        self._until = until

    def submit(self, job: Job) -> Future[JobResult]:
        """Return the answer at once."""
        if len(self.built) == self._until:
            raise _Killed
        args: Mapping[str, Any] = cast(Any, job.task).args
        recipe = recipe_from_json(args["recipe"])
        name = plan.name_of(recipe)
        self.built.append(name)
        path = Path(args["folder"], f"{self._until}-{len(self.built)}")
        path.mkdir()
        (path / "model.onnx").touch()
        value = {
            "path": str(path),
            "artifact": f"{args['adapter']} {name}",
            "structure": f"x{len(name)} {name}",
            "size_mb": 90.0 + len(name),
            "s": [4.0 for _ in recipe],
            "right": RIGHT,
            "judged_s": 20.0,
        }
        done: Future[JobResult] = Future()
        done.set_result(JobResult(JobStatus.OK, value, seconds=30.0))
        return done


def test_a_kill_loses_the_build_at_hand_and_no_other(tmp_path: Path) -> None:
    place = _place(tmp_path)
    _trained(place, 48, s=50.0, resumed=0.5)
    first, second = _Target(5), _Target(100)
    with pytest.raises(_Killed):
        build_all(place, cast(Any, first), float("inf"))
    build_all(place, cast(Any, second), float("inf"))
    assert (len(first.built), len(second.built)) == (5, 7)
    assert not set(first.built) & set(second.built)
    assert not (tmp_path / "builds0-48").exists()
    build_all(place, cast(Any, _Target(0)), float("inf"))  # nothing is left


def test_no_build_begins_after_the_time(tmp_path: Path) -> None:
    place = _place(tmp_path)
    _trained(place, 48, s=50.0, resumed=0.5)
    build_all(place, cast(Any, _Target(0)), deadline=0.0)
    assert place.log.by_key("build") == {}


@pytest.fixture
def recorded(tmp_path: Path) -> Place:
    """Everything of one training, and each speed once."""
    place = _place(tmp_path)
    for stop, resumed in ((12, 0.0), (24, 0.5), (48, 0.5)):
        _trained(place, stop, s=30.0, resumed=resumed)
    build_all(place, cast(Any, _Target(100)), float("inf"))
    for told in place.log.by_key("build").values():
        for threads in plan.THREADS:
            metrics = {name: [8.0 / threads, 7.8, 8.2] for name in ("decode_ms_p50", "ttft_ms_p50")}
            name = plan.name_of(recipe_from_json(told["recipe"])[2:])
            place.log.add(
                "provisional",
                f"speed 0 {threads} {name}",
                s=3.0,
                metrics=metrics,
                structure=told["structure"],
                threads=threads,
            )
    return place


def _written(place: Place, pairs: Any = None) -> RecordedTable:
    path = place.folder / "table.jsonl.gz"
    write(path, lines(place.log, {plan.name_of([plan.lora(FIRST, 12)]): 33.0}, pairs))
    return read_table(path)


def test_a_table_is_read_back_with_what_is_provisional(recorded: Place) -> None:
    table = _written(recorded, [{"ratio": 1.01}])
    assert len(list(table.distinct())) == 2 * 3 * 12
    assert table.space.size == 2 * 3 * 12  # of the one training that is recorded
    assert table.header["provisional"] == ["builds", "judge", "speed", "trainings"]
    assert table.header["pairs"] == [{"ratio": 1.01}]
    recipe = (plan.lora(FIRST, 24), Step("merge"), *plan.builds()[0])
    assert table.seconds(recipe[:1]) == 60.0  # it went on from the first checkpoint
    assert table.estimate((plan.lora(FIRST, 12),)) == 33.0
    assert table.seconds(recipe) == 4.0
    found = next(one for one in table.distinct() if one.recipe == recipe)
    truth = table.truth(found)
    assert truth["accuracy"] == 0.4
    assert truth["decode_ms_p50"] == 8.0 / found.runtime.threads
    other = plan.lora(plan.trainings()[1], 12)
    assert table.missing(replace(found, recipe=(other, *recipe[1:]))) is not None


def test_quiet_figures_take_the_place_of_those_under_load(recorded: Place) -> None:
    log = recorded.log
    log.add("quiet", of_training(FIRST), s=[4.0, 9.0])
    for recipe in plan.builds():
        for number in range(2):
            took = [None] * len(recipe) if number else [1.0] * len(recipe)
            log.add("quiet", f"{number} {plan.name_of(recipe)}", s=[1.5, *took])
    table = _written(recorded)
    assert table.seconds((plan.lora(FIRST, 12),)) == pytest.approx(4.0 + 10 * 0.5)
    assert table.seconds((plan.lora(FIRST, 48), Step("merge"))) == 1.5
    assert table.header["provisional"] == ["judge", "speed"]


def test_equal_tables_are_equal_files(recorded: Place) -> None:
    paths = [recorded.folder / name for name in ("a.gz", "b.gz")]
    for path in paths:
        write(path, lines(recorded.log, {}, None))
    assert paths[0].read_bytes() == paths[1].read_bytes()
