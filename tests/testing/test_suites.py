"""The conformance suites see what they are there to see: each fault is planted in a plug-in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from paretune.core.device import TargetInfo
from paretune.core.errors import UsageError
from paretune.core.estimate import Estimate
from paretune.core.job import JobResult, JobStatus
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import ModelKind
from paretune.core.params import Params, parameter
from paretune.evaluators.base import EvaluatorBase
from paretune.passes.base import Pass, PassBase
from paretune.search.strategies.base import Strategy
from paretune.search.strategies.exhaustive import Exhaustive
from paretune.testing import check_evaluator, check_pass, check_strategy, check_target
from paretune.testing.declared import follows, imports_nothing_heavy
from paretune.testing.evaluators import EVALUATOR_LAWS, measures
from paretune.testing.passes import PASS_LAWS, builds
from paretune.testing.strategies import OBJECTIVES, SMALL, STRATEGY_LAWS
from paretune.testing.targets import TARGET_LAWS
from tests.tiny_models import make_tiny_llama


class CopyParams(Params):
    x: int = parameter(0, "A number.", search="range")


class Copy(PassBase):
    """Copies its input; keeps every law."""

    name = "noop"  # registered by tests/plugins: what it imports is looked at under that name
    accepts = frozenset({ModelKind.HF})
    produces = ModelKind.HF
    Params = CopyParams

    def run(self, model: Any, params: Any, context: Any) -> None:
        for file in model.parts:
            shutil.copyfile(file, context.out / file.name)


def with_params(**fields: Any) -> type[Params]:
    """Return a class of parameters with other annotations and defaults than `parameter` gives."""
    annotations = {name: type(value) for name, value in fields.items()}
    return type("Odd", (Params,), {"__annotations__": annotations, **fields})


class Loose(BaseModel):
    """No `Params`."""


class Open(Params):
    model_config = ConfigDict(extra="allow", frozen=True)


class Changeable(Params):
    model_config = ConfigDict(extra="forbid", frozen=False)
    x: int = parameter(0, "A number.")


class TextRange(Params):
    x: str = parameter("", "A text.", search="range")


class Undescribed(Params):
    x: int = parameter(0, "a number")


FAULTY_PASSES: dict[str, dict[str, Any]] = {
    "version begins": {"version": 0},
    "version is a whole": {"version": "1"},
    "docstring": {"__doc__": ""},
    "subclass of": {"Params": Loose},
    "unknown parameters are refused": {"Params": Open},
    "can be changed": {"Params": Changeable},
    "only numbers have a range": {"Params": TextRange},
    "its description is a sentence": {"Params": Undescribed},
    "declared through `parameter`": {"Params": with_params(x=1)},
    "at least one kind": {"accepts": frozenset()},
    "no kind is registered as": {"accepts": frozenset({"hff"})},
    "packages are names": {"packages": (1,)},
    "provider_matters is": {"provider_matters": None},
    "trains is": {"trains": 0},
    "fidelity returns": {"fidelity": lambda self, params: "fp32"},
    "data returns": {"data": lambda self, params: ["a"]},
    "refuses a model": {"check": lambda self, *_: "not today"},
    "predicts a model of kind": {"predict": lambda self, model, _: _other_kind(model)},
    "estimate returns": {"estimate": lambda self, *_: None},
    "negative figure": {"estimate": lambda self, *_: Estimate(seconds=-1.0)},
}


def _other_kind(model: Any) -> Any:
    return replace(model, kind=ModelKind.GENAI)


def made(base: type, changes: dict[str, Any]) -> Any:
    return type("Faulty", (base,), {"__doc__": "Has a fault.", **changes})


def held(pass_: Any) -> None:
    try:
        params = pass_.Params()
    except Exception:
        params = None
    for law in PASS_LAWS:
        if law.__name__ != "imports_late":
            law(pass_, params)


def test_a_pass_without_a_fault_passes() -> None:
    follows(Copy(), Pass, "noop")
    held(Copy())


@pytest.mark.parametrize("said", FAULTY_PASSES)
def test_a_fault_of_a_pass_is_said(said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        held(made(Copy, FAULTY_PASSES[said])())


def test_what_a_plug_in_lacks_is_said() -> None:
    class Bare:
        name = "bare"

        def run(self) -> None: ...

    with pytest.raises(AssertionError, match="bare lacks Params, accepts, check, data, estimate"):
        follows(Bare(), Pass, "bare")
    with pytest.raises(AssertionError, match="registered as 'other', but its name is 'noop'"):
        follows(Copy(), Pass, "other")


@pytest.mark.parametrize("check", [check_pass, check_evaluator, check_target, check_strategy])
def test_a_name_that_is_not_registered_is_refused(check: Callable[[str], None]) -> None:
    with pytest.raises(UsageError, match="named 'no_such'"):
        check("no_such")


def test_an_import_of_a_large_library_is_said() -> None:
    imports_nothing_heavy("import json")
    with pytest.raises(AssertionError, match="imported outside of a function: onnx"):
        imports_nothing_heavy("import sys; sys.modules['onnx'] = sys")
    with pytest.raises(AssertionError, match="no_such_module"):
        imports_nothing_heavy("import no_such_module")


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_tiny_llama(tmp_path_factory.mktemp("tiny")))


def test_a_build_is_looked_at(tiny_folder: Path, tmp_path: Path) -> None:
    def meddle(self: Any, model: Any, params: Any, context: Any) -> None:
        Copy.run(self, model, params, context)
        config = model.path / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "changed": True}))

    builds(Copy(), CopyParams(), tiny_folder, {}, tmp_path)
    own = shutil.copytree(tiny_folder, tmp_path / "own")
    with pytest.raises(AssertionError, match="another model afterwards"):
        builds(made(Copy, {"run": meddle})(), CopyParams(), own, {}, tmp_path)
    with pytest.raises(AssertionError, match="made a model of kind hf"):
        builds(made(Copy, {"produces": ModelKind.GENAI})(), CopyParams(), tiny_folder, {}, tmp_path)
    takes = {"accepts": frozenset({ModelKind.GENAI})}
    with pytest.raises(AssertionError, match="is of kind hf"):
        builds(made(Copy, takes)(), CopyParams(), tiny_folder, {}, tmp_path)


GOOD = Measurement("a", 1.0, "ms", 0.5, 1.5, 3, "p-1", (1.0,))


class One(EvaluatorBase):
    """Yields what it is given; keeps every law."""

    name = "readback"
    rungs = (Rung.ROUGH, Rung.FULL)
    metrics = (MetricSpec("a", "ms", "minimize", device=True),)
    yields: ClassVar[list[Measurement]] = [GOOD]

    def measure(self, model: Any, runtime: Any, rung: Any, *_: Any) -> list[Measurement]:
        return self.yields


FAULTY_EVALUATORS: dict[str, dict[str, Any]] = {
    "at one rung at least": {"rungs": ()},
    "from cheap to full": {"rungs": (Rung.FULL, Rung.ROUGH)},
    "one metric at least": {"metrics": ()},
    "metrics are of": {"metrics": ("a",)},
    "declared twice": {"metrics": One.metrics * 2},
    "data is a tuple": {"data": ["tone"]},
    "fresh_process is": {"fresh_process": None},
    "in one process at least": {"processes": 0},
    "measured, but not declared": {"yields": [GOOD, Measurement("b", 1.0, "ms")]},
    "measured in 's'": {"yields": [Measurement("a", 1.0, "s", protocol="p-1")]},
    "by which protocol": {"yields": [Measurement("a", 1.0, "ms")]},
    "neither a value nor": {"yields": [Measurement("a", None, "ms", protocol="p-1")]},
    "outside of its interval": {"yields": [Measurement("a", 9.0, "ms", 1.0, 2.0, 1, "p-1")]},
    "last rung yields no a": {"yields": []},
}


def measured(evaluator: Any, folder: Path) -> None:
    for law in EVALUATOR_LAWS:
        if law.__name__ != "imports_late":
            law(evaluator)
    measures(evaluator, folder, {}, folder)


def test_an_evaluator_without_a_fault_passes(tiny_folder: Path) -> None:
    measured(One(One.Params()), tiny_folder)


@pytest.mark.parametrize("said", FAULTY_EVALUATORS)
def test_a_fault_of_an_evaluator_is_said(said: str, tiny_folder: Path) -> None:
    kind = made(One, FAULTY_EVALUATORS[said])
    with pytest.raises(AssertionError, match=said):
        measured(kind(kind.Params()), tiny_folder)


def test_a_number_that_no_json_holds_is_refused(tiny_folder: Path) -> None:
    kind = made(One, {"yields": [Measurement("a", float("nan"), "ms", protocol="p-1")]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        measured(kind(kind.Params()), tiny_folder)


class Twice(Exhaustive):
    def ask(self) -> Any:
        self.last = super().ask() or getattr(self, "last", None)
        return self.last


class Short(Exhaustive):
    def ask(self) -> Any:
        self.count = getattr(self, "count", 0) + 1
        return None if self.count > 10 else super().ask()


class Deaf(Exhaustive):
    def tell(self, *_: Any, **__: Any) -> None: ...


class Ignores(Exhaustive):
    def __init__(self, space: Any, objectives: Any, seed: int, first: Any = ()) -> None:
        super().__init__(space, objectives, seed)


class Needy(Exhaustive):
    def tell(self, candidate: Any, outcome: Any, violations: Any = ()) -> None:
        super().tell(candidate, outcome, violations)
        self.lost = getattr(self, "lost", 0) + (not outcome.measurements)

    def ask(self) -> Any:
        return None if getattr(self, "lost", 0) > 20 else super().ask()


class Forgets(Exhaustive):
    """Takes every other candidate later, by how often this process has asked it."""

    def ask(self) -> Any:
        self.count = getattr(self, "count", 0) + 1
        if self.count == 20 and not getattr(self, "put_off", None):
            self.put_off = super().ask()
        found = super().ask()
        if found is None and getattr(self, "put_off", None) is not None:
            found, self.put_off = self.put_off, None
        return found


@pytest.mark.parametrize(
    ("kind", "law", "said"),
    [
        (Twice, "proposes_all_once", "proposed twice"),
        (Short, "proposes_all_once", "not the whole space"),
        (Deaf, "remembers_results", "proposed again"),
        (Ignores, "begins_with_the_first", "it began with"),
        (Short, "lists_no_huge_space", "ends early"),
        (Needy, "takes_missing_values", "it ends after 21"),
        (Forgets, "resumes", "resumed after"),
    ],
)
def test_a_fault_of_a_strategy_is_said(kind: type, law: str, said: str) -> None:
    def make(space: Any = SMALL, seed: int = 0, first: Any = ()) -> Strategy:
        strategy: Strategy = kind(space, OBJECTIVES, seed, first)
        return strategy

    (found,) = [each for each in STRATEGY_LAWS if each.__name__ == law]
    with pytest.raises(AssertionError, match=said):
        found(make)


class Broken:
    """A target of which everything is wrong; no process is started."""

    name = "broken"
    closed = 0

    def __init__(self, result: JobResult) -> None:
        self.result = result

    def info(self) -> Any:
        self.asked = getattr(self, "asked", 0) + 1
        return replace(TargetInfo("broken"), cores=self.asked, processor=f"cpu {self.asked}")

    def submit(self, job: Any) -> Any:
        if job.on_progress is not None:
            job.on_progress("alive")
        future: Any = Future()
        future.set_result(self.result)
        return future

    def cancel(self) -> None: ...

    def close(self) -> None:
        self.closed += 1
        if self.closed > 1:
            raise RuntimeError("closed already")


OK = JobResult(JobStatus.OK, 2, seconds=1.0, peak_memory=1)


@pytest.mark.parametrize(
    ("law", "result", "said"),
    [
        ("facts_stay", OK, "another fingerprint"),
        ("gives_values", OK, "came back as 2"),
        ("gives_values", JobResult(JobStatus.FAILED, reason="no"), "ok expected"),
        ("gives_values", JobResult(JobStatus.OK, 3, peak_memory=1), "takes time"),
        ("gives_values", JobResult(JobStatus.OK, 3, seconds=1.0), "takes memory"),
        ("keeps_jobs_apart", OK, "values came as"),
        ("survives", OK, "crashed expected"),
        ("survives", JobResult(JobStatus.CRASHED), "without a reason"),
        ("names_unknown_functions", JobResult(JobStatus.FAILED, reason="no"), "not named"),
        ("ends_jobs", OK, "timeout expected"),
        ("needs_no_progress", OK, "progress of a job"),
    ],
)
def test_a_fault_of_a_target_is_said(law: str, result: JobResult, said: str) -> None:
    (found,) = [each for each in TARGET_LAWS if each.__name__ == law]
    with pytest.raises(AssertionError, match=said):
        found(Broken(result))


def test_closing_a_target_twice_is_tried() -> None:
    closes = TARGET_LAWS[-1]
    with pytest.raises(RuntimeError, match="closed already"):
        closes(Broken(OK))
