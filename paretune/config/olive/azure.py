"""Olive's AzureML systems become entries of ``targets:`` (docs/azureml.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paretune.config.olive.accelerators import Accelerators, read_accelerators
from paretune.config.olive.entries import Ledger, Status
from paretune.config.olive.fields import (
    NULL,
    Fields,
    Node,
    Rule,
    apply,
    count,
    flag,
    ignores,
    missing,
    nearly,
    refused,
    shown,
    takes,
    text,
)
from paretune.config.olive.workspaces import Workspace, Workspaces, filled, no_placeholder
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json

AZURE = "azureml"
_SECRET = "hf-token"
"""The secret that Olive reads from the key vault."""
_DESCRIBED = "an environment is described by base_image and conda_file_path: build the image once, "
_IMAGES = {"base_image", "dockerfile", "build_context_path"}
_BUILT = refused(f"{_DESCRIBED}push it, and name it as base_image")


def _object(value: Json) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, found {shown(value)}")
    return value


_OTHERS: dict[str, Rule] = {
    "aml_compute": takes("compute", filled),
    "instance_count": takes("instance_count", count),
    "tags": Rule(_object, None, Status.APPROXIMATED, "jobs have the tags that paretune sets"),
    "datastores": nearly(
        "jobs read and write in the workspace's default datastore", same=("workspaceblobstore",)
    ),
    "is_dev": Rule(flag, None, Status.NO_EFFECT, "a switch for Olive's own development"),
    "olive_managed_env": Rule(
        flag, None, Status.NO_EFFECT, "the environment is made for paretune's worker"
    ),
    "requirements_file": refused("write its lines into the conda file, under pip"),
    "aml_environment_config": refused(
        f"{_DESCRIBED}and name it under aml_docker_config, with the conda file"
    ),
}
_RESOURCES: dict[str, Rule] = {
    "instance_type": takes("instance_type", filled),
    "instance_count": takes("instance_count", count),
    **dict.fromkeys(
        ("shm_size", "docker_args", "properties", "locations", "max_instance_count"),
        refused("paretune sets the instance's type and count only"),
    ),
}


class AzureSystems:
    """Reads AzureML systems, each once.

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
        self._docker: dict[str, Rule] = {
            "base_image": takes("image", no_placeholder),
            "conda_file_path": takes("conda", lambda value: placed(text(value))),
            "dockerfile": _BUILT,
            "build_context_path": _BUILT,
            "name": ignores("the environment has a name by its content"),
            "version": ignores("the environment has a name by its content"),
        }
        self.declared: dict[str, Json] = {}

    def read(self, fields: Fields, name: str) -> Accelerators:
        """Add a system to the declared targets, and return its accelerators.

        Args:
            fields: The system, without its type.
            name: That of the target.
        """
        at: Path = ("targets", name, AZURE)
        self._ledger.came_from(("targets", name), fields.path)
        workspace = self._workspaces.of_target(fields, at)
        accelerators = read_accelerators(
            fields.take("accelerators"), self._ledger, (*at, "accelerators")
        )
        found = {} if workspace is None else dict(workspace.keys)
        found |= self._token(fields.take("hf_token"), workspace, at)
        found |= self._environment(fields, at)
        found |= self._part("resources", _RESOURCES, fields, at)
        if "aml_compute" not in fields:
            missing(self._ledger, fields, "aml_compute", "Olive needs the name of the compute")
        if "instance_count" in found and "instance_count" in fields:
            twice = fields.take("instance_count")
            assert twice is not None
            self._ledger.unsupported(twice.path, "given twice, in resources too")
        found |= apply(_OTHERS, fields, self._ledger, at, of="an AzureML system")
        if accelerators.devices:
            found["accelerators"] = list(accelerators.devices)
        self.declared[name] = {AZURE: found}
        return accelerators

    def _part(self, name: str, rules: dict[str, Rule], fields: Fields, at: Path) -> dict[str, Json]:
        inner = Fields.of(fields.take(name), self._ledger)
        return apply(rules, inner, self._ledger, at, of=name)

    def _environment(self, fields: Fields, at: Path) -> dict[str, Json]:
        absent = "aml_docker_config" not in fields
        given = fields.peek("aml_docker_config") or {}
        found = self._part("aml_docker_config", self._docker, fields, at)
        if absent and "aml_environment_config" not in fields:
            why = "Olive needs it, or aml_environment_config: the image that jobs run in"
            missing(self._ledger, fields, "aml_docker_config", why)
        elif isinstance(given, dict) and not absent and not given.keys() & _IMAGES:
            path = (*fields.path, "aml_docker_config", "base_image")
            self._ledger.absent(path, None, "Olive needs it", Status.UNSUPPORTED)
        return found

    def _token(self, node: Node | None, workspace: Workspace | None, at: Path) -> dict[str, Json]:
        """Return where the token for Hugging Face comes from: Olive reads it from a key vault."""
        if node is None:
            return {}
        if node.value is None:
            self._ledger.no_effect(node.path, NULL)
            return {}
        if not isinstance(node.value, bool):
            self._ledger.unsupported(
                node.path, f"expected true or false, found {shown(node.value)}"
            )
            return {}
        into = (*at, "hf_token")
        if not node.value:
            self._ledger.no_effect(node.path, "Olive's default")
            return {}
        vault = None if workspace is None else workspace.key_vault
        if vault is not None:
            self._ledger.translated(node.path, into, f"the secret {_SECRET!r}, as Olive reads it")
            return {"hf_token": {"key_vault": vault, "secret": _SECRET}}
        why = "Olive needs a keyvault_name for it; here it comes from HF_TOKEN on this machine"
        self._ledger.approximated(node.path, into, why)
        return {"hf_token": True}
