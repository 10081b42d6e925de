"""A build that takes named arrays is compared with what it was built from, on the same arrays."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from paretune.core.errors import DataError, InvalidArtifactError, UsageError
from paretune.core.fidelity import Cause, Fidelity, Verdict
from paretune.core.jsontools import Json
from paretune.core.model import Model, ModelKind
from paretune.core.output_error import BOUNDS
from paretune.data.context import Context
from paretune.models.onnx_files import network_file
from paretune.models.onnx_indices import index_limits
from paretune.models.tasks import integer_limits
from paretune.runtimes.base import Runs
from paretune.runtimes.drawn_arrays import SIZES, runs_of
from paretune.runtimes.output_differences import NothingComparedError, output_error
from paretune.runtimes.serving import check_folder, source_runtime
from paretune.targets.worker.compared_cache import ComparedCache
from paretune.targets.worker.compared_rows import compared_rows, runs_on


def compare_arrays(
    fidelity: Fidelity,
    made: Model,
    reference: Model,
    name: str,
    context: Context,
    cache: ComparedCache,
    rows: str = "",
) -> Verdict:
    """Return what a build is to what it was built from.

    Args:
        fidelity: What it says that it is.
        made: The build.
        reference: Its source.
        name: Of the source, for people.
        context: Of the pass that built it.
        cache: What earlier comparisons left.
        rows: Data set of arrays that both run on; empty: made-up arrays.

    Raises:
        InvalidArtifactError: The build does not load, or does not run on what its source runs on.
    """
    try:
        with _running(reference, context) as session:
            if rows:
                runs = runs_on(session, compared_rows(rows, context, cache), rows)
            else:
                runs = runs_of(session, _limits(reference))
    except InvalidArtifactError as error:
        return _not_compared(f"its source does not run: {error.message}")
    except DataError as error:
        return _not_compared(error.message)
    if not runs:
        sizes = ", ".join(map(str, SIZES))
        return _not_compared(
            f"its source runs with none of the sizes that were tried ({sizes}) for its open "
            "dimensions"
        )
    inputs = [given for given, _ in runs]
    with _running(made, context) as session:
        after = [dict(session.run(_as_taken(session, given))) for given in inputs]
    try:
        found = output_error([before for _, before in runs], after, inputs)
    except NothingComparedError as error:
        return _not_compared(str(error))
    figures: dict[str, Json] = {
        **found.to_json(),
        "bound": BOUNDS[fidelity],
        "fidelity": fidelity.value,
    }
    beside: dict[str, Json] | None = None
    if found.left_out:
        beside = {"left_out": list(found.left_out)}
    if not found.outside(fidelity):
        return Verdict(figures, beside=beside, of_arrays=True)
    why = f" ({'; '.join(found.left_out)})" if found.left_out else ""
    reason = (
        f"computes something else than {name}, which it was built from: {found.shown()}{why}; "
        f"less than {BOUNDS[fidelity]:g} of that is right for a build that is {fidelity.value}"
    )
    rounded = fidelity is Fidelity.QUANTIZED and math.isfinite(found.value)
    cause = Cause.UNKNOWN if rounded else Cause.DEFECT
    return Verdict(figures, reason, valid=False, beside=beside, of_arrays=True, cause=cause)


def _not_compared(why: str) -> Verdict:
    return Verdict(None, why, of_arrays=True)


@contextmanager
def _running(model: Model, context: Context) -> Iterator[Runs]:
    """Load a model and let it go: two of them at once need not fit into memory."""
    runtime = source_runtime(model.kind)
    assert runtime is not None
    check_folder(model)
    with runtime.comparing(model, context.provider, context.trust_remote_code) as session:
        try:
            yield session
        finally:
            del session
            gc.collect()


def _as_taken(session: Runs, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays with the types of floats that a build takes: one in 16 bits may take those."""
    kinds = {name: kind for name, (kind, _) in session.inputs.items()}
    return {
        name: array.astype(kinds[name])
        if array.dtype.kind == "f" and kinds.get(name, "").startswith("float")
        else array
        for name, array in given.items()
        if name in kinds  # a pass may drop an input that nothing reads
    }


def _limits(model: Model) -> dict[str, int]:
    """Return what a network's integers are below, where its graph or configuration says it."""
    try:
        if model.kind == ModelKind.HF_ENCODER:
            return integer_limits(model.path)
        return index_limits(network_file(model.path)) if model.kind == ModelKind.ONNX else {}
    except (UsageError, ImportError):
        return {}
