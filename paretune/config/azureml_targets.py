"""``targets: {NAME: {azureml: ...}}``: a compute of Azure Machine Learning, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretune.azure.workspace import Workspace, read_workspace
from paretune.config.olive.conda import read_conda
from paretune.config.olive.worker_packages import python_version, worker_packages
from paretune.config.schema import AzuremlSection, DeclaredTarget, KeyVaultSecret
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Wrong
from paretune.core.errors import ConfigError, UsageError
from paretune.core.user_paths import expanded

_NAMES = ("subscription_id", "resource_group", "workspace_name")
_SUBSCRIPTION = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAME = re.compile(r"[\w.()-]+")
_CONFIG = (
    "Give all three, or `workspace: config.json`, the file that Azure's portal offers on the "
    "workspace's page."
)


def at_home(section: AzuremlSection, root: Path, path: KeyPath, wrong: Wrong) -> AzuremlSection:
    """Return a section with absolute paths, and report what is wrong in it.

    Args:
        section: As it was written.
        root: Folder that relative paths start from.
        path: Its place in the configuration.
        wrong: Takes a key, what is wrong and what to do.
    """
    changes: dict[str, str] = {}
    for key in ("workspace", "conda"):
        given = getattr(section, key)
        if given is None:
            continue
        try:
            changes[key] = str((root / expanded(given)).absolute())
        except UsageError as error:
            wrong((*path, key), error.message, error.hint)
    section = section.model_copy(update=changes)
    _check_names(section, path, wrong)
    if section.conda is not None:
        try:
            requirements(section)
        except UsageError as error:
            wrong((*path, "conda"), error.message, error.hint)
    return section


def _check_names(section: AzuremlSection, path: KeyPath, wrong: Wrong) -> None:
    given = [key for key in _NAMES if getattr(section, key) is not None]
    if section.workspace is not None:
        if given:
            wrong((*path, given[0]), "stands beside `workspace`", "Leave one of them out.")
        else:
            try:
                read_workspace(Path(section.workspace))
            except UsageError as error:
                wrong((*path, "workspace"), error.message, error.hint)
    elif len(given) < len(_NAMES):
        absent = next(key for key in _NAMES if key not in given)
        wrong((*path, absent), "is missing: it says which workspace is meant", _CONFIG)
    subscription = section.subscription_id
    if subscription is not None and _SUBSCRIPTION.fullmatch(subscription) is None:
        example = "such as 6f4c1a2b-0000-4000-8000-123456789abc (`az account show`)"
        wrong(
            (*path, "subscription_id"),
            f"{subscription!r} is not the id of a subscription: expected one {example}",
            None,
        )
    for key in ("resource_group", "workspace_name", "compute"):
        name = getattr(section, key)
        if name is not None and _NAME.fullmatch(name) is None:
            wrong((*path, key), f"{name!r} is not a name in Azure", "Names have no spaces.")
    if not section.image.strip() or section.image.split() != [section.image]:
        wrong(
            (*path, "image"),
            f"{section.image!r} is not a container image",
            "Write it as `docker pull` takes it: registry/name:tag.",
        )


def requirements(section: AzuremlSection) -> tuple[str, tuple[str, ...]]:
    """Return the version of Python and the pip requirements of a worker's environment there.

    Raises:
        ConfigError: The conda file cannot be read.
    """
    gpu = any(each.lower() == "gpu" for each in section.accelerators)
    if section.conda is None:
        needed = worker_packages("gpu" if gpu else "cpu").needed
        return python_version(), tuple(map(str, needed.values()))
    found = read_conda(Path(section.conda))
    if found is None:
        raise ConfigError(
            f"{section.conda} is not a conda environment file",
            hint="Expected a YAML file with `dependencies:`.",
        )
    return found.python, found.requirements


def workspace_of(declared: Mapping[str, DeclaredTarget], root: Path) -> Workspace | None:
    """Return the workspace of the declared targets; None if there is none, or several.

    Args:
        declared: Targets by name; what is wrong in them is reported elsewhere (`at_home`).
        root: Folder that relative paths start from.
    """
    found: set[Workspace] = set()
    for target in declared.values():
        if target.azureml is not None:
            try:
                found.add(_workspace(target.azureml, root))
            except (UsageError, OSError):
                return None
    return found.pop() if len(found) == 1 else None


def _workspace(section: AzuremlSection, root: Path) -> Workspace:
    if section.workspace is not None:
        return read_workspace(root / expanded(section.workspace))
    return Workspace(*(str(getattr(section, key)) for key in _NAMES))


def launcher_options(section: AzuremlSection) -> dict[str, Any]:
    """Return the arguments of the launcher (`paretune.targets.launchers.azureml`)."""
    from paretune.targets.launchers.azureml_jobs import Place

    workspace = _workspace(section, Path())
    python, packages = requirements(section)
    secret = section.hf_token
    vault = (secret.key_vault, secret.secret) if isinstance(secret, KeyVaultSecret) else None
    place = Place(
        compute=section.compute,
        image=section.image,
        python=python,
        requirements=packages,
        instance_type=section.instance_type,
        instance_count=section.instance_count,
        secret=vault,
    )
    return {"workspace": workspace, "place": place, "hf_token": secret is True}
