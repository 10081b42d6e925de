"""Reads a configuration and checks it whole, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from paretune.config.azure_inputs import AzureInputs
from paretune.config.azureml_targets import workspace_of
from paretune.config.booleans import misplaced_in
from paretune.config.data_use import check_data
from paretune.config.earlier_studies import configured_studies, given_studies
from paretune.config.given import read_config
from paretune.config.kinds import check_kinds
from paretune.config.known_targets import with_known
from paretune.config.lengths import check_lengths
from paretune.config.limits import read_constraints
from paretune.config.look_ahead import look_ahead, looking_ahead
from paretune.config.model_source import find_model
from paretune.config.model_use import base_model, look_at_model
from paretune.config.objectives import against_the_grain, read_objectives
from paretune.config.plan import Aside, DeviceSettings, EvaluatorChoice, Plan, SearchSettings
from paretune.config.reading import read_source
from paretune.config.runtimes import read_runtimes, read_settings, runtimes_by_kind
from paretune.config.schema import (
    ONE,
    SEVERAL,
    ConfigFile,
    DeclaredTarget,
    RaySection,
    SearchSection,
    TargetSection,
    TargetUse,
    seconds,
)
from paretune.config.single_recipe import refuse_several
from paretune.config.space_building import SpaceReader, shown
from paretune.config.target_uses import DeviceUse, device_uses, tried_on
from paretune.config.targets import TargetPlan, check_user_code, read_targets
from paretune.config.training_seeds import check_repeats
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Source
from paretune.core.candidate import Candidate
from paretune.core.errors import ConfigError, UsageError, nearest
from paretune.core.fidelity import METRICS as FIDELITY
from paretune.core.measurement import MetricSpec
from paretune.core.permissions import Permissions
from paretune.core.resources import physical_cores
from paretune.core.user_paths import expanded
from paretune.data.catalog import DataCatalog, DataSpec, Split, columns_of, references_of
from paretune.models.handle import detect_kind
from paretune.registry import find_evaluator, is_ours, names
from paretune.search.constraints import Objective
from paretune.search.space import Space, slots_of
from paretune.search.stop_rule import StopRule
from paretune.targets.device.providers import PROVIDERS


def load(
    config: Path | str | Mapping[str, Any],
    *,
    trials: int | None = None,
    time: str | float | None = None,
    single: bool = False,
    allow_network: bool = False,
    trust_remote_code: bool = False,
    from_studies: Sequence[Path | str] | None = None,
) -> Plan:
    """Read a configuration.

    Args:
        config: A file with YAML or JSON (Olive's JSON too), such text, or a mapping; see
            `paretune.config.given.read_config`.
        trials: In place of ``search: trials``.
        time: In place of ``search: time``; seconds, or ``10m``.
        single: Also require that it is one fixed recipe.
        allow_network: Whether hub data sets may be fetched.
        trust_remote_code: Whether code that the configuration names may run.
        from_studies: In place of ``search: from``.

    Returns:
        A plan that needs nothing else to run.

    Raises:
        ConfigError: One thing is wrong, at a line and a key.
        UsageError: There are several errors; all of them are reported.
        DataError: A data set is broken, empty or unlabelled.
    """
    text, file = read_config(config)
    source, aside = _source(text, str(file))
    reader = _Reader(source, file)
    plan = reader.plan(text, trials, time, Permissions(allow_network, trust_remote_code))
    if from_studies is not None:
        plan = replace(plan, search=replace(plan.search, earlier=given_studies(from_studies)))
    notes = (*aside.notes, *plan.notes)
    plan = replace(plan, notes=notes, study=aside.study, store=aside.store)
    if single:
        refuse_several(plan)
    return plan


def _source(text: str, file: str) -> tuple[Source, Aside]:
    """Return a configuration's source; Olive's is translated, and errors name Olive's keys."""
    if "input_model" not in text:
        return read_source(text, file), Aside()
    # Here, because a translation is a source itself, and so imports this package.
    from paretune.config.olive.source import open_source

    return open_source(text, file)


class _Reader:
    """Converts one configuration into a plan, and collects errors."""

    def __init__(self, source: Source, file: Path) -> None:
        self.source = source
        self.file = file
        self.root = file.parent
        self.errors: list[ConfigError] = []
        self.spaces = SpaceReader(source, self.errors)

    def wrong(self, path: KeyPath, message: str, hint: str | None = None) -> None:
        self.errors.append(self.source.error(path, message, hint))

    def stop_if_wrong(self) -> None:
        """Raise the collected errors: one error unchanged, several as one."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            ordered = sorted(self.errors, key=lambda e: e.line or 0)
            # A recipe that is its own baseline (Olive's) has each of its faults twice.
            lines = list(dict.fromkeys(str(error) for error in ordered))
            raise UsageError(f"{len(lines)} errors:\n" + "\n".join(lines))

    def plan(
        self,
        text: str,
        trials: int | None,
        time: str | float | None,
        permissions: Permissions,
    ) -> Plan:
        config = self.sections()
        config = config.model_copy(update={"data": self.data_at_home(config.data)})
        declared = with_known(config.targets, config.target)
        azure = AzureInputs(workspace_of(declared, self.root), permissions)
        model = self.model(config.model, permissions, azure)
        stages = self.spaces.stages(config.passes, ("passes",))
        baseline = None
        if config.baseline is not None:
            baseline = look_ahead(self.spaces.recipe(config.baseline, ("baseline",)))
        uses = device_uses(config.target)
        for use in uses:
            self.check_providers(use)
        targets = read_targets(config.target, declared, self.root, self.wrong)
        self.check_slots(targets, config.search)
        choices = read_runtimes(config.runtimes, self.spaces, self.wrong)
        providers, threads = tried_on(uses[0], choices)
        try_first = self.try_first(config.try_first, providers, threads)
        evaluators = self.evaluators(config.evaluate, permissions)
        if len(evaluators) < len(config.evaluate):
            self.stop_if_wrong()  # what a wrong evaluator would yield is not known
        check_user_code(targets, [choice.name for choice in evaluators], self.wrong)
        metrics = self.metrics(evaluators)
        objectives = read_objectives(config.objectives, metrics, self.wrong)
        constraints, limit_notes = read_constraints(
            config.constraints, metrics, _of_others(evaluators), self.wrong
        )
        settings = self.settings(config.search, objectives, trials, time)
        self.templates(config.data)
        self.stop_if_wrong()
        recipes = [baseline or (), *(c.recipe for c in try_first)]
        base = base_model(model, self.root, self.wrong, permissions)
        self.stop_if_wrong()
        used = {slot.name for stage in stages for slot in slots_of(stage)}
        used |= {step.name for recipe in recipes for step in recipe}
        check_repeats(settings.repeat_pick, used, self.wrong)
        used |= {"merge", "genai"}  # a baseline that is not named may go through them

        def device(use: DeviceUse) -> DeviceSettings:
            common = (list(use.providers), list(use.threads) or [physical_cores()])
            by_kind = runtimes_by_kind(choices, *common, detect_kind(model), used)
            tried = tried_on(use, choices)
            first = self.try_first(config.try_first, *tried)
            space = Space(stages, *tried, by_kind, looking_ahead(stages))
            return DeviceSettings(use.name, *tried, space, first)

        devices = tuple(map(device, uses))
        space = devices[0].space
        check_kinds(model, space, baseline, try_first, evaluators, self.wrong)
        model_notes = look_at_model(model, base, self.wrong)
        catalog = DataCatalog(config.data, self.root, permissions.network, copied=azure.file)
        notes = (*limit_notes, *against_the_grain(objectives, constraints, metrics))
        data_notes, evaluators, far = check_data(
            catalog, stages, recipes, evaluators, self.wrong, targets.builds_in_azure
        )
        check_lengths(base or model, evaluators, self.wrong)
        self.stop_if_wrong()
        return Plan(
            name=self.file.stem,
            file=self.file,
            text=text,
            root=self.root,
            model=model,
            data=azure.with_copies(config.data),
            space=space,
            runtimes=choices,
            baseline=baseline,
            try_first=try_first,
            evaluators=evaluators,
            objectives=objectives,
            constraints=constraints,
            target=targets,
            providers=providers,
            threads=threads,
            search=settings,
            permissions=permissions,
            notes=(*model_notes, *notes, *data_notes),
            base=base,
            source=self.source,
            devices=devices,
            far_refs=far,
            workspace=azure.workspace,
        )

    def sections(self) -> ConfigFile:
        """Validate the configuration's own keys; passes and evaluators come later."""
        value = self.source.value
        if not isinstance(value, dict):
            raise self.source.error(
                (),
                "expected keys such as model: and passes:",
                "`paretune init` writes a first configuration.",
            )
        told = self.booleans(ConfigFile, value, ())
        try:
            return ConfigFile.model_validate(value)
        except ValidationError as error:
            for detail in error.errors():
                if not any(tuple(detail["loc"])[: len(path)] == path for path in told):
                    self._pydantic(detail)
            self.stop_if_wrong()
            raise

    def booleans(self, fields: type[BaseModel], value: Any, at: KeyPath) -> list[KeyPath]:
        """Refuse booleans where a number or text belongs; returns where they are."""
        found = [((*at, *path), expected) for path, expected in misplaced_in(fields, value)]
        for path, expected in found:
            self.wrong(path, *self.source.no_boolean(path, expected))
        return [path for path, _ in found]

    def _pydantic(self, detail: Any) -> None:
        loc: KeyPath = tuple(detail["loc"])
        if loc[:1] == ("target",) and loc[1:2] in ((ONE,), (SEVERAL,)):
            loc = (loc[0], *loc[2:])  # which form it is, is no key
        kind = detail["type"]
        if kind == "extra_forbidden":
            known = _known_keys(loc[:-1])
            self.wrong(loc, f"unknown key {loc[-1]!r}", nearest(str(loc[-1]), known))
        elif kind == "missing":
            self.wrong(loc[:-1], f"the key {loc[-1]!r} is missing")
        else:
            told = detail["msg"].removeprefix("Value error, ")
            if kind in ("model_type", "dict_type"):
                told = "expected keys with values (`key: value`)"
            elif kind == "too_short" and loc == ("target",):
                told = "expected at least one target, such as `- {name: local}`"
            self.wrong(loc, f"{told[0].lower()}{told[1:]}, found {shown(detail['input'])}")

    def model(self, name: str, permissions: Permissions, azure: AzureInputs) -> Path:
        try:
            return find_model(name, self.root, permissions, azure)
        except UsageError as error:
            self.wrong(("model",), error.message, error.hint)
            return self.root / name

    def data_at_home(self, data: dict[str, DataSpec]) -> dict[str, DataSpec]:
        """Return the data sets with ``~`` in their files' paths as the home folder."""
        found = {}
        for name, spec in data.items():
            try:
                file = None if spec.file is None else expanded(spec.file)
                files = spec.files and {part: expanded(f) for part, f in spec.files.items()}
            except UsageError as error:
                self.wrong(("data", name), error.message, error.hint)
                continue
            found[name] = spec.model_copy(update={"file": file, "files": files})
        return found

    def check_slots(self, targets: TargetPlan, section: SearchSection) -> None:
        if section.builds is not None and len(targets.builders) > 1:
            self.wrong(
                ("search", "builds"),
                f"stands beside several targets that build ({', '.join(targets.builders)})",
                "Write `slots: N` for each of them under `target`.",
            )
        elif section.builds is not None and targets.slots is not None:
            self.wrong(
                ("search", "builds"),
                f"stands beside `slots: {targets.slots}` under `target`: expected one of them",
                "Leave `builds` out: `slots` says how many builds run at once, and where.",
            )

    def check_providers(self, use: DeviceUse) -> None:
        for i, provider in enumerate(use.providers):
            if provider not in PROVIDERS:
                self.wrong(
                    (*use.path, "providers", i),
                    f"no execution provider {provider!r}",
                    nearest(provider, PROVIDERS),
                )

    def try_first(
        self, entries: list[Any], providers: tuple[str, ...], threads: tuple[int, ...]
    ) -> tuple[Candidate, ...]:
        found = []
        for i, entry in enumerate(entries):
            path: KeyPath = ("try_first", i)
            settings: dict[str, Any] = {}
            if isinstance(entry, dict) and "recipe" in entry:
                settings = {k: v for k, v in entry.items() if k != "recipe"}
                path, entry = (*path, "recipe"), entry["recipe"]
            settings = {"provider": providers[0], "threads": max(threads), **settings}
            runtime = read_settings(settings, path[:2], self.wrong)
            if runtime is None:
                continue
            found.append(Candidate(look_ahead(self.spaces.recipe(entry, path)), runtime))
        return tuple(found)

    def evaluators(
        self, entries: list[Any], permissions: Permissions
    ) -> tuple[EvaluatorChoice, ...]:
        found = []
        for i, entry in enumerate(entries):
            path: KeyPath = ("evaluate", i)
            params: Any
            if isinstance(entry, str):
                name, params = entry, {}
            elif isinstance(entry, dict) and len(entry) == 1:
                ((name, params),) = entry.items()
            else:
                self.wrong(path, f"expected an evaluator's name, found {shown(entry)}")
                continue
            choice = self._evaluator(name, params or {}, (*path, name))
            if choice is None:
                continue
            if (
                getattr(find_evaluator(name), "runs_user_code", False)
                and not permissions.remote_code
            ):
                self.wrong(
                    (*path, name),
                    f"{name} runs code that the configuration names, which is not allowed by "
                    "default",
                    "If you trust this code, allow it with --trust-remote-code.",
                )
            found.append(choice)
        return tuple(found)

    def _evaluator(self, name: str, params: Any, path: KeyPath) -> EvaluatorChoice | None:
        try:
            kind = find_evaluator(name)
        except UsageError as error:
            self.wrong(path, error.message, error.hint)
            return None
        if not isinstance(params, dict):
            self.wrong(path, f"expected parameters by name, found {shown(params)}")
            return None
        told = self.booleans(kind.Params, params, path)
        try:
            read = kind.Params(**params)
        except ValidationError as error:
            for detail in error.errors():
                at = (*path, *detail["loc"])
                if any(at[: len(where)] == where for where in told):
                    continue
                if detail["type"] == "extra_forbidden":
                    key = str(detail["loc"][-1])
                    self.wrong(
                        at,
                        f"the evaluator {name} has no parameter {key!r}",
                        nearest(key, kind.Params.model_fields),
                    )
                elif detail["type"] == "missing":
                    self.wrong(path, f"the evaluator {name} needs {detail['loc'][-1]!r}")
                else:
                    self.wrong(at, f"{detail['msg']}, found {shown(detail['input'])}")
            return None
        if told:
            return None
        return EvaluatorChoice(name, read.model_dump(mode="json", exclude_unset=True))

    def metrics(self, evaluators: Iterable[EvaluatorChoice]) -> dict[str, MetricSpec]:
        """Return all metrics by name; refuse a metric that two evaluators yield."""
        found: dict[str, MetricSpec] = {}
        owner: dict[str, str] = {}
        for choice in evaluators:
            kind = find_evaluator(choice.name)
            for spec in kind(kind.Params(**choice.params)).metrics:
                if spec.name in found:
                    self.wrong(
                        ("evaluate",),
                        f"both {owner[spec.name]} and {choice.name} yield the metric {spec.name}",
                        "Remove one of them.",
                    )
                found[spec.name], owner[spec.name] = spec, choice.name
        return {spec.name: spec for spec in FIDELITY} | found

    def settings(
        self,
        section: SearchSection,
        objectives: tuple[Objective, ...],
        trials: int | None,
        time: str | float | None,
    ) -> SearchSettings:
        known = (*names("strategies"), "auto")
        if section.strategy not in known:
            self.wrong(
                ("search", "strategy"),
                f"no strategy named {section.strategy!r}",
                nearest(section.strategy, known),
            )
        wanted = [o.metric for o in objectives]
        if section.prefer is not None and section.prefer not in wanted:
            self.wrong(
                ("search", "prefer"),
                f"{section.prefer!r} is not an objective",
                nearest(section.prefer, wanted),
            )
        limit: Any = section.time
        if time is not None:
            try:
                limit = seconds(time)
            except ValueError as error:
                raise UsageError(f"--time {time!r}: {error}") from error
        return SearchSettings(
            section.strategy,
            section.trials if trials is None else trials,
            limit,
            section.seed,
            section.prefer,
            section.job_time,
            section.job_memory,
            section.finals,
            section.builds,
            section.share_measurements,
            None if section.stop is None else StopRule(**dict(section.stop)),
            configured_studies(section.from_, self.root, self.wrong),
            section.parent_quality,
            section.repeat_pick,
        )

    def templates(self, data: dict[str, DataSpec]) -> None:
        seen: dict[str, str] = {}
        for name, spec in data.items():
            if not name.strip() or name != name.strip() or not name.isprintable():
                self.wrong(
                    ("data", name),
                    f"{name!r} is not a valid name: expected a name without spaces at its ends "
                    "and without control characters",
                )
            for key in ("prompt", "answer", "text"):
                template = getattr(spec, key)
                try:
                    columns_of(template or "")
                except ValueError as error:
                    self.wrong(("data", name, key), str(error))
            for ref in references_of(name, spec):
                if seen.setdefault(ref, name) != name:
                    self.wrong(
                        ("data", name),
                        f"the reference {ref!r} is ambiguous: it also means a part of the data set "
                        f"{seen[ref]!r}",
                        "Rename one of the two data sets.",
                    )


def _of_others(evaluators: Iterable[EvaluatorChoice]) -> frozenset[str]:
    """Return the metrics that a user's function or another package's evaluator yields."""
    others = (e for e in evaluators if e.name == "custom" or not is_ours("evaluators", e.name))
    made = (find_evaluator(e.name)(find_evaluator(e.name).Params(**e.params)) for e in others)
    return frozenset(spec.name for evaluator in made for spec in evaluator.metrics)


def _known_keys(loc: KeyPath) -> Iterable[str]:
    """Return the valid keys at a place of the configuration's own sections."""
    by_place: dict[tuple[str | int, ...], type[BaseModel]] = {
        (): ConfigFile,
        ("target",): TargetSection,
        ("search",): SearchSection,
    }
    if loc[:1] == ("targets",):
        return (RaySection if loc[2:] == ("ray",) else DeclaredTarget).model_fields
    if loc[:1] == ("target",) and len(loc) == 2:
        return TargetUse.model_fields
    if loc in by_place:
        return [field.alias or name for name, field in by_place[loc].model_fields.items()]
    return Split.model_fields if loc[-1:] == ("split",) else DataSpec.model_fields
