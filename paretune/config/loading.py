"""Reads a configuration and checks it whole, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.config.azure_inputs import AzureInputs
from paretune.config.azureml_targets import workspace_of
from paretune.config.data_forms import check_forms_of_passes, with_forms
from paretune.config.data_use import check_data
from paretune.config.earlier_studies import given_studies
from paretune.config.evaluators import metrics_of, metrics_of_others, read_evaluators
from paretune.config.given import read_config
from paretune.config.kinds import check_kinds
from paretune.config.known_targets import with_known
from paretune.config.lengths import check_lengths
from paretune.config.limits import read_constraints
from paretune.config.look_ahead import look_ahead, looking_ahead
from paretune.config.model_section import ModuleSource, NetworkSource
from paretune.config.model_source import find_model, find_module, find_network
from paretune.config.model_use import base_model, look_at_model
from paretune.config.network_inputs import check_network_inputs
from paretune.config.objectives import against_the_grain, read_objectives
from paretune.config.plan import Aside, DeviceSettings, Plan
from paretune.config.reading import read_source
from paretune.config.runtimes import read_runtimes, read_settings, runtimes_by_kind
from paretune.config.search_settings import check_slots, read_search
from paretune.config.sections import read_sections
from paretune.config.single_recipe import refuse_several
from paretune.config.space_building import SpaceReader
from paretune.config.target_uses import DeviceUse, device_uses, tried_on
from paretune.config.targets import check_user_code, read_targets
from paretune.config.training_seeds import check_repeats
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Source
from paretune.core.candidate import Candidate
from paretune.core.errors import ConfigError, UsageError, nearest
from paretune.core.permissions import Permissions
from paretune.core.resources import physical_cores
from paretune.core.user_paths import expanded
from paretune.data.catalog import DataCatalog, DataSpec, columns_of, references_of
from paretune.models.declared_network import DeclaredNetwork
from paretune.models.described_module import ModuleInput
from paretune.models.handle import detect_kind
from paretune.search.space import Space, slots_of
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
        config = read_sections(self.source, self.wrong, self.stop_if_wrong)
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
        check_slots(targets, config.search, self.wrong)
        choices = read_runtimes(config.runtimes, self.spaces, self.wrong)
        providers, threads = tried_on(uses[0], choices)
        try_first = self.try_first(config.try_first, providers, threads)
        evaluators = read_evaluators(config.evaluate, permissions, self.source, self.wrong)
        if len(evaluators) < len(config.evaluate):
            self.stop_if_wrong()  # what a wrong evaluator would yield is not known
        evaluators = with_forms(evaluators, config.data, self.wrong)
        check_user_code(targets, [(e.name, e.params) for e in evaluators], self.wrong)
        metrics = metrics_of(evaluators, self.wrong)
        objectives = read_objectives(config.objectives, metrics, self.wrong)
        constraints, limit_notes = read_constraints(
            config.constraints, metrics, metrics_of_others(evaluators), self.wrong
        )
        settings = read_search(config.search, objectives, self.root, self.wrong, trials, time)
        self.templates(config.data)
        self.stop_if_wrong()
        recipes = [baseline or (), *(c.recipe for c in try_first)]
        check_forms_of_passes(stages, recipes, config.data, self.wrong)
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
        catalog = DataCatalog(
            config.data,
            self.root,
            permissions.network,
            copied=azure.file,
            trust_remote_code=permissions.remote_code,
        )
        check_network_inputs(model, config.data, evaluators, self.wrong)
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

    def model(
        self,
        given: str | NetworkSource | ModuleSource,
        permissions: Permissions,
        azure: AzureInputs,
    ) -> Path:
        name = given if isinstance(given, str) else ""
        try:
            if isinstance(given, ModuleSource):
                name = given.module
                inputs = {
                    name: ModuleInput(tuple(each.shape), each.type)
                    for name, each in given.inputs.items()
                }
                return find_module(given.module, inputs, given.files, self.root, permissions)
            if isinstance(given, NetworkSource):
                name = given.path
                declared = DeclaredNetwork(given.sizes, given.state, given.values)
                return find_network(given.path, declared, self.root, permissions, azure)
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
