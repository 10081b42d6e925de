"""Plug-ins for the engine's tests and benchmarks: passes and an evaluator that do next to nothing.

They are found as any other package's: through the entry points in the ``.dist-info`` beside this.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from paretune.core.candidate import RuntimeSettings
from paretune.core.estimate import Estimate
from paretune.core.machine_lock import MachineLock
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.params import Params, parameter
from paretune.data.context import Context


class NoopParams(Params):
    x: int = parameter(0, "Written into the model.", search="range")
    ignored: int = parameter(0, "Changes nothing.", search="range")
    quality: float = parameter(0.9, "What the fake evaluator reads as accuracy.", search="range")
    speed: float = parameter(10.0, "What it reads as milliseconds.", unit="ms", search="range")
    meddle: str = parameter(
        "", "`how:file`: write to a file meanwhile; see `meddle`.", search="choice"
    )
    misbehave: str = parameter("", "A way to go wrong; see `misbehave`.", search="choice")
    metric: str = parameter("", "What the evaluator yields: nan, inf, missing.", search="choice")
    train: str = parameter("", "Data set that it says it read.", search="none")
    template: str = parameter("", "File whose text is written into the model.", search="none")
    journal: str = parameter("", "File that is told of each run.", search="none", writes=True)


def meddle(instruction: str) -> None:
    """Write to a file as others do while a job runs: ``other`` content of its size, at its time
    (``in place`` or not), or the ``same`` content; once only."""
    if not instruction:
        return
    how, _, name = instruction.partition(":")
    file = Path(name)
    done = file.with_name(f".{file.name}.meddled")  # a name that is no part of a model
    if done.exists():
        return
    kept, content = file.stat(), file.read_bytes()
    other = content if how == "same" else content[:-1] + bytes([content[-1] ^ 1])
    place = file if how == "in place" else file.with_name(f".{file.name}.new")
    place.write_bytes(other)
    if how != "same":
        os.utime(place, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    place.replace(file)
    done.touch()


def misbehave(how: str, scratch: Path) -> None:
    """Go wrong in one of the ways in which real passes and libraries do; empty: not at all."""
    if not how:
        return
    import job_functions as bad

    ways: dict[str, Callable[[], object]] = {
        "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "hang": lambda: time.sleep(600),
        "slow": lambda: time.sleep(3),
        "raise": lambda: bad.fail("as asked for"),
        "segfault": bad.segfault,
        "exit": lambda: bad.drop_dead(3),
        "kill": lambda: bad.kill_self(9),
        "spin": bad.spin,
        "ignore_sigterm": lambda: bad.ignore_sigterm(str(scratch / "ready")),
        "memory": lambda: bad.hold(700, 60.0),
        "children": lambda: bad.grow_in_many_children(6, 100),
        "daemon": lambda: bad.leave_a_daemon(str(scratch / "pid")),
        "chatter": lambda: bad.chatter(200_000),
        "disk": lambda: bad.fill_the_disk("/dev/full"),
        "temporary": lambda: bad.leave_temporary_files("die"),
    }
    ways[how]()


class Noop:
    """Copies the model and writes down its parameters."""

    name: ClassVar[str] = "noop"
    version: ClassVar[int] = 1
    accepts: ClassVar[frozenset[ModelKind]] = frozenset({ModelKind.HF})
    produces: ClassVar[ModelKind] = ModelKind.HF
    Params: ClassVar[type[Params]] = NoopParams
    packages: ClassVar[tuple[str, ...]] = ()
    provider_matters: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    def data(self, params: NoopParams) -> tuple[str, ...]:
        return (params.train,) if params.train else ()

    def check(self, model: ModelInfo, params: NoopParams, target: Any, provider: str) -> str | None:
        return "x may not be 99" if params.x == 99 else None

    def estimate(self, model: ModelInfo, params: NoopParams, target: Any) -> Estimate:
        return Estimate(bytes_out=model.bytes, peak_memory=1 << 20, seconds=0.0)

    def predict(self, model: ModelInfo, params: NoopParams) -> ModelInfo:
        return model

    def run(self, model: Model, params: NoopParams, context: Context) -> None:
        misbehave(params.misbehave, context.scratch)
        meddle(params.meddle)
        if params.journal:
            with open(params.journal, "a", encoding="utf-8") as journal:
                journal.write(f"{params.x}\n")
        if params.train:
            context.data.load(params.train)
        if params.template:
            (context.out / "template.txt").write_text(Path(params.template).read_text())
        for file in model.path.iterdir():
            shutil.copyfile(file, context.out / file.name)
        kept = f"{params.x} {params.metric or 'good'} {params.quality} {params.speed}\n"
        with open(context.out / "fake.txt", "a", encoding="utf-8") as out:
            out.write(kept)


class Train(Noop):
    """The same, but counted as a training."""

    name: ClassVar[str] = "fake_train"
    trains: ClassVar[bool] = True


class SeededParams(NoopParams):
    seeded_by: ClassVar[str] = "seed"

    seed: int = parameter(0, "Seed of what it says it trains.")
    luck: float = parameter(0.0, "Accuracy that each seed above 0 adds.", search="none")
    fails_at: int = parameter(-1, "Seed with which it fails.", search="none")


class Seeded(Noop):
    """A training whose accuracy depends on its seed; `journal` receives the seed of each run."""

    name: ClassVar[str] = "seeded"
    trains: ClassVar[bool] = True
    Params: ClassVar[type[Params]] = SeededParams

    def run(self, model: Model, params: SeededParams, context: Context) -> None:
        if params.journal:
            with open(params.journal, "a", encoding="utf-8") as journal:
                journal.write(f"{params.seed}\n")
        if params.seed == params.fails_at:
            raise ValueError("the loss is not a number")
        quality = params.quality + params.luck * params.seed
        told = {"journal": "", "quality": quality, "x": 1000 * params.x + params.seed}
        super().run(model, params.model_copy(update=told), context)


@contextmanager
def interval(journal: str, what: str) -> Iterator[None]:
    """Write down when something began and ended, by the clock that all processes share."""
    begin = time.monotonic()
    yield
    if journal:
        with open(journal, "a", encoding="utf-8") as file:
            file.write(f"{what} {begin} {time.monotonic()}\n")


class Meet(Noop):
    """Ends once two builds have begun; `journal` receives the interval of each."""

    name: ClassVar[str] = "meet"

    def run(self, model: Model, params: NoopParams, context: Context) -> None:
        with interval(params.journal, f"build-{params.x}"):
            begun = Path(f"{params.journal}.begun")
            begun.mkdir(exist_ok=True)
            (begun / str(params.x)).touch()
            end = time.monotonic() + 300
            while len(list(begun.iterdir())) < 2:
                assert time.monotonic() < end, "no other build begins"
                time.sleep(0.01)
            super().run(model, params.model_copy(update={"journal": ""}), context)


class NapParams(NoopParams):
    seconds: float = parameter(0.0, "How long the build sleeps.", unit="s", search="none")


class Nap(Noop):
    """Sleeps; `journal` receives when each build began and ended."""

    name: ClassVar[str] = "nap"
    Params: ClassVar[type[Params]] = NapParams

    def run(self, model: Model, params: NapParams, context: Context) -> None:
        if params.journal:
            with open(params.journal, "a", encoding="utf-8") as file:
                file.write(f"begun-{params.x} {time.monotonic()}\n")
        with interval(params.journal, f"nap-{params.x}"):
            time.sleep(params.seconds)
        super().run(model, params.model_copy(update={"journal": ""}), context)


class CountParams(NoopParams):
    stops_at: ClassVar[str] = "stop_at"

    steps: int = parameter(10, "Steps of the whole run.", search="none")
    stop_at: int | None = parameter(None, "Step after which it ends.")
    waits_at: int = parameter(0, "Step at which a run from the beginning is stopped.")


class Count(Noop):
    """Does steps, which `journal` receives, and continues where an earlier run has ended."""

    name: ClassVar[str] = "count"
    trains: ClassVar[bool] = True
    Params: ClassVar[type[Params]] = CountParams

    def resumable(self, params: CountParams) -> tuple[CountParams, float]:
        whole = params.model_copy(update={"stop_at": None})
        return whole, (params.stop_at or params.steps) / params.steps

    def run(self, model: Model, params: CountParams, context: Context) -> None:
        stop, checkpoints = params.stop_at or params.steps, context.checkpoints
        found = next(checkpoints.at_most(stop), None)
        begin = 0 if found is None else int((found.folder / "step").read_text())
        with checkpoints.ending() as ending:
            for step in range(begin + 1, stop + 1):
                with open(params.journal, "a", encoding="utf-8") as journal:
                    journal.write(f"{step}\n")
                end = time.monotonic() + 300
                while step == params.waits_at and not begin and not ending():
                    assert time.monotonic() < end, "nobody asks it to end"
                    time.sleep(0.01)
                if ending() or step == stop < params.steps or step in checkpoints.stops:
                    write = partial(_write_step, step)
                    checkpoints.save(step, params.steps, write, stays=not ending())
                if ending():
                    break
        told = {"journal": "", "x": 100 * params.x + stop}
        super().run(model, params.model_copy(update=told), context)


def _write_step(step: int, folder: Path) -> None:
    (folder / "step").write_text(str(step))


class ReadBackParams(Params):
    n: int = parameter(100, "Fake number of examples.", search="none")
    journal: str = parameter("", "File that receives intervals.", search="none", writes=True)
    data: str = parameter("", "Data set whose examples are counted instead.", search="none")
    seconds: float = parameter(0.0, "How long it takes.", unit="s", search="none")
    nested: bool = parameter(False, "Whether it measures by itself, as a search does.")


class ReadBack:
    """Reads accuracy and speed back from what `Noop` wrote."""

    name: ClassVar[str] = "readback"
    version: ClassVar[int] = 1
    Params: ClassVar[type[Params]] = ReadBackParams
    accepts: ClassVar[frozenset[ModelKind]] = frozenset({ModelKind.HF})
    rungs: ClassVar[tuple[Rung, ...]] = (Rung.ROUGH, Rung.FULL)
    fresh_process: ClassVar[bool] = False

    def __init__(self, params: ReadBackParams) -> None:
        self.params = params

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        return (
            MetricSpec("accuracy", "fraction", "maximize", False),
            MetricSpec("decode_ms_p50", "ms", "minimize", True),
        )

    @property
    def data(self) -> tuple[str, ...]:
        return (self.params.data,) if self.params.data else ()

    def measure(
        self,
        model: Model,
        runtime: RuntimeSettings,
        rung: Rung,
        budget: Any,
        context: Context,
    ) -> list[Measurement]:
        with interval(self.params.journal, f"measure-{rung}"):
            time.sleep(self.params.seconds)
            if self.params.nested:
                end = time.monotonic() + 300
                with MachineLock().use(alone=True, given_up=lambda: time.monotonic() > end):
                    pass
            return self._read(model, runtime, rung, context)

    def _read(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, context: Context
    ) -> list[Measurement]:
        lines = (model.path / "fake.txt").read_text().split()
        metric, quality, speed = lines[-3], float(lines[-2]), float(lines[-1]) / runtime.threads
        if metric in ("nan", "inf"):
            quality = float(metric)
        wide = 0.05 if rung is Rung.ROUGH else 0.01
        timed = Measurement("decode_ms_p50", speed, "ms", speed - wide, speed + wide, 10, "fake-1")
        if metric == "missing":
            return [timed]
        n = self.params.n
        if self.params.data:
            n = len(context.data.load(self.params.data).examples)
        return [
            Measurement(
                "accuracy",
                quality,
                "fraction",
                quality - wide,
                quality + wide,
                n,
                "fake-1",
                (quality,),
                details={"final": [quality - wide, quality + wide]},
            ),
            timed,
        ]


def nothing() -> None:
    """Do nothing, in a child process."""
