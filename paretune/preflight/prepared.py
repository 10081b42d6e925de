"""A plan and everything that it needs to be searched on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.config.measurable import misfits, need_of
from paretune.core.candidate import Candidate, RuntimeSettings
from paretune.core.device import with_least
from paretune.core.device_profile import DeviceProfile
from paretune.core.estimate import DataSize
from paretune.core.job import JOB_MEMORY_SHARE
from paretune.core.jsontools import Json
from paretune.core.measurement import MetricSpec
from paretune.core.model import Model, ModelInfo
from paretune.core.result import TrialResult
from paretune.core.stamps import take
from paretune.core.target import is_far
from paretune.models.handle import inspect, open_model
from paretune.preflight.baseline import baseline_recipe
from paretune.preflight.buildable import ask
from paretune.preflight.far_arrays import travelling_arrays
from paretune.preflight.far_builds import check_far_builds
from paretune.preflight.far_data import read_there
from paretune.preflight.far_evaluators import check_far_evaluators
from paretune.preflight.packages import check_packages, used_packages
from paretune.preflight.timed_builds import check_timed_builds
from paretune.registry import find, find_evaluator, find_pass, is_ours
from paretune.runtimes.serving import runtime_of, traffic_of
from paretune.search.constraints import Constraint
from paretune.search.jobs import Aside, EvaluatorSlot
from paretune.search.prechecks import Foresight, Prechecks
from paretune.search.priors import takes_priors
from paretune.search.roofline import context_of, roofline_entry
from paretune.search.strategies.full_trials import as_strategy
from paretune.store.artifacts import Store
from paretune.study.earlier import Earlier, no_use, read_earlier
from paretune.study.identity import data_of_evaluator, identity_of
from paretune.study.inputs import gather
from paretune.study.job_factory import StudyJobFactory, stops_of
from paretune.targets.device.providers import check_provider
from paretune.targets.split import builder_of, builders_of, near_target

if TYPE_CHECKING:
    from paretune.config import Plan
    from paretune.core.device import TargetInfo
    from paretune.core.target import Target
    from paretune.search.strategies.base import Strategy

_AUTO = "chains"
"""What `strategy: auto` is, for every space: `benchmarks/search_power.py` compares it."""


class PreparedSearch:
    """Everything that a plan needs to be searched on this machine.

    Args:
        plan: A checked configuration.
        store: Where artifacts are kept.
        target: A target to use instead of the one that the plan names.

    Attributes:
        device: Facts of the device that measures.
        builder: Facts of the machine that builds; of several, with the least that is free on one.
    """

    def __init__(self, plan: Plan, store: Store, target: Target | None = None) -> None:
        from paretune.data.catalog import DataCatalog

        check_packages(plan)
        self.plan = plan
        self.store = store
        self.model: Model = open_model(plan.model, plan.base)
        self.model_info: ModelInfo = inspect(plan.model, plan.base)
        self.evaluators = tuple(_slot(i, e) for i, e in enumerate(plan.evaluators))
        self._sizes: dict[str, DataSize] = {}
        self._reasons: dict[tuple[str, str], str | None] = {}
        self.target: Target = target or plan.target.open(
            store.root, plan.permissions, used_packages(plan, self.model.kind)
        )
        try:
            self.device: TargetInfo = self.target.info()
            self.profile = DeviceProfile.load(store.root, self.device.fingerprint)
            builder, builders = builder_of(self.target), builders_of(self.target)
            far, self.data_notes = read_there(plan, builder, store.root)
            allowed = plan.permissions
            self.catalog = DataCatalog(
                plan.data,
                plan.root,
                allowed.network,
                elsewhere=far,
                trust_remote_code=allowed.remote_code,
            )
            self.baseline = self._baseline()
            candidates = (self.baseline, *plan.try_first)
            self.inputs = gather(plan, self.model, self.catalog, candidates)
            measures = getattr(self.target, "measure", self.target)
            places = (*builders, measures)
            self._travelling = travelling_arrays(plan, candidates, places, self.catalog)
            facts = [self.device if each is self.target else each.info() for each in builders]
            self.builder = with_least(facts)
            check_timed_builds(plan, candidates, places)
            for each in filter(is_far, builders):
                check_far_builds(plan, candidates, each, self.catalog)
            if is_far(measures):
                check_far_evaluators(plan.evaluators, plan.root, measures)
            with near_target(self.target, store.root) as near:
                asked = ask(plan, self.baseline, near, store)
        except BaseException:
            if target is None:  # nobody else knows of it
                self.target.close()
            raise
        self.model_info = replace(self.model_info, unbuildable=asked.why_not)
        self.model_notes = () if asked.note is None else (asked.note,)
        memory = plan.search.job_memory_mb
        self.job_memory = None if memory is None else int(memory * 1e6)
        self._prechecks = Prechecks(
            self.model_info,
            self.builder,
            find_pass,
            self.job_memory,
            profile=self.profile,
            constraints=self._bounded(),
            prompts=prompts_of(plan.evaluators),
            spared=frozenset({self.baseline.digest}),
            size=self._data_size,
            traffic=traffic_of,
            device=None if builder is self.target else self.device,
        )

    @property
    def noise_floor(self) -> float | None:
        """Relative difference of two processes on this device; None: not measured yet."""
        return None if self._calm_profile is None else self._calm_profile.noise_floor

    @property
    def memory_of_a_job(self) -> int | None:
        """Bytes that a job may use: as configured, else most of the free memory; None: unknown."""
        if self.job_memory is not None:
            return self.job_memory
        return int(JOB_MEMORY_SHARE * self.builder.memory_free) or None

    @property
    def _calm_profile(self) -> DeviceProfile | None:
        """The device's profile, unless it was disturbed while it was measured."""
        return self.profile if self.profile is not None and self.profile.calm else None

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        """Every metric that the evaluators yield."""
        return tuple(spec for slot in self.evaluators for spec in slot.metrics)

    def _baseline(self) -> Candidate:
        """Return the baseline with its runtime settings."""
        recipe = baseline_recipe(self.plan, self.model.kind)
        return Candidate(recipe, self._first_settings(self.plan.space.kind_of(recipe)))

    def _first_settings(self, kind: str) -> RuntimeSettings:
        """Return a kind's first settings, with the largest thread count that has cores here."""
        settings = self.plan.space.runtimes_of(kind)
        first, counts = settings.at(0), settings.grids[0].grid["threads"]
        cores = self.device.logical_cores if self.device.processor else max(counts)
        return replace(first, threads=max((t for t in counts if t <= cores), default=min(counts)))

    def _bounded(self) -> tuple[Constraint, ...]:
        """Return the constraints that the roofline of one stream bounds."""
        several = any(choice.params.get("streams", 1) > 1 for choice in self.plan.evaluators)
        return tuple(
            constraint
            for constraint in self.plan.constraints
            if not (several and constraint.metric.startswith("decode_tokens_per_s"))
        )

    def look(self, candidate: Candidate) -> Foresight:
        """Return why a candidate cannot work on this machine, or what it is expected to cost."""
        why = check_provider(candidate.runtime.provider, self.device)
        if why is not None:
            return Foresight(why)
        foresight = self._prechecks.look(candidate)
        if foresight.reason is not None:
            return foresight
        recipe = candidate.recipe
        kind = find_pass(recipe[-1].name).produces if recipe else self.model.kind
        return replace(foresight, reason=self._unmeasurable(kind, candidate.runtime.name))

    def _unmeasurable(self, kind: str, name: str) -> str | None:
        """Return why a model of some kind cannot be measured, and what to do; None if it can.

        Args:
            kind: Of the model.
            name: The runtime that would run it; empty: the default one of its kind.
        """
        if (kind, name) not in self._reasons:
            needs = [need_of(e.name, e.params) for e in self.plan.evaluators]
            found = misfits(kind, needs, name=name)
            runtime = runtime_of(kind, name)
            lacks = None if runtime is None else runtime.unavailable(self.device)
            reason = f"{found[0].message}. {found[0].hint}" if found else lacks
            self._reasons[kind, name] = reason
        return self._reasons[kind, name]

    def _data_size(self, ref: str) -> DataSize:
        """Return how much there is in a data set."""
        if ref not in self._sizes:
            self._sizes[ref] = DataSize(*self.catalog.count(ref))
        return self._sizes[ref]

    def roofline(self, outcome: TrialResult) -> dict[str, Json] | None:
        """Return what a candidate needs of the device, and its share of the roofline."""
        info = self.look(outcome.candidate).final
        if info is None:
            return None
        runtime, measured = outcome.candidate.runtime, outcome.measurements or {}
        needs = traffic_of(info, runtime, context_of(measured))
        if needs is None:
            return None
        return roofline_entry(needs, runtime, self._calm_profile, measured)

    def identity(self) -> dict[str, Json]:
        """Return the identity of a study: what its outcomes are valid for."""
        return identity_of(self.plan, self.model, self.catalog, self.baseline)

    def earlier(self, study: Path) -> Earlier:
        """Return the earlier studies that give this search priors.

        Args:
            study: The study of this search, which may remember some.

        Raises:
            UsageError: A study that is named cannot be used here.
            StateError: A study that is named is damaged.
        """
        found = read_earlier(self.plan, self.specs, self.identity(), self.device.fingerprint, study)
        if not found.priors or takes_priors(self.strategy([self.baseline])):
            return found
        return replace(found, notes=(*found.notes, no_use(self.plan.search.strategy)))

    def job_factory(self, study: Path | None = None) -> StudyJobFactory:
        """Return the factory of this plan's jobs.

        Args:
            study: The study that uses the artifacts.
        """
        plan = self.plan
        if study is not None:
            for ref in self._travelling:
                copy = self.catalog.keep(ref, study / "arrays")
                self.inputs.add_copy(f"data {ref}", take(copy))
        return StudyJobFactory(
            self.model,
            self.store,
            self.catalog.to_json(),
            study=study,
            inputs=self.inputs,
            links=not plan.permissions.remote_code and all(map(_only_reads, plan.evaluators)),
            permissions=plan.permissions,
            stops=stops_of(plan.space),
            baseline=self.baseline,
            compared_on=self._compared_on(),
        )

    def _compared_on(self) -> str:
        """Return the first data set of arrays that an evaluator reads here; empty: none does."""
        refs = (ref for choice in self.plan.evaluators for ref in data_of_evaluator(choice))
        here = (r for r in refs if self.catalog.is_arrays(r) and self.catalog.far(r) is None)
        return next(here, "")

    @cached_property
    def aside(self) -> tuple[Aside, ...]:
        """Held-out parts (`split: {confirm}`) that the pick is measured on at the end."""
        found = []
        for slot, choice in zip(self.evaluators, self.plan.evaluators, strict=True):
            params, refs = dict(slot.params), data_of_evaluator(choice)
            if all(spec.device for spec in slot.metrics):
                continue
            for ref in refs:
                part = self.catalog.kept_aside(ref)
                own = [name for name, value in params.items() if value == ref]
                if part is None or ref != f"{part.removesuffix('confirm')}test" or not own:
                    continue
                params |= dict.fromkeys(own, part)
                texts = not self.catalog.is_arrays(ref)
                if slot.name == "classification" and texts and not params.get("labels"):
                    params["labels"] = list(self.catalog.load(ref).labels)
                share = self.catalog.count(part)[0] / self.catalog.count(ref)[0]
                found.append(
                    Aside(
                        replace(slot, params=params),
                        slot.name,
                        part,
                        self.catalog.digest(part),
                        share,
                    )
                )
                break
        return tuple(found)

    def strategy(self, first: list[Candidate]) -> Strategy:
        """Return the configured strategy."""
        plan = self.plan
        name = plan.search.strategy
        made = find("strategies", _AUTO if name == "auto" else name)(
            space=plan.space, objectives=plan.objectives, seed=plan.search.seed, first=first
        )
        return as_strategy(made)


def _only_reads(choice: Any) -> bool:
    """Return whether an evaluator ships with paretune, and so never writes to a model."""
    kind = find_evaluator(choice.name)
    return is_ours("evaluators", choice.name) and not getattr(kind, "runs_user_code", False)


def _slot(index: int, choice: Any) -> EvaluatorSlot:
    kind = find_evaluator(choice.name)
    evaluator = kind(kind.Params(**choice.params))
    processes = getattr(kind, "processes", 1)
    return EvaluatorSlot(
        index, choice.name, choice.params, evaluator.metrics, kind.rungs, processes
    )


def prompts_of(choices: Iterable[Any]) -> dict[str, int]:
    """Return the tokens of the prompt of each metric that is a time to a first token.

    An evaluator says so in a property ``prompts_by_metric``, if it has any such metric.
    """
    found: dict[str, int] = {}
    for choice in choices:
        kind = find_evaluator(choice.name)
        prompts = getattr(kind(kind.Params(**choice.params)), "prompts_by_metric", {})
        found |= {name: min(tokens, found.get(name, tokens)) for name, tokens in prompts.items()}
    return found
