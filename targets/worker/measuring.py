"""The tasks `Measure` and `Smoke`: an evaluator on a packaged model; whether it runs at all."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.core.errors import EvaluatorError
from paretune.core.job import Measure, Smoke
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.registry import find_evaluator
from paretune.targets.interleave import place_at
from paretune.targets.worker.energy import open_meter
from paretune.targets.worker.scratch import temporary_folder
from paretune.targets.worker.sensors import observing

if TYPE_CHECKING:
    from paretune.evaluators.base import Budget


def measure(
    task: Measure, report: Callable[[Progress], None], turns: str | None = None
) -> list[Measurement]:
    """Run one evaluator at one rung; of what depends on the device, the sensors are read.

    Args:
        task: What is measured.
        report: Takes the progress.
        turns: The socket of interleaved jobs; None: the job runs by itself.

    Returns:
        The measurements, each number of them finite.

    Raises:
        InvalidArtifactError: The model does not load or generate.
        EvaluatorError: A metric that the evaluator declares did not come.
    """
    from paretune.data.catalog import DataCatalog

    kind = find_evaluator(task.evaluator)
    evaluator = kind(kind.Params(**task.params))
    of_device = {spec.name for spec in evaluator.metrics if spec.device}
    gpu = task.runtime.provider == "cuda"
    use_threads(task.runtime.threads)
    with temporary_folder(_system_folder) as folder:
        out, scratch = folder / "out", folder / "scratch"
        out.mkdir()
        scratch.mkdir()
        context = Context(
            out=out,
            scratch=scratch,
            data=DataCatalog.from_json(task.data),
            provider=task.runtime.provider,
            progress=report,
            permissions=task.permissions,
            previous=task.previous,
            reference=task.reference,
        )
        with ExitStack() as stack:
            observed = stack.enter_context(observing(gpu=gpu)) if of_device else None
            takes_turns = getattr(kind, "takes_turns", False)
            budget = stack.enter_context(_budget(task, turns, takes_turns=takes_turns))
            measured = evaluator.measure(task.model, task.runtime, task.rung, budget, context)
    if task.rung is kind.rungs[-1]:
        declared = [spec.name for spec in evaluator.metrics]
        refuse_missing(evaluator.name, declared, [m.metric for m in measured])
    found = [finite(m) for m in measured]
    if observed is None:
        return found
    return [m.noting(conditions=observed.conditions) if m.metric in of_device else m for m in found]


@contextmanager
def _system_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        yield Path(folder)


@contextmanager
def _budget(task: Measure, turns: str | None, *, takes_turns: bool) -> Iterator[Budget]:
    """Yield what the call may cost; an interleaved job gets it when it has its turn."""
    from paretune.evaluators.base import Budget

    budget = Budget(task.seconds, task.examples, task.block, meter=open_meter)
    with place_at(turns) as place:
        if place is None or takes_turns:
            yield replace(budget, turns=place)
        else:
            with place.turn():
                yield budget


def refuse_missing(evaluator: str, declared: Sequence[str], came: Sequence[str]) -> None:
    """Refuse measurements that do not hold every declared metric.

    A metric without a value comes as a measurement that says why; one that does not come at all
    would look like one that was not requested.

    Raises:
        EvaluatorError: A declared metric is missing.
    """
    missing = [name for name in declared if name not in came]
    if missing:
        raise EvaluatorError(
            f"evaluator {evaluator!r} ended without {', '.join(missing)}, which it declares; it "
            f"gave {', '.join(came) or 'nothing'}",
            hint="A metric without a value must be given as one, with its reason.",
        )


def smoke(task: Smoke, report: Callable[[Progress], None], turns: str | None = None) -> Json:
    """Load a packaged model and run it on a little input.

    Returns:
        The output, in the form of its runtime; ``{"tokens": [...]}`` where it generates.

    Raises:
        InvalidArtifactError: It does not load, generates nothing, or no tokens of its own.
    """
    from paretune.runtimes.serving import load_session, required_runtime

    use_threads(task.runtime.threads)
    report(Progress("smoke", 0, 0))
    trusted = task.permissions.remote_code
    session = load_session(task.model, task.runtime, trust_remote_code=trusted)
    return required_runtime(task.model.kind, task.runtime.name).smoke(task.model, session)


def use_threads(threads: int) -> None:
    """Let PyTorch compute with so many threads, if it is used at all.

    ONNX Runtime GenAI takes its threads from the package. PyTorch is not imported for this: an
    evaluator may need a process without it.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is imported later on
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def finite(measured: Measurement) -> Measurement:
    """Return a measurement without NaN and infinities, which no JSON file can hold.

    A value that is none becomes "no value" with the reason; samples that are none are counted.
    """
    changes: dict[str, Any] = {}
    if measured.value is not None and not math.isfinite(measured.value):
        changes.update(value=None, low=None, high=None, reason=f"measured as {measured.value}")
    for end in ("low", "high"):
        limit = getattr(measured, end)
        if limit is not None and not math.isfinite(limit):
            changes[end] = None
            changes.setdefault("reason", measured.reason or "no finite interval")
    kept = tuple(sample for sample in measured.samples if math.isfinite(sample))
    if len(kept) < len(measured.samples):
        changes["samples"] = kept
        measured = measured.noting(non_finite_samples=len(measured.samples) - len(kept))
    bounds = measured.details.final
    if bounds is not None and not all(map(math.isfinite, bounds)):
        measured = measured.noting(final=None)
    return replace(measured, **changes) if changes else measured
