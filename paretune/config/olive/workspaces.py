"""Olive's clients of Azure Machine Learning: the workspaces that a configuration names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from paretune.azure.workspace import Workspace as AzureWorkspace
from paretune.config.olive.entries import Ledger, Status
from paretune.config.olive.fields import (
    NULL,
    Fields,
    Node,
    Rule,
    apply,
    missing,
    nearly,
    one,
    shown,
    takes,
    text,
)
from paretune.config.olive.reading import Workflow
from paretune.config.yaml_source import Path, key_of
from paretune.core.jsontools import Json

_CLIENT = "azureml_client_config"
_DATA_CLIENT = "azureml_client"
_OF = "an AzureML client"
_UNFILLED = re.compile(r"(your\s.*|<[^>]*>)", re.IGNORECASE)
_NAMES = ("subscription_id", "resource_group", "workspace_name")
_TIMES = nearly("paretune has time limits of its own, and tries again what may pass")


def no_placeholder(value: Json) -> str:
    """Read text that is not the placeholder of a tutorial."""
    found = text(value)
    if _UNFILLED.fullmatch(found):
        raise ValueError(f"{shown(found)} is a placeholder: write the name in your Azure")
    return found


def filled(value: Json) -> str:
    """Read the name of something in Azure."""
    found = no_placeholder(value)
    if not found.isprintable() or "/" in found:
        raise ValueError(f"expected a name in Azure, found {shown(found)}")
    return found


def pieces(
    rules: Mapping[str, Rule], fields: Fields, ledger: Ledger, into: Path, *, of: str
) -> dict[str, Json]:
    """Translate an object whose keys together become one value.

    Args:
        rules: The rule of each key.
        fields: The object.
        ledger: Records the results.
        into: The key of paretune that takes the value.
        of: What the object is, for messages.

    Returns:
        What was read, by the names in the rules.
    """
    found: dict[str, Json] = {}
    for name, rule in rules.items():
        node = fields.take(name)
        if node is None:
            continue
        together = rule if rule.into is None else replace(rule, into=str(into[-1]))
        value = one(together, node, ledger, into[:-1], of=of)
        if rule.into is not None and value is not None:
            found[rule.into] = value
    apply({}, fields, ledger, of=of)
    return found


@dataclass(frozen=True)
class Workspace:
    """What a client of Olive says.

    Attributes:
        name: The workspace; None: a file says it.
        file: The file that Azure's portal offers, which has the workspace's name.
        key_vault: Where a token for Hugging Face is.
    """

    name: AzureWorkspace | None
    file: str | None = None
    key_vault: str | None = None

    @property
    def keys(self) -> dict[str, Json]:
        """The keys of a target in it."""
        if self.name is None:
            return {"workspace": self.file}
        return {key: getattr(self.name, key) for key in _NAMES}

    def is_same(self, other: Workspace) -> bool:
        """Return whether both are written as one workspace."""
        return (self.name, self.file) == (other.name, other.file)


class Workspaces:
    """The workspaces of a workflow: one for all, and those of single parts.

    Args:
        workflow: The configuration.
        ledger: Records the result for each key.
        placed: Converts a path to the form that paretune's configuration needs.
    """

    def __init__(self, workflow: Workflow, ledger: Ledger, placed: Callable[[str], str]) -> None:
        self._ledger = ledger
        self._rules: dict[str, Rule] = {
            **{name: takes(name, filled) for name in _NAMES},
            "aml_config_path": takes("file", lambda value: placed(text(value))),
            "keyvault_name": takes("key_vault", filled),
            "read_timeout": _TIMES,
            "max_operation_retries": _TIMES,
            "operation_retry_interval": _TIMES,
            "default_auth_params": nearly("Azure's own order of credentials is used"),
        }
        self._default: Node | None = None
        for node in (workflow.own.take(_DATA_CLIENT), workflow.engine.take(_CLIENT)):
            if node is not None and node.value is None:
                ledger.no_effect(node.path, NULL)
            elif self._default is None:
                self._default = node
            elif node is not None:
                ledger.no_effect(node.path, "azureml_client takes precedence")
        self._read: Workspace | None = None
        self._failed = False
        self._places: list[tuple[Path, Workspace]] = []
        self._in_data: Workspace | None = None

    def of_data(self, resource: Fields, into: Path) -> Workspace | None:
        """Return the workspace of data or of a model; None if it is not known.

        Args:
            resource: Of which its client is taken.
            into: The key of paretune that takes its address.
        """
        node = resource.take(_DATA_CLIENT)
        named = node is not None and node.value is not None
        found = self._of(node, into)
        if found is None and not named:
            why = "Olive needs it, or one for the whole file: which workspace it is in"
            if self._failed:
                why = "that of the whole file is wrong"
            missing(self._ledger, resource, _DATA_CLIENT, why)
        elif found is not None and found.name is None:
            self._in_data = found
        return found

    def of_target(self, system: Fields, into: Path) -> Workspace | None:
        """Return the workspace of a system; the only one of the file if nothing else says it.

        Args:
            system: Of which its client is taken.
            into: Its key under `targets`.
        """
        node = system.take(_CLIENT)
        named = node is not None and node.value is not None
        found = self._of(node, (*into, "workspace_name"))
        if found is None and (named or self._failed):
            return None
        if found is None:
            found = self._only_one(system, into)
        if found is not None and self._in_data is not None and not found.is_same(self._in_data):
            self._ledger.refuse(
                (*system.path, _CLIENT),
                f"the data is in the workspace of {self._in_data.file!r}, and this system in "
                "another one: write subscription_id, resource_group and workspace_name of the data",
            )
            return None
        return found

    def close(self) -> None:
        """Record the workflow's own client if nothing needed it."""
        if self._default is not None:
            self._ledger.no_effect(self._default.path, "nothing that is translated is in Azure")

    def _only_one(self, system: Fields, into: Path) -> Workspace | None:
        path = (*system.path, _CLIENT)
        distinct = [
            (at, one)
            for i, (at, one) in enumerate(self._places)
            if not any(one.is_same(before) for _, before in self._places[:i])
        ]
        if len(distinct) == 1:
            at, found = distinct[0]
            why = f"Olive needs it; the only workspace of this file is at {key_of(at)}"
            self._ledger.absent(path, into, why)
            return found
        why = "Olive needs it, or azureml_client for the whole file: which workspace it is in"
        self._ledger.absent(path, None, why, Status.UNSUPPORTED)
        return None

    def _of(self, node: Node | None, into: Path) -> Workspace | None:
        if node is not None and node.value is not None:
            return self._client(node, into)
        if node is not None:
            self._ledger.no_effect(node.path, NULL)
        if self._read is None and self._default is not None:
            default, self._default = self._default, None
            self._read = self._client(default, ("targets",))
            self._failed = self._read is None
        return self._read

    def _client(self, node: Node, into: Path) -> Workspace | None:
        fields = Fields.of(node, self._ledger)
        given = pieces(self._rules, fields, self._ledger, into, of=_OF)
        if self._ledger.refuses(node.path):
            return None
        if "file" in given:
            found = Workspace(None, given["file"], given.get("key_vault"))
        else:
            lacking = [key for key in _NAMES if key not in given]
            for key in lacking:
                missing(self._ledger, fields, key, "Olive needs it, or aml_config_path")
            if lacking:
                return None
            name = AzureWorkspace(*(str(given[key]) for key in _NAMES))
            found = Workspace(name, None, given.get("key_vault"))
        self._places.append((node.path, found))
        return found
