"""Olive's resources: objects that say where a file or a model is, also in Azure."""

from __future__ import annotations

from collections.abc import Callable

from paretune.azure.addresses import (
    DataAddress,
    ModelAddress,
    data_address,
    is_azure,
    is_name,
)
from paretune.config.olive.entries import Ledger
from paretune.config.olive.fields import (
    Fields,
    Node,
    Rule,
    ignores,
    missing,
    no_effect,
    shown,
    takes,
    text,
)
from paretune.config.olive.workspaces import Workspaces, filled, no_placeholder, pieces
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json

_CLIENT = "azureml_client"
_LOCAL = {"file": "path", "folder": "path", "string_name": "name"}
_RETRIES = ignores("paretune tries again what may pass")


def is_resource(value: Json) -> bool:
    """Return whether a value is an object with the type of a resource."""
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _azure_name(value: Json) -> str:
    found = filled(value)
    if not is_name(found):
        raise ValueError(
            f"expected letters, digits, '-', '_' and '.', as in Azure, found {shown(found)}"
        )
    return found


def _model_name(value: Json) -> str:
    found = text(value)
    if "/" in found:
        raise ValueError(
            f"a model's name in Azure has no '/', found {shown(found)}: the name of the Hugging "
            f"Face hub is another one; did you mean {found.rpartition('/')[2]!r}?"
        )
    return _azure_name(found)


def _path(value: Json) -> str:
    found = no_placeholder(value).strip("/")
    data_address(str(DataAddress("d", found)))
    return found


def _version(value: Json) -> str:
    return _azure_name(str(value) if isinstance(value, int) else value)


_DATASTORE: dict[str, Rule] = {
    "datastore_name": takes("datastore", _azure_name),
    "relative_path": takes("path", _path),
    "datastore_url": takes("url", lambda value: str(data_address(text(value)))),
}
_MODEL: dict[str, Rule] = {
    "name": takes("name", _model_name),
    "version": takes("version", _version),
    "max_operation_retries": _RETRIES,
    "operation_retry_interval": _RETRIES,
}
_REGISTRY_MODEL: dict[str, Rule] = {
    **_MODEL,
    "registry_name": takes("registry", _azure_name),
    _CLIENT: ignores("a registry is in no workspace"),
}


class Resources:
    """Reads resources, and records their keys.

    Args:
        ledger: Records the result for each key.
        workspaces: Those of the workflow.
        placed: Converts a path to the form that paretune's configuration needs.
    """

    def __init__(
        self, ledger: Ledger, workspaces: Workspaces, placed: Callable[[str], str]
    ) -> None:
        self._ledger = ledger
        self._workspaces = workspaces
        self._placed = placed

    def model(self, node: Node, into: Path) -> str | None:
        """Return the folder, the name or the address of a model; None if it is not supported."""
        return self._read(node, into, {"azureml_registry_model", "azureml_model"})

    def file(self, node: Node, into: Path) -> str | None:
        """Return the path or the address of a data file; None if it is not supported."""
        return self._read(node, into, {"azureml_datastore"})

    def _read(self, node: Node, into: Path, azures: set[str]) -> str | None:
        self._ledger.came_from(into, node.path)
        fields = Fields.of(node, self._ledger, nested="config")
        kind = fields.take("type")
        assert kind is not None
        name = kind.value.lower()
        if name not in azures and name not in _LOCAL:
            known = ", ".join(sorted(azures))
            self._ledger.unsupported(
                node.path, f"expected a path or a resource of type {known}, found {kind.value!r}"
            )
            return None
        self._ledger.translated(kind.path, into)
        if name in _LOCAL:
            key = _LOCAL[name]
            local = {key: takes("place", lambda value: self._placed(text(value)))}
            found = self._given(local, fields, into, key)
            return None if found is None else str(found["place"])
        if name == "azureml_datastore":
            return self._datastore(fields, into)
        rules = _REGISTRY_MODEL if name == "azureml_registry_model" else _MODEL
        needed = ["name", "version", *(["registry_name"] if rules is _REGISTRY_MODEL else [])]
        workspace = None if rules is _REGISTRY_MODEL else self._workspaces.of_data(fields, into)
        found = self._given(rules, fields, into, *needed)
        if rules is _REGISTRY_MODEL:
            if found is None:
                return None
            return str(ModelAddress(found["name"], found["version"], found["registry"]))
        if workspace is None or found is None:
            return None
        return str(ModelAddress(found["name"], found["version"], None, workspace.name))

    def _datastore(self, fields: Fields, into: Path) -> str | None:
        if fields.peek("datastore_url") is not None:
            beside = [fields.take(name) for name in (_CLIENT, "datastore_name", "relative_path")]
            no_effect(self._ledger, "datastore_url takes precedence", *beside)
            found = self._given(_DATASTORE, fields, into, "datastore_url")
            return None if found is None else str(found["url"])
        workspace = self._workspaces.of_data(fields, into)
        found = self._given(_DATASTORE, fields, into, "datastore_name", "relative_path")
        if workspace is None or found is None:
            return None
        return str(DataAddress(found["datastore"], found["path"], workspace.name))

    def _given(
        self, rules: dict[str, Rule], fields: Fields, into: Path, *needed: str
    ) -> dict[str, Json] | None:
        """Return what a resource says; None if a part of it is missing or wrong."""
        for name in needed:
            if fields.peek(name) is None:
                missing(self._ledger, fields, name, "Olive needs it", fields.take(name))
        found = pieces(rules, fields, self._ledger, into, of="a resource in Azure")
        named = {rules[name].into for name in needed}
        return found if named <= found.keys() else None


def azure_text(value: Json, read: Callable[[str], object]) -> str | None:
    """Return an address that is written as text; None if the text is none.

    Args:
        value: The text.
        read: Reads an address of the expected kind.

    Raises:
        ValueError: It is meant as an address, and is wrong.
    """
    if not isinstance(value, str) or not is_azure(value):
        return None
    return str(read(value))
