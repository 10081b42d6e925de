from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fake_search import FakeTarget, make_engine, measures, noop

from paretune.core.interference import Interference
from paretune.core.job import Job, JobResult


class Busy(FakeTarget):
    """A device elsewhere, whose processor other programs use."""

    def _answer(self, job: Job) -> JobResult | None:
        result = super()._answer(job)
        if result is None or not measures(job, "generation"):
            return result
        return replace(result, interference=Interference(others=0.9))


def test_interference_that_a_target_reports_counts_instead_of_this_machines(
    tmp_path: Path,
) -> None:
    engine = make_engine(tmp_path, [noop(x=1)])
    engine.target, notes = Busy(), list[str]()
    engine.watcher.note = notes.append  # type: ignore[method-assign]
    engine.run()
    assert engine.target.jobs.count("generation:rough") == 2, "measured again"  # type: ignore[attr-defined]
    assert any("other programs used 90% of the processor" in note for note in notes)
    (outcome,) = engine.recorder.outcomes
    details = (outcome.measurements or {})["decode_ms_p50"].details
    assert details.interference is not None
    assert details.interference.others == 0.9
