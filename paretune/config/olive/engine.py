"""Translates the other keys of Olive's engine and workflow: folders, logs, caches, packages."""

from __future__ import annotations

from dataclasses import dataclass

from paretune.config.olive.entries import Ledger, Status
from paretune.config.olive.fields import (
    NULL,
    Fields,
    Node,
    Rule,
    apply,
    ignores,
    nearly,
    no_effect,
    only,
    refused,
    shown,
    text,
)
from paretune.config.olive.reading import Workflow
from paretune.core.jsontools import Json

_OF = "a workflow"
_FRESH = ignores("no outdated artifact is ever used: the store's keys are content digests")
_LOGS = ignores("paretune shows progress on the screen and keeps a log of each candidate")


def _packed(value: Json) -> Json:
    """Read how Olive packs its output: as files on this machine, or for a service of Azure's."""
    for one in value if isinstance(value, list) else [value]:
        kind = one.get("type", "Zipfile") if isinstance(one, dict) else one
        if not isinstance(kind, str) or not isinstance(one, dict):
            raise ValueError(f"expected settings of a package, found {shown(one)}")
        if kind.lower() != "zipfile":
            raise ValueError(f"the package is a folder on this machine; {shown(kind)} is not made")
    return value


_LOCAL_ONLY = only(False, why="Olive's default", otherwise="the store is on this machine only")
_ENGINE: dict[str, Rule] = {
    "clean_cache": _FRESH,
    "clean_evaluation_cache": _FRESH,
    "enable_shared_cache": _LOCAL_ONLY,
    "log_severity_level": _LOGS,
    "ort_log_severity_level": _LOGS,
    "ort_py_log_severity_level": _LOGS,
    "log_to_file": _LOGS,
    "plot_pareto_frontier": ignores("the report always contains this plot"),
    "no_artifacts": nearly("`best/` in the study's folder is always written"),
    "output_name": nearly("the result is in `best/` in the study's folder"),
    "packaging_config": Rule(
        _packed, None, Status.APPROXIMATED, "the package is the folder `best/` in the study"
    ),
}
_WORKFLOW: dict[str, Rule] = {
    "$schema": ignores("for editors"),
    "workflow_id": ignores("the study has the name of the file, or of its folder"),
    "auto_optimizer_config": refused("paretune picks no passes by itself"),
}


@dataclass(frozen=True)
class Folders:
    """The folders that Olive would use, as the JSON names them.

    Attributes:
        store: Its cache.
        study: Its output.
        data: What relative paths of data start from.
    """

    store: str | None
    study: str | None
    data: str | None


def read_folders(workflow: Workflow, ledger: Ledger) -> Folders:
    """Return the folders that a configuration names, and record their keys.

    Args:
        workflow: The configuration.
        ledger: Records the result for each key.
    """
    cache = Fields.of(workflow.engine.take("cache_config"), ledger)
    rules = {
        "clean_cache": _FRESH,
        "clean_evaluation_cache": _FRESH,
        "enable_shared_cache": _LOCAL_ONLY,
    }
    beside, inner = workflow.engine.take("cache_dir"), cache.take("cache_dir")
    if beside is not None and inner is not None:
        ledger.no_effect(beside.path, "cache_config takes precedence")
        beside = None
    apply(rules, cache, ledger, of="cache_config")
    return Folders(
        _folder(inner or beside, "--store", ledger),
        _folder(workflow.engine.take("output_dir"), "--study", ledger),
        _folder(workflow.own.take("data_root"), "data", ledger),
    )


def _folder(node: Node | None, switch: str, ledger: Ledger) -> str | None:
    """Return one folder; a list of one folder is accepted, an address on the network is not."""
    if node is None:
        return None
    value = node.value[0] if isinstance(node.value, list) and len(node.value) == 1 else node.value
    if value is None:
        ledger.no_effect(node.path, NULL)
        return None
    try:
        folder = text(value)
        if "://" in folder:
            raise ValueError("expected a folder on this machine")
    except ValueError as error:
        ledger.unsupported(node.path, str(error))
        return None
    ledger.translated(node.path, switch)
    return folder


def translate_rest(workflow: Workflow, ledger: Ledger) -> None:
    """Record every remaining key of the engine and the workflow.

    Args:
        workflow: The configuration.
        ledger: Records the result for each key.
    """
    apply(_ENGINE, workflow.engine, ledger, of=_OF)
    apply(_WORKFLOW, workflow.own, ledger, of=_OF)


def evaluates_input(workflow: Workflow, ledger: Ledger) -> tuple[bool | None, Node | None]:
    """Return whether the input model is to be measured (None: not given), and the key of that."""
    node = workflow.engine.take("evaluate_input_model")
    if node is None or node.value is None:
        no_effect(ledger, NULL, node)
        return None, None
    if not isinstance(node.value, bool):
        ledger.unsupported(node.path, f"expected true or false, found {shown(node.value)}")
        return None, None
    return node.value, node
