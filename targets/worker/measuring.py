"""The jobs ``measure`` and ``smoke``: an evaluator on a packaged model; whether it runs at all."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import EvaluatorError
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement, Rung
from paretune.core.model import Model
from paretune.core.permissions import Permissions
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.registry import find_evaluator
from paretune.targets.interleave import Place
from paretune.targets.worker.scratch import temporary_folder

if TYPE_CHECKING:
    from paretune.evaluators.base import Budget


def measure(payload: Mapping[str, Any], report: Callable[[Progress], None]) -> Json:
    """Run one evaluator at one rung.

    Args:
        payload: As `paretune.targets.worker.main` describes it.
        report: Takes signs of life.

    Returns:
        The measurements as JSON, each number of them finite.

    Raises:
        InvalidArtifactError: The model does not load or generate.
        EvaluatorError: A metric that the evaluator declares did not come.
    """
    from paretune.data.catalog import DataCatalog

    kind = find_evaluator(payload["evaluator"]["name"])
    evaluator = kind(kind.Params(**payload["evaluator"]["params"]))
    runtime = RuntimeSettings.from_json(payload["runtime"])
    use_threads(runtime.threads)
    with temporary_folder(_system_folder) as folder:
        out, scratch = folder / "out", folder / "scratch"
        out.mkdir()
        scratch.mkdir()
        context = Context(
            out=out,
            scratch=scratch,
            data=DataCatalog.from_json(payload["data"]),
            provider=runtime.provider,
            progress=report,
            permissions=Permissions.from_json(payload),
            previous={
                name: Measurement.from_json(value)
                for name, value in payload.get("previous", {}).items()
            },
        )
        with _budget(payload, takes_turns=getattr(kind, "takes_turns", False)) as budget:
            measured = evaluator.measure(
                Model.from_json(payload["model"]), runtime, Rung(payload["rung"]), budget, context
            )
    if Rung(payload["rung"]) is kind.rungs[-1]:
        declared = [spec.name for spec in evaluator.metrics]
        refuse_missing(evaluator.name, declared, [m.metric for m in measured])
    return [finite(m).to_json() for m in measured]


@contextmanager
def _system_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        yield Path(folder)


@contextmanager
def _budget(payload: Mapping[str, Any], *, takes_turns: bool) -> Iterator[Budget]:
    """Yield what the call may cost; with others beside it, in turns."""
    from paretune.evaluators.base import Budget

    budget = Budget(**payload.get("budget", {}))
    if "turns" not in payload:
        yield budget
        return
    place = Place(payload["turns"])
    try:
        if takes_turns:
            yield replace(budget, turns=place)
        else:
            with place.turn():
                yield budget
        place.leave()
    finally:
        place.close()


def refuse_missing(evaluator: str, declared: Sequence[str], came: Sequence[str]) -> None:
    """Refuse measurements that do not hold every declared metric.

    A metric without a value comes as a measurement that says why; one that does not come at all
    would look like one that nobody asked for.

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


def smoke(payload: Mapping[str, Any], report: Callable[[Progress], None]) -> Json:
    """Load a packaged model and run it on a little input.

    Returns:
        What came out, as its runtime says it; ``{"tokens": [...]}`` where it generates.

    Raises:
        InvalidArtifactError: It does not load, generates nothing, or no tokens of its own.
    """
    from paretune.runtimes.serving import load_session, required_runtime

    model = Model.from_json(payload["model"])
    runtime = RuntimeSettings.from_json(payload["runtime"])
    use_threads(runtime.threads)
    report(Progress("smoke", 0, 0))
    trusted = Permissions.from_json(payload).remote_code
    session = load_session(model, runtime, trust_remote_code=trusted)
    return required_runtime(model.kind).smoke(model, session)


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
        changes.update(value=None, low=None, high=None, reason=f"came out as {measured.value}")
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
