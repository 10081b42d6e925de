"""What can be said of a candidate before any job: do its passes fit, does the machine hold it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from paretune.models import ModelInfo
from paretune.passes.base import Estimate, Pass
from paretune.search.candidate import Candidate
from paretune.targets.base import TargetInfo

_GB = 1e9


@dataclass(frozen=True)
class Foresight:
    """What is known of a candidate before it runs.

    Attributes:
        reason: Why it is ruled out; None if it is not.
        estimates: One a pass, as far as the walk came.
        final: What the model will be at the end, if the walk came there.
    """

    reason: str | None
    estimates: tuple[Estimate, ...] = ()
    final: ModelInfo | None = None


class Prechecks:
    """Walks a recipe over the model's known facts, without building anything.

    Args:
        model: The input model.
        target: The device; what is free on it counts.
        find_pass: Name to pass.
        memory_limit: Bytes a job may use; None: what is free.
    """

    def __init__(
        self,
        model: ModelInfo,
        target: TargetInfo,
        find_pass: Callable[[str], Pass],
        memory_limit: int | None = None,
    ) -> None:
        self._model = model
        self._target = target
        self._find_pass = find_pass
        self._memory = memory_limit or target.memory_free or None

    def look(self, candidate: Candidate) -> Foresight:
        """Return why a candidate cannot work here, or its estimates."""
        model = self._model
        estimates: list[Estimate] = []
        for position, step in enumerate(candidate.recipe):
            where = f"pass {position + 1} ({step.name})"
            pass_ = self._find_pass(step.name)
            try:
                params = pass_.Params(**step.params)
            except ValidationError as error:
                return Foresight(f"{where}: {_first(error)}", tuple(estimates))
            if model.kind not in pass_.accepts:
                takes = " or ".join(sorted(kind.value for kind in pass_.accepts))
                return Foresight(
                    f"{where}: takes a model of kind {takes}, is given {model.kind.value}",
                    tuple(estimates),
                )
            why = pass_.check(model, params, self._target, candidate.runtime.provider)
            if why is not None:
                return Foresight(f"{where}: {why}", tuple(estimates))
            estimate = pass_.estimate(model, params, self._target)
            estimates.append(estimate)
            why = self._does_not_fit(estimate)
            if why is not None:
                return Foresight(f"{where}: {why}", tuple(estimates))
            model = pass_.predict(model, params)
        return Foresight(None, tuple(estimates), model)

    def _does_not_fit(self, estimate: Estimate) -> str | None:
        needs, free = estimate.peak_memory, self._memory
        if needs is not None and free is not None and needs > free:
            return f"needs about {needs / _GB:.1f} GB of memory; {free / _GB:.1f} GB may be used"
        needs, free = estimate.bytes_out, self._target.disk_free or None
        if needs is not None and free is not None and needs > free:
            return f"writes about {needs / _GB:.1f} GB; {free / _GB:.1f} GB of disk is free"
        return None


def _first(error: ValidationError) -> str:
    detail: Any = error.errors()[0]
    key = ".".join(str(part) for part in detail["loc"])
    return f"{key}: {detail['msg']}" if key else str(detail["msg"])
