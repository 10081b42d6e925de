"""Translates a whole Olive configuration, with the result for every key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from paretune.config.olive.adapters import Environment
from paretune.config.olive.checking import data_faults, pass_faults
from paretune.config.olive.data import DataSets
from paretune.config.olive.engine import Folders, evaluates_input, read_folders, translate_rest
from paretune.config.olive.entries import Entry, Ledger, Status
from paretune.config.olive.evaluators import Measured, translate_evaluators
from paretune.config.olive.metrics import FIRST_METRIC, LOWER
from paretune.config.olive.model import given_kind, model_place, takes_text, translate_model
from paretune.config.olive.passes import Chain
from paretune.config.olive.reading import Workflow, read_workflow
from paretune.config.olive.resources import Resources
from paretune.config.olive.strategy import Search, translate_strategy
from paretune.config.olive.systems import build_system, translate_systems
from paretune.config.olive.workspaces import Workspaces
from paretune.config.yaml_source import Path, Source
from paretune.core.errors import ConfigError, UsageError
from paretune.core.jsontools import Json
from paretune.core.model import ModelKind

_HINT = "docs/from-olive.md lists what is translated, and into what."


@dataclass(frozen=True)
class Translation:
    """A translated Olive configuration.

    Attributes:
        source: The JSON.
        config: Paretune's configuration; valid only if nothing is unsupported.
        entries: The result for each key.
        folders: The folders of Olive's cache and output.
        origins: A key of paretune's configuration to the key of the JSON that it came from.
    """

    source: Source
    config: dict[str, Json]
    entries: tuple[Entry, ...]
    folders: Folders
    origins: Mapping[Path, Path]

    def of(self, status: Status) -> tuple[Entry, ...]:
        """Return the entries of one status."""
        return tuple(entry for entry in self.entries if entry.status is status)

    @property
    def is_one_recipe(self) -> bool:
        """Whether there is nothing to search: what `paretune run` takes."""
        choices = any(isinstance(entry, dict) and "any" in entry for entry in self.config["passes"])
        several = len(self.config["target"]["providers"]) > 1
        return not (choices or several or "search" in self.config)

    def require_whole(self) -> None:
        """Refuse a configuration with unsupported keys.

        Raises:
            ConfigError: One key is unsupported.
            UsageError: Several are; each is listed, with its line.
        """
        errors = [
            self.source.error(entry.path, f"not supported: {entry.why}")
            for entry in self.of(Status.UNSUPPORTED)
        ]
        if len(errors) == 1:
            (error,) = errors
            raise ConfigError(
                error.detail, file=error.file, line=error.line, key=error.key, hint=_HINT
            )
        if errors:
            ordered = sorted(errors, key=lambda error: error.line or 0)
            told = "\n".join(str(error) for error in ordered)
            raise UsageError(
                f"{len(errors)} keys of this Olive configuration are not supported:\n{told}",
                hint=_HINT,
            )


def is_olive(value: Json) -> bool:
    """Return whether a configuration is Olive's, which has the key ``input_model``."""
    return isinstance(value, dict) and "input_model" in value


def translate(source: Source, placed: Callable[[str], str] = str) -> Translation:
    """Translate an Olive configuration of either generation; nothing is read but the JSON.

    Args:
        source: The JSON.
        placed: Converts a path to the form that paretune's configuration needs.

    Raises:
        ConfigError: It is not an Olive configuration.
    """
    if not is_olive(source.value):
        raise source.error(
            (),
            "this is not a configuration of Olive: it has no input_model",
            "A configuration of paretune needs no import.",
        )
    ledger = Ledger(source.value)
    workflow = read_workflow(source.value, ledger)
    folders = read_folders(workflow, ledger)
    search = translate_strategy(workflow, ledger)
    workspaces = Workspaces(workflow, ledger, placed)
    resources = Resources(ledger, workspaces, placed)
    data = DataSets(workflow.data, ledger, workflow.generation, folders.data, placed, resources)
    kind = given_kind(workflow)
    data.arrays = kind is not ModelKind.HF
    if takes_text(workflow):
        data.process = "" if kind is ModelKind.ONNX else model_place(workflow, placed)
        own = workflow.hf.take("dataset")
        if own is not None and own.value is None:
            ledger.no_effect(own.path, "it names no data set")
        else:
            data.of_model = own
    searching = search.on and search.parameters
    builds_on = build_system(workflow)
    around = Environment(ledger, workflow.generation, data, searching)
    chain = Chain(workflow, around, search.on, builds_on)
    measured = translate_evaluators(workflow, data, search.on, ledger)
    model = translate_model(workflow, ledger, placed, resources)
    config: dict[str, Json] = {"model": model}
    placement = translate_systems(workflow, ledger, builds_on, workspaces, placed)
    data.close()
    workspaces.close()
    if data.specs:
        config["data"] = data.specs
    config["passes"] = chain.entries
    config |= _baseline(workflow, chain, measured, search, ledger)
    config |= _measured(workflow, kind, measured, ledger)
    if placement.targets:
        config["targets"] = placement.targets
    config["target"] = placement.target
    if chain.settings:
        of_torch: list[Json] = ["torch_arrays"] if kind is ModelKind.HF_ENCODER else []
        config["runtimes"] = [{"onnxruntime": chain.settings}, *of_torch]
    if search.settings:
        config["search"] = search.settings
    translate_rest(workflow, ledger)
    _check(chain, data, ledger)
    return Translation(source, config, ledger.entries(), folders, ledger.origins)


def _check(chain: Chain, data: DataSets, ledger: Ledger) -> None:
    """Mark keys as unsupported that paretune's passes and data sets do not accept.

    Whether values fit together is checked only if each of them is valid.
    """
    for step in chain.steps:
        for parameter, why in pass_faults(step.counterpart.name, step.params):
            if parameter is not None:
                ledger.refuse(ledger.origin((*step.at, parameter)), why)
            elif not ledger.refuses(step.type[:-1]):
                ledger.refuse(step.type, why)
    for name, spec in data.specs.items():
        right = not ledger.refuses(ledger.origin(("data", name))[:-1])
        for keys, why in data_faults(spec):
            ours = ("data", name, *keys)
            if right or (keys and ours in ledger.origins):
                ledger.refuse(ledger.origin(ours), why)


def _baseline(
    workflow: Workflow, chain: Chain, measured: Measured | None, search: Search, ledger: Ledger
) -> dict[str, Json]:
    """Return the baseline: the input model if Olive measures it, else the recipe itself."""
    wanted, node = evaluates_input(workflow, ledger)
    path = (*workflow.engine.path, "evaluate_input_model") if node is None else node.path
    if search.on:
        if node is not None and wanted:
            ledger.translated(path, None, "the input model is the baseline")
        elif node is not None:
            ledger.approximated(
                path,
                None,
                "the input model is measured anyway, because candidates are compared with it",
            )
        return {}
    if measured is not None and wanted is not False:
        why = "the input model is the baseline; it is the pick where the objectives say so"
        if node is None:
            ledger.absent(path, None, f"Olive's default: {why}", Status.APPROXIMATED)
        else:
            ledger.approximated(path, None, why)
        return {}
    why = "the recipe is its own baseline: the input model is not measured"
    ledger.came_from(("baseline",), ("passes",))
    for i, _ in enumerate(chain.first):
        ledger.came_from(("baseline", i), ledger.origins.get(("passes", i), ("passes",)))
    if node is None:
        ledger.absent(path, ("baseline",), why)
    elif wanted:
        ledger.no_effect(path, "Olive measures nothing without an evaluator")
    else:
        ledger.translated(path, ("baseline",), why)
    return {"baseline": chain.first}


def _measured(
    workflow: Workflow, kind: ModelKind, measured: Measured | None, ledger: Ledger
) -> dict[str, Json]:
    """Return the evaluators and objectives; there is at least one of each."""
    of_arrays = kind is not ModelKind.HF
    found = measured or Measured()
    objectives = list(dict.fromkeys(metric for _, metric in found.objectives))
    evaluators = found.evaluators
    path = (*workflow.engine.path, "evaluator")
    if not evaluators:
        evaluators = {"latency" if of_arrays else "generation": {}, "footprint": {}}
        ledger.absent(path, ("evaluate",), "paretune measures what it makes: speed and size")
    if not objectives:
        objectives = [FIRST_METRIC[next(iter(evaluators))]]
        ledger.absent(path, ("objectives",), f"paretune needs one: {objectives[0]}")
    config: dict[str, Json] = {
        "evaluate": [{name: params} if params else name for name, params in evaluators.items()],
        "objectives": [
            {"minimize" if metric in LOWER else "maximize": metric} for metric in objectives
        ],
    }
    if found.constraints:
        config["constraints"] = found.constraints
    return config
