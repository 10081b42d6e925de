"""Sets the outputs of two networks against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from paretune.core.output_error import OutputError

Outputs = Mapping[str, Any]
"""Arrays by name."""
_LEAST_SPREAD = 0.01
"""An output that hardly varies is measured by this share of its size instead."""


class NothingComparedError(Exception):
    """No output has values that can be compared; the message says why."""


def output_error(
    source: Sequence[Outputs], build: Sequence[Outputs], inputs: Sequence[Mapping[str, Any]]
) -> OutputError:
    """Return how far the outputs of a build are from those of its source.

    Values that are not finite in the source are left out and named, as are outputs whose shape
    depends on the values of the inputs.

    Args:
        source: Outputs of each run.
        build: Likewise, of the same inputs.
        inputs: Of each run.

    Raises:
        NothingComparedError: No output can be compared.
    """
    errors: dict[str, float] = {}
    left_out: list[str] = []
    for name in source[0]:
        before = [run[name] for run in source]
        if any(name not in run for run in build):
            errors[name] = math.inf
            left_out.append(f"the build has no output {name!r}")
            continue
        error, why = _of_output(name, before, [run[name] for run in build], inputs)
        left_out += [why] if why else []
        if error is not None:
            errors[name] = error
    if not errors:
        raise NothingComparedError("; ".join(left_out) or "the network has no outputs")
    return OutputError(errors, len(source), tuple(left_out))


def _of_output(
    name: str, source: list[Any], build: list[Any], inputs: Sequence[Mapping[str, Any]]
) -> tuple[float | None, str]:
    """Return the error of one output, None where it cannot be compared, and what was left out."""
    import numpy as np

    if not all(isinstance(each, np.ndarray) for each in (*source, *build)):
        return None, f"the output {name!r} is not an array"
    if [each.shape for each in source] != [each.shape for each in build]:
        if _shape_depends_on_values(source, inputs):
            return None, f"the shape of the output {name!r} depends on the values of the inputs"
        shapes = next(
            (a.shape, b.shape) for a, b in zip(source, build, strict=True) if a.shape != b.shape
        )
        return math.inf, f"the output {name!r} has the shape {shapes[1]}, and {shapes[0]} before"
    wide = source[0].dtype.kind == "f" or build[0].dtype.kind == "f"
    before, after = (np.concatenate([each.ravel() for each in some]) for some in (source, build))
    if not before.size:
        return None, f"the output {name!r} has no values"
    if not wide:
        return float(np.mean(before != after)), ""
    before, after = before.astype(np.float64), after.astype(np.float64)
    known = np.isfinite(before)
    why = ""
    if not known.all():
        rows = sum(not np.isfinite(each).all() for each in source)
        why = (
            f"the source's own output {name!r} is not finite in {np.count_nonzero(~known)} of "
            f"{known.size} values, in {rows} of {len(source)} runs"
        )
        if not known.any():
            return None, why
    before, after = before[known], after[known]
    if not np.isfinite(after).all():
        return math.inf, why
    size = math.sqrt(float(np.mean(before**2)))
    spread = max(float(before.std()), _LEAST_SPREAD * size)
    apart = math.sqrt(float(np.mean((before - after) ** 2)))
    return (apart / spread if spread else (math.inf if apart else 0.0)), why


def _shape_depends_on_values(source: list[Any], inputs: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether inputs of equal shapes give outputs of different ones, in the source."""
    seen: dict[Any, Any] = {}
    for output, given in zip(source, inputs, strict=True):
        key = tuple((name, array.shape) for name, array in sorted(given.items()))
        if seen.setdefault(key, output.shape) != output.shape:
            return True
    return False
