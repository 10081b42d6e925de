"""What a search's own process costs a candidate as a study grows: python benchmarks/growth.py.

    python benchmarks/growth.py [--candidates 1000] [--strategy exhaustive]

Candidates that cost nothing go through the real engine, study, results.json and study.db; only the
jobs are answered at once, without processes, by made-up figures: every candidate is feasible, none
surely beats another (the worst case: each look asks all of them), 400 examples and three processes
each. Reported by tenth of the study: wall and processor milliseconds of a candidate, those of the
strategy's ask, the memory that the process holds, the bytes of results.json; and how long it takes
to open the study again.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "plugins"), str(ROOT / "benchmarks")]

from common import save, table  # noqa: E402
from fake_study import write_fake_study  # noqa: E402

from paretune import api  # noqa: E402
from paretune.api import PreparedSearch, Search  # noqa: E402
from paretune.config import load  # noqa: E402
from paretune.core.candidate import Candidate, RuntimeSettings  # noqa: E402
from paretune.core.job import BuildResult, Call, Job, JobResult, JobStatus  # noqa: E402
from paretune.core.jsontools import digest  # noqa: E402
from paretune.core.measurement import Measurement, MetricSpec, Rung  # noqa: E402
from paretune.core.model import Model, ModelKind  # noqa: E402
from paretune.core.result import StepTime  # noqa: E402
from paretune.display.live import make_display  # noqa: E402
from paretune.search.jobs import EvaluatorSlot  # noqa: E402
from paretune.store.artifacts import Store  # noqa: E402
from paretune.study.folder import Study  # noqa: E402
from paretune.study.job_factory import StudyJobFactory  # noqa: E402
from paretune.targets.launchers.local import LocalTarget  # noqa: E402

_EXAMPLES, _ROUGH, _SAMPLES = 400, 48, 100
_ACCURACY = MetricSpec("accuracy", "fraction", "maximize", False)
_SPEEDS = (
    MetricSpec("decode_ms_p50", "ms", "minimize", True),
    MetricSpec("decode_ms_p95", "ms", "minimize", True),
)
SLOTS = (
    EvaluatorSlot(0, "classification", {}, (_ACCURACY,), (Rung.ROUGH, Rung.FULL)),
    EvaluatorSlot(1, "generation", {}, _SPEEDS, (Rung.ROUGH, Rung.FULL), 3),
)


class Bench(StudyJobFactory):
    """Jobs that carry the candidate, and no folder."""

    built: dict[str, Candidate]

    @classmethod
    def of(cls, prepared: PreparedSearch) -> Bench:
        """Return one for a setting."""
        made = cls(prepared.model, prepared.store, prepared.catalog.to_json())
        made.built = {}
        return made

    def build(self, candidate: Candidate) -> Job:
        """Return a job that names the candidate."""
        self.built = {candidate.digest: candidate}
        return Job(Call("build", {"digest": candidate.digest}))

    def is_intact(self, built: Model, *, fresh: bool) -> bool:
        """Return that all is well."""
        return True

    @contextmanager
    def packaged(self, built: Model, runtime: RuntimeSettings) -> Iterator[Model]:
        """Yield what was built."""
        yield built

    def smoke(self, package: Model, runtime: RuntimeSettings) -> Job:
        """Return a job that does nothing."""
        return Job(Call("smoke"))

    def measure(
        self,
        package: Model,
        runtime: RuntimeSettings,
        slot: EvaluatorSlot,
        rung: Rung,
        previous: Mapping[str, Measurement],
        *rest: Any,
        **more: Any,
    ) -> Job:
        """Return a job that names the candidate, the evaluator and how much is measured."""
        args = {
            "digest": package.digest,
            "evaluator": slot.name,
            "rung": rung,
            "examples": more.get("examples"),
        }
        return Job(Call("measure", args))


class Instant(LocalTarget):
    """Answers at once, from the candidate's digest."""

    def submit(self, job: Job) -> Future[JobResult]:
        """Answer at once."""
        future: Future[JobResult] = Future()
        future.set_result(JobResult(JobStatus.OK, self._value(job)))
        return future

    def _value(self, job: Job) -> Any:
        assert isinstance(job.task, Call)
        args = job.task.args
        if job.task.function == "build":
            model = Model(ModelKind.HF, Path("x"), args["digest"])
            return BuildResult(model, (StepTime("noop", 0.0, False),))
        if job.task.function == "smoke":
            return None
        draw = random.Random(digest([args["digest"], args["evaluator"]]))
        if args["evaluator"] == "classification":
            return [self._accuracy(draw, args)]
        middle = 10 * draw.uniform(0.97, 1.03)
        samples = tuple(middle * random.lognormvariate(0, 0.03) for _ in range(_SAMPLES))
        value = statistics.median(samples)
        return [
            Measurement(
                "decode_ms_p50", value, "ms", value, value, len(samples), "device-2", samples
            ),
            Measurement("decode_ms_p95", None, "ms", reason="too few"),
        ]

    def _accuracy(self, draw: random.Random, args: Mapping[str, Any]) -> Measurement:
        answers = [float(draw.random() < 0.8) for _ in range(_EXAMPLES)]
        order = random.Random(0).sample(range(_EXAMPLES), _EXAMPLES)
        most = _ROUGH if args["rung"] is Rung.ROUGH else _EXAMPLES
        rows = sorted(order[: args["examples"] or most])
        right = tuple(answers[row] for row in rows)
        share = statistics.fmean(right)
        return Measurement(
            "accuracy",
            share,
            "fraction",
            share - 0.04,
            share + 0.04,
            len(rows),
            "wilson-1",
            right,
            details={"rows": rows},
        )


class Written:
    """Counts what is written to results.json."""

    def __init__(self) -> None:
        self.bytes = 0
        self._write = api.write_atomic

    def __call__(self, path: Path, text: str, *, durable: bool = True) -> None:
        """Write, and count."""
        self.bytes += len(text)
        self._write(path, text, durable=durable)


def _search(folder: Path, candidates: int, strategy: str, store: Store) -> tuple[Search, Study]:
    config = folder / "fake.yaml"
    if not config.exists():
        write_fake_study(
            folder,
            {"x": {"low": 0, "high": candidates - 1}},
            constraints=["accuracy >= baseline - 0.3"],
            search={"strategy": strategy, "trials": candidates},
        )
    prepared = PreparedSearch(load(config), store, Instant(store.root))
    study = Study(folder / "study")
    search = Search(prepared, study, make_display(quiet=True), job_factory=Bench.of(prepared))
    search.engine.evaluators, search.engine.finals_s = SLOTS, 0.0
    return search, study


def _memory_mb() -> float:
    """Return what this process holds now, in MB (of Linux only)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _timed_asks(search: Search) -> list[float]:
    """Have the processor milliseconds of each ask of the strategy noted in a list."""
    strategy, found = search.engine.strategy, list[float]()
    ask = strategy.ask

    def timed(view: Any) -> Any:
        start = time.process_time()
        try:
            return ask(view)
        finally:
            found.append(1e3 * (time.process_time() - start))

    strategy.ask = timed  # type: ignore[method-assign]
    return found


def measure(candidates: int, strategy: str, folder: Path) -> dict[str, Any]:
    """Search; returns figures by tenth of the study."""
    store, written = Store(folder / "store"), Written()
    api.write_atomic = written
    search, study = _search(folder, candidates, strategy, store)
    stamps, cpu, memory, sizes = [time.perf_counter()], [time.process_time()], [_memory_mb()], [0]
    after = search.engine.on_outcome

    def stamped(outcome: Any, summary: Any) -> None:
        after(outcome, summary)
        stamps.append(time.perf_counter())
        cpu.append(time.process_time())
        memory.append(_memory_mb())
        sizes.append(written.bytes)

    search.engine.on_outcome = stamped
    asked = _timed_asks(search)
    search.engine.run()
    search.write_results(search.summary(), "finished")
    study.close()
    each = [1e3 * (b - a) for a, b in pairwise(stamps)]
    busy = [1e3 * (b - a) for a, b in pairwise(cpu)]
    tenth = max(1, len(each) // 10)

    def by_tenth(values: list[float]) -> list[float]:
        return [statistics.fmean(values[i : i + tenth]) for i in range(0, len(values), tenth)]

    start = time.perf_counter()
    again, study = _search(folder, candidates, strategy, store)
    opened = time.perf_counter() - start
    found_again = len(study.outcomes)  # those that were stopped early are looked at anew
    study.close()
    assert again.engine.strategy is not None
    return {
        "candidates": len(each),
        "strategy": strategy,
        "feasible": len(search.summary().feasible),
        "ms_by_tenth": by_tenth(each),
        "processor_ms_by_tenth": by_tenth(busy),
        "ask_ms_by_tenth": by_tenth(asked[: len(each)]),
        "memory_mb_by_tenth": [
            memory[min(i + tenth, len(each))] for i in range(0, len(each), tenth)
        ],
        "mb_by_tenth": [
            (sizes[min(i + tenth, len(each))] - sizes[i]) / 1e6 for i in range(0, len(each), tenth)
        ],
        "results_mb": written.bytes / 1e6,
        "opened_again_s": opened,
        "found_again": found_again,
    }


def main() -> None:
    """Run, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--strategy", default="exhaustive")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.candidates, given.strategy, Path(folder))
    tenth = found["candidates"] // 10
    print(
        table(
            (
                "candidates",
                "ms a candidate",
                "processor ms",
                "of it asking",
                "memory MB",
                "MB of results.json",
            ),
            [
                (f"{i * tenth + 1} to {(i + 1) * tenth}", *row)
                for i, row in enumerate(
                    zip(
                        found["ms_by_tenth"],
                        found["processor_ms_by_tenth"],
                        found["ask_ms_by_tenth"],
                        found["memory_mb_by_tenth"],
                        found["mb_by_tenth"],
                        strict=True,
                    )
                )
            ],
        )
    )
    print(
        f"feasible: {found['feasible']}; results.json written: {found['results_mb']:.1f} MB; "
        f"opened again in {found['opened_again_s']:.2f} s"
    )
    print(save(f"growth-{given.strategy}", found))


if __name__ == "__main__":
    main()
