"""A search of one device: a plan, its study and its engine, from the checks to the package."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.core.candidate import Candidate
from paretune.core.errors import StateError
from paretune.core.jsontools import Json, write_atomic
from paretune.core.machine_lock import MachineLock
from paretune.core.measurement import Measurement
from paretune.core.pace import Pace
from paretune.core.result import TrialResult
from paretune.core.target import build_slots
from paretune.models.handle import earlier_digests
from paretune.models.legal_files import FOLDER as LEGAL
from paretune.models.legal_files import keep_legal
from paretune.preflight.prepared import PreparedSearch
from paretune.preflight.told_before import told_before
from paretune.search.engine import Engine
from paretune.search.jobs import JobFactory
from paretune.search.mirror_keeping import Mirrored, MirrorKeeper
from paretune.search.outcomes import of_candidate, with_id
from paretune.search.repeated_pick import RepeatedPick
from paretune.search.run import Shortcuts
from paretune.search.stop_rule import Stopping, stopped_at
from paretune.search.strategies.base import Ended
from paretune.search.strategies.full_trials import rebuild
from paretune.search.summary import StudySummary, summarize, violations
from paretune.search.watcher import Watcher
from paretune.searching.reopened import reopened
from paretune.study.built_again import build_again
from paretune.study.devices import with_other_devices
from paretune.study.example_prompt import first_prompt, keep_example
from paretune.study.folder import Study
from paretune.study.identity import data_of_evaluator
from paretune.study.measurement_notes import unsettled_notes
from paretune.study.prior_entry import told as told_of_priors
from paretune.study.raw_rows import keep_raw_rows
from paretune.study.repeats_entry import MadeRepeats
from paretune.study.results import Results, earlier_end
from paretune.study.results_document import ResultsDocument
from paretune.study.runtime_names import runtime_name
from paretune.study.structures import complete_structures

if TYPE_CHECKING:
    from paretune.display.live import Opening


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        study: The study's folder.
        results: The content of ``results.json``.
        best: Folder of the deployable package; None if nothing is feasible.
        mlflow: The pick as an MLflow folder; None if none was asked for.
        devices: Of each device that measures, by name: its package; None if nothing is feasible
            there. `best` is that of the first one.
    """

    study: Path
    results: Mapping[str, Json]
    best: Path | None
    mlflow: Path | None = None
    devices: Mapping[str, Path | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Beside:
    """What a search has in common with those of a study's other devices.

    Attributes:
        numbers: Gives a new candidate its number.
        choosing: Entered while the strategy chooses; None: no other device measures beside it.
    """

    numbers: Callable[[Candidate], int]
    choosing: Callable[[], AbstractContextManager[object]] | None = None


class Search:
    """A plan being searched in a study.

    Args:
        prepared: The plan and everything it needs on this machine.
        study: The study, locked by this process.
        watcher: The display.
        shortcuts: Which work the engine may skip.
        job_factory: Makes the jobs; by default those of ``targets/worker/main.py``.
        mirror: Also keep ``study.db`` for optuna-dashboard.
        beside: What it has in common with the searches of other devices; None: it is the only one.
    """

    def __init__(
        self,
        prepared: PreparedSearch,
        study: Study,
        watcher: Watcher,
        shortcuts: Shortcuts = Shortcuts(),
        *,
        job_factory: JobFactory | None = None,
        mirror: bool = True,
        beside: Beside | None = None,
    ) -> None:
        self._setting, self._study = prepared, study
        plan = prepared.plan
        told = told_before(prepared)
        earlier = prepared.earlier(study.folder)
        changes = study.claim(
            plan.text,
            plan.to_json(),
            prepared.identity(),
            prepared.device.to_json(),
            earlier_digests(plan.model),
        )
        remembered = earlier.remember(study.folder)
        self.notes = (*changes.notes, *earlier.notes, *plan.notes, *told)
        read = [ref for choice in plan.evaluators for ref in data_of_evaluator(choice)]
        self._example = first_prompt(read, prepared.catalog)
        self._not_repeated: str | None = None
        keep_example(study.folder, self._example)
        keep_raw_rows(study.folder, plan.evaluators, prepared.catalog, plan.permissions)
        keep_legal(study.folder, [f for f in (plan.model, plan.base) if f is not None])
        self._document = ResultsDocument(
            plan.name,
            plan.digest,
            prepared.device.to_json(),
            plan.objectives,
            plan.constraints,
            prepared.baseline.digest,
            self.notes,
            prepared.roofline,
            plan.search.prefer,
            lambda candidate: runtime_name(candidate, plan.model),
            told_of_priors(earlier, remembered),
        )
        self._watcher = watcher
        self._pace = Pace()
        self._workbench = job_factory or prepared.job_factory(study.folder)
        self._mirror = self._open_mirror() if mirror else None
        if plan.search.share_measurements:
            complete_structures(study, prepared.store)
        again = reopened(prepared, study, self.summary())
        first = [prepared.baseline, *plan.try_first]
        strategy = prepared.strategy(first)
        limits = self.summary().limits
        pending = {outcome.id for outcome in again} | study.paused.keys()
        ended = (o for o in study.outcomes if o.id not in pending)
        rebuild(
            strategy,
            (Ended(o, violations(o, limits)) for o in ended),
            (study.paused[id] for id in sorted(study.paused)),
        )
        self.engine = Engine(
            strategy=strategy,
            target=prepared.target,
            recorder=study,
            job_factory=self._workbench,
            evaluators=prepared.evaluators,
            objectives=plan.objectives,
            constraints=plan.constraints,
            look=prepared.look,
            watcher=watcher,
            on_outcome=self._after,
            on_update=self._updated,
            baseline=prepared.baseline.digest,
            prefer=plan.search.prefer,
            trials=plan.search.trials,
            time_s=plan.search.time_s,
            job_time_s=plan.search.job_time_s,
            job_memory=prepared.job_memory,
            shortcuts=replace(
                shortcuts,
                structures=shortcuts.structures and plan.search.share_measurements,
                parents=shortcuts.parents and plan.search.parent_quality,
            ),
            noise_floor=prepared.noise_floor,
            finals_s=plan.search.finals_s,
            aside=prepared.aside,
            again=again,
            space=plan.space,
            builds=plan.search.builds or plan.target.slots or build_slots(prepared.target),
            stopping=Stopping(
                plan.search.stop,
                plan.objectives,
                prepared.baseline.digest,
                stopped_at(earlier_end(study.folder), plan.search.stop),
            ),
            priors=earlier.priors,
            choosing=(beside and beside.choosing) or self._choosing,
            numbers=None if beside is None else beside.numbers,
            repeat_pick=plan.search.repeat_pick,
        )

    def _choosing(self) -> AbstractContextManager[object]:
        """Return a context in which no other process measures on this machine."""
        return MachineLock().use(alone=False, waits=self._watcher.note)

    def repeat_pick(self) -> None:
        """Build and measure the pick with other training seeds; it is decided by now.

        Raises:
            KeyboardInterrupt: As it came; what was in flight is unrecorded.
        """
        repeated = RepeatedPick(self.engine)
        repeated.run()
        self._not_repeated = repeated.reason

    def summary(self) -> StudySummary:
        """Return where the study stands."""
        plan, base = self._setting.plan, self._baseline_outcome()
        return summarize(
            self._study.outcomes, plan.objectives, plan.constraints, base, plan.search.prefer
        )

    def _baseline_outcome(self) -> TrialResult | None:
        return of_candidate(self._study.outcomes, self._setting.baseline.digest)

    def _open_mirror(self) -> MirrorKeeper:
        plan = self._setting.plan

        def make() -> Mirrored:
            from paretune.search.mirror import Mirror

            place = self._study.folder / "study.db"
            return Mirror(place, plan.name, plan.objectives, plan.space)

        keeper = MirrorKeeper(make, self._watcher.note)
        limits = self.summary().limits
        keeper.begin(self._study.outcomes, lambda outcome: violations(outcome, limits))
        return keeper

    def _after(self, outcome: TrialResult, summary: StudySummary) -> None:
        self.write_results(summary, "running")
        if self._mirror is not None:
            self._mirror.add(outcome, violations(outcome, summary.limits))

    def _updated(self, summary: StudySummary) -> None:
        """Rewrite the files that are read during a search; the mirror is rewritten at its end."""
        self.write_results(summary, "running")
        if self._mirror is not None:
            self._mirror.outdate()

    def most(self) -> int:
        """Return the maximum number of candidates of the study."""
        plan = self._setting.plan
        outside = {
            c.digest
            for c in (self._setting.baseline, *plan.try_first)
            if plan.space.index(c) is None
        }
        whole = plan.space.size + len(outside)
        return whole if plan.search.trials is None else min(whole, plan.search.trials)

    def _looked_at(self) -> int:
        """Return how many of `most` candidates have ended."""
        plan = self._setting.plan
        every = plan.search.trials is None  # else what is beyond the trials leaves them as they are
        return sum(
            not o.beyond_trials or (every and plan.space.index(o.candidate) is not None)
            for o in self._study.outcomes
        )

    def untried(self) -> list[str]:
        """Return notes on why the search ended and what it left out."""
        most, looked_at = self.most(), self._looked_at()
        lines = []
        if self.engine.stopping.reason is not None:
            lines.append(f"note: the search has ended: {self.engine.stopping.reason}")
        if self.engine.out_of_time and looked_at < most:
            lines.append(
                f"note: the time was used up; {most - looked_at} of {most} candidates were not "
                "tried. The same command with a larger --time continues with them"
            )
        lines += [f"note: {line}" for line in self.engine.time_budget.left_out()]
        lines += [f"note: {line}" for line in unsettled_notes(self._study.outcomes, self.summary())]
        return lines

    def opening(self) -> Opening:
        """Return what a display shows at the beginning."""
        from paretune.display.live import Opening

        plan, first = self._setting.plan, (self._setting.baseline, *self._setting.plan.try_first)
        hidden = plan.space.params_in_common(first)
        steps = (step for c in (*first, plan.space.at(0)) for step in c.recipe)
        values = {(s.name, k): v for s in steps for k, v in s.params.items()}
        limit = plan.search.time_s
        return Opening(
            plan.name,
            self.most(),
            None if limit is None else max(0.0, limit - self._study.spent()),
            len(self._study.outcomes),
            {key: values[key] for key in values if key in hidden},
        )

    def _ended(self, status: str) -> dict[str, Json] | None:
        """Return why the search ended, as `results.json` has it."""
        if status == "running":
            return None
        rule = self._setting.plan.search.stop
        return {
            "by": self.engine.ended_by() if status == "finished" else "interrupt",
            "reason": self.engine.stopping.reason,
            "stop": None if rule is None else rule.to_json(),
            "outcomes": len(self._study.outcomes),
        }

    def write_results(self, summary: StudySummary, status: str) -> Results | None:
        """Rewrite ``results.json``; returns its content where the search has ended.

        While it is, the file may be some seconds old: written after each of ten thousand
        candidates, it would be most of what the search does. At the end it is whole and durable.
        """
        if status == "running" and not self._pace.due():
            return None
        with self._pace:
            results = self._document.results(
                self._study.outcomes,
                summary,
                status,
                self._confirmed(summary),
                self._study.spent(),
                self._ended(status),
                whole=status != "running",
                repeats=self._repeats(summary),
            )
            if status != "running":
                results = with_other_devices(results, self._study.folder)
            text = self._document.text(results, self._study.outcomes, summary)
            write_atomic(self._study.folder / "results.json", text, durable=status != "running")
        return results

    def _confirmed(self, summary: StudySummary) -> dict[str, Measurement] | None:
        """Return the pick's metrics on the held-out data, if they were measured."""
        pick = with_id(self._study.outcomes, summary.best)
        key = [aside.key() for aside in self._setting.aside]
        return None if pick is None or not key else self._study.confirmed(pick, key)

    def _repeats(self, summary: StudySummary) -> MadeRepeats:
        pick = with_id(self._study.outcomes, summary.best)
        runs = [] if pick is None else self._study.repeats_of(pick)
        return MadeRepeats(self._setting.plan.search.repeat_pick, runs, self._not_repeated)

    def finish(self, status: str) -> SearchResult:
        """Write the output files and the package of the pick.

        Args:
            status: ``finished`` or ``interrupted``.
        """
        result = self._finished(status)
        return replace(result, devices={self._setting.device.name: result.best})

    def _finished(self, status: str) -> SearchResult:
        from paretune.reporting.outputs import comparison, hand_over, write_views

        study, prepared = self._study, self._setting
        prepared.store.sweep()
        summary = self.summary()
        if self._mirror is not None:
            self._mirror.finish(study.outcomes, lambda outcome: violations(outcome, summary.limits))
        results = self.write_results(summary, status)
        assert results is not None
        base = None if results.baseline is None else results.baseline.id
        paired = comparison(study.outcomes, summary.best, base)
        write_views(study.folder, results, {"paired": paired})
        best = study.folder / "best"
        pick = with_id(study.outcomes, summary.best)
        if pick is None:
            if status == "finished":  # that of an earlier pick, under other limits
                shutil.rmtree(best, ignore_errors=True)
            return SearchResult(study.folder, results.to_json(), None)
        if status == "finished":
            build_again(pick, prepared.store, prepared.target, self._workbench, self._watcher.note)
        # The pick may be the input model, and what interrupted the search that it was changed.
        with suppress(StateError) if status == "interrupted" else nullcontext():
            hand_over(
                pick,
                results,
                prepared.plan.to_json(),
                prepared.store,
                best,
                self._example,
                [study.folder / LEGAL],
                study.folder,
            )
        return SearchResult(study.folder, results.to_json(), best if best.is_dir() else None)


def keep_code(study: Path, code: Path | None) -> None:
    """Keep the modules of functions that were given, so that the study can be searched again."""
    for module in [] if code is None else code.glob("*.py"):
        (study / "code").mkdir(exist_ok=True)
        write_atomic(study / "code" / module.name, module.read_text("utf-8"), durable=False)
