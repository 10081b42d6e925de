"""The pick is measured once more, on data that no choice has seen.

What was chosen for its value looks better than it is. So a part of the data is held out
(`split: {confirm}`): after the re-measurement of the finalists only the pick is measured on it. The
result is stored beside the candidate, never among the values that candidates are compared by. If a
continued search picks another one, that one is measured, too.
"""

from __future__ import annotations

from paretune.core.job import JobResult, JobStatus
from paretune.core.measurement import Measurement, by_metric
from paretune.core.result import StepTime, TrialResult
from paretune.search.run import OutOfTimeError, SearchRun


class Confirmation:
    """Measures the pick on the held-out data, if that was not done before.

    Args:
        engine: The search.
    """

    def __init__(self, engine: SearchRun) -> None:
        self._engine = engine

    def run(self) -> None:
        """Measure; the result is durable before it returns.

        Raises:
            KeyboardInterrupt: As it came; nothing is recorded.
        """
        engine = self._engine
        best = engine.summary().best
        if best is None or not engine.aside:
            return
        outcome = next(o for o in engine.recorder.outcomes if o.id == best)
        key = [aside.key() for aside in engine.aside]
        if engine.recorder.confirmed(outcome, key) is not None:
            return
        left = engine.left()
        if left is not None and left < seconds_of(engine):
            self._note(
                f"no time is left to measure the pick (candidate {best}) on the held-out "
                "data; the same command with a larger --time does"
            )
            return
        start = engine.clock()
        try:
            measured = self._measure(outcome)
        except OutOfTimeError:
            engine.target.cancel()
            self._note(
                f"the time ran out while the pick (candidate {best}) was measured on the "
                "held-out data; the same command with a larger --time does it"
            )
            return
        if measured is None:
            return
        spent = StepTime("confirm", engine.clock() - start, False)
        engine.recorder.confirm(outcome, key, measured)
        engine.recorder.update(outcome.after(spent, outcome.measurements or {}))
        engine.on_update(engine.summary())

    def _measure(self, outcome: TrialResult) -> dict[str, Measurement] | None:
        """Return what the pick yields, by metric; None if a job failed, which is reported."""
        engine, candidate = self._engine, outcome.candidate
        built = self._well(engine.submit(engine.job_factory.build(candidate)))
        if built is None:
            return None
        found: dict[str, Measurement] = {}
        with engine.job_factory.packaged(built.value.model, candidate.runtime) as package:
            for aside in engine.aside:
                job = engine.job_factory.measure(
                    package, candidate.runtime, aside.slot, aside.slot.rungs[-1], {}
                )
                done = self._well(engine.submit(job))
                if done is None:
                    return None
                speeds = {spec.name for spec in aside.slot.metrics if spec.device}
                found |= {
                    name: m.noting(data=aside.ref)
                    for name, m in by_metric(done.value).items()
                    if name not in speeds
                }
        return found

    def _well(self, result: JobResult) -> JobResult | None:
        if result.status is JobStatus.CANCELLED:
            raise KeyboardInterrupt
        if result.status is JobStatus.OK:
            return result
        self._note(
            f"the pick could not be measured on the held-out data: {result.status}: {result.reason}"
        )
        return None

    def _note(self, text: str) -> None:
        self._engine.watcher.note(text)


def seconds_of(engine: SearchRun) -> float:
    """Return the estimated seconds of the pick on the held-out data; 0 if there is none.

    As long as the slowest candidate took on the evaluator's own data, in proportion.
    """
    if not engine.aside:
        return 0.0
    total = 0.0
    for aside in engine.aside:
        took: list[float] = []
        for outcome in engine.recorder.outcomes:
            parts = [s.s for s in outcome.seconds if s.step.partition(":")[0] == aside.of]
            took.append(sum(parts))
        total += aside.share * max(took, default=0.0)
    loading = [s.s for o in engine.recorder.outcomes for s in o.seconds if s.step == "smoke"]
    return total + max(loading, default=0.0)
