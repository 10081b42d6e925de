"""The real engine over a small table in virtual time: what is paid, kept and scored."""

from __future__ import annotations

import csv
import gzip
import itertools
from pathlib import Path

import pytest
from simulator.cells import OPERATIONS, CellsTable, read_cells
from simulator.hypervolume import hypervolume, np
from simulator.problem import Problem, make_problem, narrowed
from simulator.searching import Simulation
from simulator.virtual import VirtualStore

from paretune.core.candidate import Candidate, Step
from paretune.core.result import OutcomeKind
from paretune.search.jobs import Resumes

DEVICES = ("raspi4", "2080ti_1", "titanx_256")
TWO = {
    "objectives": {"accuracy": "maximize", "latency_ms_p50": "minimize"},
    "reference": {"accuracy": 0.4, "latency_ms_p50": "q90"},
}


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of every cell, in the recorded form: half the rows have two seeds only."""
    path = tmp_path_factory.mktemp("cells") / "cells.csv.gz"
    seeds = [f"cifar{n}_val_acc_{seed}" for n in (10, 100) for seed in range(3)]
    head = [f"op{i}" for i in range(6)] + [*seeds[:3], "cifar10_train_s", *seeds[3:]]
    head += ["cifar100_train_s", "model_size_mb", *(f"ms_{device}" for device in DEVICES)]
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        few = itertools.product(OPERATIONS, OPERATIONS[:3], OPERATIONS[:2])
        for number, ops in enumerate((*some, *OPERATIONS[:1] * 3) for some in few):
            work = sum(map(OPERATIONS.index, ops))
            accuracies = [50 + work + 0.1 * seed for seed in range(2 + number % 2)]
            row = [*ops, *accuracies, 9.0, *accuracies, 100.0 * (1 + work), 0.1 * (1 + work)]
            writer.writerow([*row, *(1.0 + work + place for place in range(len(DEVICES)))])
    return path


def recipe(seeds: int, precision: str = "fp32") -> tuple[Step, ...]:
    ops = {f"op{i}": OPERATIONS[0] for i in range(6)}
    return (Step("train", {**ops, "seeds": seeds}), Step("quantize", {"precision": precision}))


def test_a_row_with_two_seeds_is_not_read_shifted(cells: Path) -> None:
    found = read_cells(cells)
    assert {len(cell.accuracies) for cell in found.values()} == {2, 3}
    for cell in found.values():
        assert cell.ms["raspi4"] == pytest.approx(10 * cell.size_mb)
        assert cell.train_s == pytest.approx(1000 * cell.size_mb)


def test_quantization_is_modelled_as_the_source_says(cells: Path) -> None:
    table = CellsTable(cells, "titanx_256")
    whole, int8, int4 = (table.truth(Candidate(recipe(3, p))) for p in ("fp32", "int8", "int4"))
    loss = whole["accuracy"] - int8["accuracy"]
    assert 0.002 <= loss <= 0.017
    assert whole["accuracy"] - int4["accuracy"] == pytest.approx(4 * loss)
    assert int8["latency_ms_p50"] == pytest.approx(0.6 * whole["latency_ms_p50"])
    assert int4["latency_ms_p50"] == pytest.approx(0.7 * whole["latency_ms_p50"])


def test_a_training_goes_on_from_the_shorter_one(cells: Path) -> None:
    table = CellsTable(cells, "raspi4")
    store = VirtualStore(table)
    taken = [[(s.step, s.s, s.cached) for s in store.build(recipe(seeds))] for seeds in (1, 3, 3)]
    assert taken[0] == [("train", 100.0, False), ("quantize", 60.0, False)]
    assert taken[1] == [("train", 200.0, False), ("quantize", 60.0, False)]
    assert taken[2] == [("train", 200.0, True), ("quantize", 60.0, True)]
    alone = VirtualStore(table, shared=False)
    for _ in range(2):
        assert [s.s for s in alone.build(recipe(3))] == [300.0, 60.0]


def test_hypervolume_is_exact() -> None:
    points = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [3.0, 3.0], [9.0, 0.0]])
    assert hypervolume(points, (4.0, 4.0)) == pytest.approx(3 + 2 + 1)
    boxes = np.array([[1.0, 1.0, 3.0], [3.0, 3.0, 1.0], [2.0, 2.0, 2.0]])
    inside = sum(
        any(all(c >= p for c, p in zip(cell, box, strict=True)) for box in boxes)
        for cell in itertools.product((1, 2, 3), repeat=3)
    )
    assert hypervolume(boxes, (4.0, 4.0, 4.0)) == pytest.approx(inside)


@pytest.fixture(scope="session")
def problem(cells: Path) -> Problem:
    return make_problem("two", CellsTable(cells, "raspi4"), TWO)


def test_the_exhaustive_front_is_worth_everything(problem: Problem) -> None:
    assert problem.volume(problem.front) == pytest.approx(1)
    assert problem.volume(problem.front[:1]) < 1


@pytest.mark.parametrize("strategy", ["random", "nsga2"])
def test_the_time_of_a_search_is_what_its_trials_cost(problem: Problem, strategy: str) -> None:
    simulation = Simulation(problem, strategy, seed=1, asks=12, stop_at=None)
    curve = simulation.run()
    outcomes = simulation.recorder.outcomes
    assert curve.asks == 12 == len(outcomes)
    assert curve.end_s == pytest.approx(sum(o.spent_s for o in outcomes))
    assert curve.times == sorted(curve.times)
    assert curve.end_s > 12 * 160  # nobody waited for it
    again = Simulation(problem, strategy, seed=1, asks=12, stop_at=None).run()
    assert (again.times, again.volumes) == (curve.times, curve.volumes)


def test_a_job_that_reaches_the_deadline_is_stopped(problem: Problem) -> None:
    simulation = Simulation(problem, "random", seed=1, time_s=3000.0, stop_at=None)
    curve = simulation.run()
    assert curve.end_s <= 3000.0 + 1e-6
    assert simulation.recorder.outcomes
    assert simulation.recorder.spent() <= 3000.0 + 1e-6


def test_a_search_ends_when_it_has_the_front(problem: Problem) -> None:
    curve = Simulation(problem, "random", seed=1, asks=1000, stop_at=0.5).run()
    assert curve.volumes[-1] >= 0.5
    assert max(curve.volumes[:-1], default=0) < 0.5


def test_values_that_the_search_sees_are_noisy_and_repeatable(problem: Problem) -> None:
    simulation = Simulation(problem, "random", seed=1, asks=5, stop_at=None)
    simulation.run()
    for outcome in simulation.recorder.outcomes:
        if outcome.kind is OutcomeKind.OK:
            truth = problem.table.truth(outcome.candidate)
            seen = outcome.value("latency_ms_p50")
            assert seen != truth["latency_ms_p50"]
            assert seen == pytest.approx(truth["latency_ms_p50"], rel=0.1)


def test_the_finalists_are_measured_again_in_virtual_time(problem: Problem) -> None:
    simulation = Simulation(problem, "random", seed=1, asks=10, finals_s=300.0, stop_at=None)
    before = Simulation(problem, "random", seed=1, asks=10, stop_at=None).run().end_s
    curve = simulation.run()
    again = [o for o in simulation.recorder.outcomes if o.seconds[-1].step == "finals"]
    assert again
    assert before < curve.end_s < before + 600.0


def test_one_value_of_a_parameter_can_be_fixed(problem: Problem) -> None:
    less = narrowed(problem, {"train.seeds": 1})
    assert 3 * less.space.size == problem.space.size
    assert less.whole == problem.whole
    simulation = Simulation(less, "random", seed=1, asks=8, stop_at=None)
    simulation.run()
    outcomes = simulation.recorder.outcomes
    assert {o.candidate.recipe[0].params["seeds"] for o in outcomes} == {1}


def test_a_training_that_goes_on_says_which_share_of_it_is_done(problem: Problem) -> None:
    simulation = Simulation(problem, "random", seed=1)
    longer, jobs = Candidate(recipe(3)), simulation.engine.job_factory
    assert isinstance(jobs, Resumes)
    assert jobs.resumed_share(longer) == 0
    simulation.store.build(recipe(1))
    assert jobs.resumed_share(longer) == pytest.approx(1 / 3)
    assert jobs.run_of(longer.recipe[:1]) == jobs.run_of(recipe(1)[:1])
    assert simulation.store.build(recipe(3))[0].resumed == pytest.approx(1 / 3)
    assert jobs.resumed_share(Candidate(recipe(3, "int8"))) == 0
