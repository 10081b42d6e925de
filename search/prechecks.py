"""What is known of a candidate before any job.

Do its passes fit, does the machine hold it, can it be as fast as it must be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.device import TargetInfo
from paretune.core.device_profile import DeviceProfile
from paretune.core.estimate import DataSize, Estimate, Planned
from paretune.core.jsontools import Json
from paretune.core.model import ModelInfo
from paretune.core.traffic import Traffic
from paretune.search.constraints import Constraint
from paretune.search.roofline import is_plausible, too_slow

_GB, _MB = 1e9, 1e6


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
        profile: What was measured of the device; None: no candidate is too slow for it.
        constraints: Those that a candidate may be too slow for.
        prompts: Of each metric that is a time to a first token, the tokens of the prompt.
        spared: Digests of candidates that are measured however slow they must be (the baseline:
            the others are measured against it).
        size: Gives the size of a data set, for passes whose time depends on it.
        traffic: Gives what a model reads and computes where it runs, if that is known.
        device: The device that measures, if models are sent to it.
    """

    def __init__(
        self,
        model: ModelInfo,
        target: TargetInfo,
        find_pass: Callable[[str], Planned],
        memory_limit: int | None = None,
        *,
        profile: DeviceProfile | None = None,
        constraints: Sequence[Constraint] = (),
        prompts: Mapping[str, int] | None = None,
        spared: Set[str] = frozenset(),
        size: Callable[[str], DataSize] | None = None,
        traffic: Callable[[ModelInfo, RuntimeSettings], Traffic | None] | None = None,
        device: TargetInfo | None = None,
    ) -> None:
        self._model = model
        self._target = target
        self._find_pass = find_pass
        self._memory = memory_limit or target.memory_free or None
        self._profile = profile if is_plausible(model) else None
        self._constraints = constraints
        self._prompts = prompts
        self._spared = spared
        self._size = size
        self._traffic = traffic
        self._device = device

    def look(self, candidate: Candidate) -> Foresight:
        """Return why a candidate cannot work here, or its estimates."""
        model = self._model
        estimates: list[Estimate] = []
        for position, step in enumerate(candidate.recipe):
            where = f"pass {position + 1} ({step.name})"
            pass_ = self._find_pass(step.name)
            why = _before(pass_, step, candidate.recipe[position + 1 :])
            if why is not None:
                return Foresight(f"{where}: {why}", tuple(estimates))
            try:
                params = pass_.Params(**step.params)
            except ValidationError as error:
                return Foresight(f"{where}: {_first(error)}", tuple(estimates))
            if model.kind not in pass_.accepts:
                takes = " or ".join(sorted(pass_.accepts))
                return Foresight(
                    f"{where}: takes a model of kind {takes}, is given {model.kind}",
                    tuple(estimates),
                )
            why = pass_.check(model, params, self._target, candidate.runtime.provider)
            if why is not None:
                return Foresight(f"{where}: {why}", tuple(estimates))
            estimate = self._estimate(pass_, model, params)
            estimates.append(estimate)
            last = position + 1 == len(candidate.recipe)
            why = self._does_not_fit(estimates, last=last)
            if why is not None:
                return Foresight(f"{where}: {why}", tuple(estimates))
            model = pass_.predict(model, params)
        sent = estimates[-1].bytes_out if estimates else self._model.bytes
        why = self._fills_the_device(sent or 0) or self._too_slow(candidate, model)
        return Foresight(why, tuple(estimates), model)

    def _estimate(self, pass_: Planned, model: ModelInfo, params: Any) -> Estimate:
        """Return what a pass is expected to cost; its time by the data that it reads."""
        estimate = pass_.estimate(model, params, self._target)
        by_data: Callable[..., float | None] | None = getattr(pass_, "seconds_on", None)
        if by_data is None or self._size is None:
            return estimate
        return replace(estimate, seconds=by_data(model, params, self._target, self._size))

    def _too_slow(self, candidate: Candidate, final: ModelInfo) -> str | None:
        """Return why the built model cannot be fast enough on this device, or None."""
        if self._profile is None or self._traffic is None or candidate.digest in self._spared:
            return None
        runtime = candidate.runtime
        needs = self._traffic(final, runtime)
        return too_slow(needs, runtime, self._profile, self._constraints, self._prompts)

    def _does_not_fit(self, estimates: Sequence[Estimate], *, last: bool) -> str | None:
        """Return why the pass that was estimated last does not fit.

        Args:
            estimates: Of it and of the passes before it. What is unknown rules out nothing.
            last: True: no pass follows it.
        """
        needs, free = estimates[-1].peak_memory, self._memory
        if needs is not None and free is not None and needs > free:
            return f"needs about {_size(needs)} of memory; {_size(free)} may be used"
        return self._fills_the_disk([e.bytes_out or 0 for e in estimates], last=last)

    def _fills_the_device(self, sent: int) -> str | None:
        """Return why a model of so many bytes cannot be sent to the device, or None."""
        device = self._device
        if device is None or not device.disk_free or sent <= device.disk_free:
            return None
        return (
            f"needs about {_size(sent)} of disk on {device.name!r}; {_size(device.disk_free)} is "
            "free there"
        )

    def _fills_the_disk(self, written: Sequence[int], *, last: bool) -> str | None:
        """Return why a recipe's outputs so far do not fit, or None.

        All of them stay in the store. At the end the last one is there once more: as the package
        that is handed over, for large files are linked while they are measured only. What an
        earlier candidate has left in the store is counted as if it were to be written, and the
        package even if it goes to another disk: near a disk's end, too much is asked for rather
        than too little.
        """
        free = self._target.disk_free
        if not free:
            return None
        own, total = written[-1], sum(written)
        if own > free:
            return f"needs about {_size(own)} of disk; {_size(free)} is free"
        beside = ["the passes before it"] if len(written) > 1 else []
        if last and total <= free:
            total += own
            beside.append("the copy that is handed over")
        if total <= free:
            return None
        return (
            f"needs about {_size(own)} of disk, {_size(total)} together with "
            f"{' and '.join(beside)}; {_size(free)} is free"
        )


def _before(pass_: Planned, step: Step, following: Sequence[Step]) -> str | None:
    """Return why a step cannot work before those that follow it, or None."""
    ahead: Callable[..., dict[str, Json] | str] | None = getattr(pass_, "look_ahead", None)
    told = None if ahead is None else ahead(step.params, following)
    return told if isinstance(told, str) else None


def _size(count: float) -> str:
    return f"{count / _GB:.2f} GB" if count >= _GB else f"{count / _MB:.0f} MB"


def _first(error: ValidationError) -> str:
    detail: Any = error.errors()[0]
    key = ".".join(str(part) for part in detail["loc"])
    return f"{key}: {detail['msg']}" if key else str(detail["msg"])
