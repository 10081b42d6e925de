"""A plan: a configuration that was checked whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.azure.addresses import is_azure
from paretune.config.runtimes import RuntimeChoice
from paretune.config.target_uses import to_json as use_to_json
from paretune.config.targets import TargetPlan
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Source, key_of
from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.errors import ConfigError
from paretune.core.jsontools import Json, digest
from paretune.core.permissions import Permissions
from paretune.data.catalog import DataSpec, references_of
from paretune.search.constraints import Constraint, Objective
from paretune.search.space import Chain, PassSlot, Space, Stage
from paretune.search.stop_rule import StopRule
from paretune.search.tolerance import DEFAULT

if TYPE_CHECKING:
    from paretune.azure.workspace import Workspace

_LISTED = 100
"""Most values of a range that the resolved configuration lists."""


@dataclass(frozen=True)
class EvaluatorChoice:
    """An evaluator with its parameters.

    Attributes:
        name: As in the registry.
        params: As configured, converted.
    """

    name: str
    params: Mapping[str, Json]


@dataclass(frozen=True)
class EarlierStudy:
    """A study that gives this search priors.

    Attributes:
        path: Its folder.
        key: Where the configuration names it; None: the call does.
    """

    path: Path
    key: KeyPath | None = None


@dataclass(frozen=True)
class SearchSettings:
    """How long to search, and how.

    Attributes:
        strategy: A strategy's name, or ``auto``.
        trials: Maximum number of candidates that run a job.
        time_s: Maximum seconds.
        seed: Seed of sampled strategies.
        prefer: Objective that decides first which candidate is best.
        job_time_s: Maximum seconds of one job.
        job_memory_mb: Maximum MB of one job.
        finals_s: Maximum seconds of the re-measurement of the finalists.
        builds: Maximum number of builds at the same time; None: what the target runs.
        share_measurements: Whether builds of the same structure share the metrics of the device.
        stop: When enough is gained; None: it is not asked about.
        earlier: Studies that give it priors; None: those that its study remembers.
        parent_quality: Whether a trained model is measured before its builds, where that pays.
        repeat_pick: How often the pick is built again with other training seeds.
    """

    strategy: str = "auto"
    trials: int | None = None
    time_s: float | None = None
    seed: int = 0
    prefer: str | None = None
    job_time_s: float | None = 3600.0
    job_memory_mb: float | None = None
    finals_s: float = 60.0
    builds: int | None = None
    share_measurements: bool = True
    stop: StopRule | None = None
    earlier: tuple[EarlierStudy, ...] | None = None
    parent_quality: bool = True
    repeat_pick: int = 0


@dataclass(frozen=True)
class Aside:
    """Parts of another tool's configuration for which there is no key here.

    Attributes:
        notes: Notes for the user.
        study: Folder of the study; None: the default.
        store: Folder of the store; None: the default.
    """

    notes: tuple[str, ...] = ()
    study: Path | None = None
    store: Path | None = None


@dataclass(frozen=True)
class DeviceSettings:
    """What is tried on one of the devices that measure.

    Attributes:
        name: The target's name.
        providers: Execution providers to try.
        threads: Thread counts to try.
        space: What to try.
        try_first: Candidates to try first.
    """

    name: str
    providers: tuple[str, ...]
    threads: tuple[int, ...]
    space: Space
    try_first: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that a search needs to know.

    Attributes:
        name: The configuration's stem.
        file: The configuration.
        text: Its text.
        root: Folder that relative paths start from.
        model: Folder of the input model.
        data: Data sets by name.
        space: What to try.
        baseline: Its recipe, if one is named.
        try_first: Candidates to try first.
        evaluators: In order.
        objectives: Most important first.
        constraints: What must hold.
        target: Where models are built and measured.
        providers: Execution providers to try.
        threads: Thread counts to try.
        runtimes: Runtimes to try; empty: each kind's default one.
        search: How long, and how.
        permissions: From the command line only.
        notes: Notes for the user; they are not errors.
        study: Folder of the study, if the configuration names it (Olive's does); None: the default.
        store: Folder of the store, if it names it; None: the default.
        base: The folder of the base, if the input model is an adapter.
        source: The lines of its keys in the text.
        far_refs: What only the builder reads, of data in Azure (``tone.train``).
        workspace: In Azure, for addresses that name none; None: there is none, or several.
        devices: The devices that measure, in order: `space`, `try_first`, `providers` and `threads`
            are those of the first one.
    """

    name: str
    file: Path
    text: str
    root: Path
    model: Path
    data: Mapping[str, DataSpec]
    space: Space
    baseline: tuple[Step, ...] | None
    try_first: tuple[Candidate, ...]
    evaluators: tuple[EvaluatorChoice, ...]
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    target: TargetPlan
    providers: tuple[str, ...]
    threads: tuple[int, ...]
    search: SearchSettings
    runtimes: tuple[RuntimeChoice, ...] = ()
    permissions: Permissions = Permissions()
    notes: tuple[str, ...] = ()
    study: Path | None = None
    store: Path | None = None
    base: Path | None = None
    source: Source | None = field(default=None, repr=False, compare=False)
    far_refs: frozenset[str] = frozenset()
    workspace: Workspace | None = None
    devices: tuple[DeviceSettings, ...] = ()

    @property
    def far_data(self) -> tuple[str, ...]:
        """The names of the data sets that only the builder reads."""
        places = {
            ref: name for name, spec in self.data.items() for ref in references_of(name, spec)
        }
        return tuple(sorted({places[ref] for ref in self.far_refs}))

    def for_device(self, device: DeviceSettings) -> Plan:
        """Return the plan of a study of one of the devices."""
        return replace(
            self,
            target=TargetPlan(self.target.build, device.name, self.target.declared),
            space=device.space,
            try_first=device.try_first,
            providers=device.providers,
            threads=device.threads,
            devices=(device,),
        )

    def wrong_at(self, path: KeyPath, message: str, hint: str | None = None) -> ConfigError:
        """Return an error at a key that was found by more than the configuration alone.

        Args:
            path: The key's path.
            message: What is wrong, and what was expected.
            hint: What to do.
        """
        if self.source is None:
            return ConfigError(message, file=str(self.file), key=key_of(path), hint=hint)
        return self.source.error(path, message, hint)

    @cached_property
    def digest(self) -> str:
        """Digest of the resolved configuration."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, Json]:
        """Return the resolved configuration: it can be run as a configuration itself."""
        search = self.search
        settings = {
            "strategy": search.strategy,
            "trials": search.trials,
            "time": search.time_s,
            "seed": search.seed,
            "prefer": search.prefer,
            "job_time": search.job_time_s,
            "job_memory": search.job_memory_mb,
            "finals": search.finals_s,
            **({} if search.builds is None else {"builds": search.builds}),
            **({} if search.share_measurements else {"share_measurements": False}),
            **({} if search.parent_quality else {"parent_quality": False}),
            **({} if not search.repeat_pick else {"repeat_pick": search.repeat_pick}),
            **({} if search.stop is None else {"stop": search.stop.to_json()}),
            **({} if search.earlier is None else {"from": _folders(search.earlier)}),
        }
        config: dict[str, Json] = {
            "model": str(self.model.resolve()),
            "data": {name: self._spec(spec) for name, spec in self.data.items()},
            "passes": [_entry(stage) for stage in self.space.stages],
        }
        if self.baseline is not None:
            config["baseline"] = _recipe(self.baseline)
        if self.try_first:
            config["try_first"] = [
                {"recipe": _recipe(c.recipe), **_settings(c.runtime)} for c in self.try_first
            ]
        if self.runtimes:
            config["runtimes"] = [choice.to_json() for choice in self.runtimes]
        if self.target.declared:
            config["targets"] = self.target.declared_to_json()
        return config | {
            "evaluate": [{e.name: dict(e.params)} if e.params else e.name for e in self.evaluators],
            "target": self._target(),
            "objectives": [_objective(o) for o in self.objectives],
            "constraints": [c.text for c in self.constraints],
            "search": {name: value for name, value in settings.items() if value is not None},
        }

    def _target(self) -> Json:
        if not self.target.uses:
            settings = {"providers": list(self.providers), "threads": list(self.threads)}
            return self.target.to_json() | settings
        tried = {device.name: (device.providers, device.threads) for device in self.devices}
        return [use_to_json(use, tried) for use in self.target.uses]

    def _spec(self, spec: DataSpec) -> dict[str, Json]:
        """Return a data set's entry with its paths made absolute."""
        shown = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        if spec.file is not None:
            shown["file"] = self._absolute(spec.file)
        if spec.files is not None:
            shown["files"] = {part: self._absolute(file) for part, file in spec.files.items()}
        return shown

    def _absolute(self, name: str) -> str:
        if is_azure(name):
            return name
        beside = self.root / name
        return str((beside if beside.exists() else Path(name)).resolve())


def _folders(studies: tuple[EarlierStudy, ...]) -> list[str]:
    return [str(study.path.resolve()) for study in studies]


def _objective(objective: Objective) -> dict[str, Json]:
    entry: dict[str, Json] = {objective.direction: objective.metric}
    if objective.within != DEFAULT:
        entry["within"] = objective.within.to_json()
    return entry


def _settings(runtime: RuntimeSettings) -> dict[str, Json]:
    return runtime.settings | ({"runtime": runtime.name} if runtime.name else {})


def _recipe(recipe: tuple[Step, ...]) -> list[Json]:
    return [{step.name: dict(step.params)} if step.params else step.name for step in recipe]


def _values(values: tuple[Json, ...], given: Mapping[str, Json] | None) -> Json:
    """Return the values of a parameter; a long list that a range stands for as this range."""
    if given is not None and len(values) > _LISTED:
        return dict(given)
    return values[0] if len(values) == 1 else list(values)


def _entry(stage: Stage) -> Json:
    if isinstance(stage, Chain):
        return [_entry(inner) for inner in stage.stages]
    extra = {"optional": True} if stage.optional else {}
    if isinstance(stage, PassSlot):
        grid = {n: _values(v, stage.ranges.get(n)) for n, v in stage.grid.items()}
        return {stage.name: grid, **extra} if grid or extra else stage.name
    return {"any": [_entry(option) for option in stage.options], **extra}
