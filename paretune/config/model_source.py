"""Finds a configuration's model: beside it, in the working folder, on the hub, or in Azure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from paretune.azure.addresses import is_azure
from paretune.config.azure_inputs import AzureInputs
from paretune.config.reading import read_configuration
from paretune.config.yaml_source import ForeignSource
from paretune.core.errors import StateError, UsageError
from paretune.core.file_functions import require_trust
from paretune.core.model import ModelKind
from paretune.core.permissions import Permissions
from paretune.core.user_paths import default_store, expanded
from paretune.models.declared_network import DeclaredNetwork
from paretune.models.described_module import ModuleInput
from paretune.models.handle import detect_kind
from paretune.models.hub import fetch_model, is_hub_name
from paretune.models.kinds.base import kind_of
from paretune.models.mlflow import MLMODEL, find_parts, is_mlflow
from paretune.models.mlflow_layout import laid_out
from paretune.models.module_folder import module_folder, program_folder
from paretune.models.network_folder import network_folder
from paretune.models.pickles import CONVERT_FILE
from paretune.models.pickles import SUFFIXES as PICKLED

_MLFLOW_ADDRESSES = ("runs:/", "models:/", "mlflow-artifacts:/")


def find_model(
    name: str,
    root: Path,
    permissions: Permissions = Permissions(),
    azure: AzureInputs | None = None,
) -> Path:
    """Return the folder of a model.

    Args:
        name: As configured: a path, or a name on the Hugging Face hub.
        root: The configuration's folder, where relative paths start.
        permissions: Whether it may be fetched from the hub, and with its Python files.
        azure: Copies a model that is registered in Azure; None: the address has to be whole.

    Raises:
        UsageError: There is no such model, or it is not of a known kind.
    """
    if is_azure(name):
        found = given_model((azure or AzureInputs(None, permissions)).model(name))
        detect_kind(found)
        return found
    places = _places(name, root)
    for place in places:
        if _is_folder(place):
            found = given_model(place)
            if detect_kind(found) in (ModelKind.MODULE, ModelKind.PT2):
                require_trust(name, "model", permissions.remote_code)
            return found
    for place in places:
        if _is_network(place):
            return given_model(place)
        if _is_file(place, ".pt2"):
            require_trust(name, "model", permissions.remote_code)
            return program_folder(place, default_store())
    for place in places:
        if place.suffix.lower() in PICKLED and place.is_file():
            raise UsageError(
                f"model {str(place)!r} is a pickle, which is never read: it runs the code that it "
                "names",
                hint=CONVERT_FILE.replace("'model.pth'", repr(place.name)),
            )
    if name.startswith(_MLFLOW_ADDRESSES):
        raise UsageError(
            f"model {name!r} is an address of MLflow, and only folders are read",
            hint=f"Fetch it once (mlflow artifacts download -u {name} -d DIR), and name DIR.",
        )
    looked = " and ".join(dict.fromkeys(repr(str(place)) for place in places))
    if not is_hub_name(name):
        raise UsageError(
            f"no model folder {name!r} (looked for {looked})",
            hint="Give a folder with config.json and *.safetensors, or an ONNX file.",
        )
    try:
        return fetch_model(name, permissions)
    except UsageError as error:
        raise UsageError(
            f"no model folder {name!r} (looked for {looked}): {error.message}", hint=error.hint
        ) from error


def find_network(
    name: str,
    declared: DeclaredNetwork,
    root: Path,
    permissions: Permissions,
    azure: AzureInputs,
) -> Path:
    """Return the folder of an ONNX network of which a user says more than its file does.

    Args:
        name: As of `find_model`, like the rest.
        declared: What the user says.
        root: Likewise.
        permissions: Likewise.
        azure: Likewise.

    Raises:
        UsageError: There is no such model, it is not a plain ONNX network, or has nothing that is
            called as the user says.
    """
    files = [place for place in _places(name, root) if _is_network(place)]
    found = files[0] if files else find_model(name, root, permissions, azure)
    if not files and detect_kind(found) != ModelKind.ONNX:
        raise UsageError(
            f"model {name!r}: a model of kind {detect_kind(found)} has no `sizes` and no `state`",
            hint="Both are for plain ONNX networks; give the path alone: `model: PATH`.",
        )
    return network_folder(found, declared, default_store())


def find_module(
    place: str,
    inputs: Mapping[str, ModuleInput],
    files: Sequence[str],
    root: Path,
    permissions: Permissions,
) -> Path:
    """Return the folder of a PyTorch module that a function makes.

    Args:
        place: ``file.py:function``.
        inputs: Of the module, by name.
        files: That the function opens.
        root: The configuration's folder, where relative paths start.
        permissions: Whether code that the configuration names may run.

    Raises:
        UsageError: It may not run, fails, or returns no module that takes these inputs.
    """
    require_trust(place, "module", permissions.remote_code)
    return module_folder(expanded(place), inputs, files, root, default_store())


def given_model(folder: Path) -> Path:
    """Return the folder of a model that the user named: of an MLflow folder, its model's.

    Args:
        folder: A folder; one that a kind of model recognizes, or is not there, is returned as it
            is. Or an ONNX file: a folder in the store has it, and its external data.

    Raises:
        UsageError: It is an MLflow folder without a model that can be used, or not an ONNX network.
    """
    if _is_network(folder):
        return network_folder(folder, DeclaredNetwork(), default_store())
    if not folder.is_dir() or kind_of(folder) is not None:
        return folder
    if not is_mlflow(folder):
        inner = next((place for place in sorted(folder.iterdir()) if is_mlflow(place)), None)
        if inner is None:
            return folder
        raise UsageError(
            f"model {str(folder)!r}: no model, but {inner.name} in it is an MLflow folder",
            hint=f"Name that one: {inner}.",
        )
    file = folder / MLMODEL
    value = ForeignSource(read_configuration(file), str(file)).value
    parts = find_parts(folder, value)
    try:
        return laid_out(parts, default_store())
    except StateError as error:
        raise UsageError(f"model {str(folder)!r}: {error.message}", hint=error.hint) from error


def _places(name: str, root: Path) -> list[Path]:
    named = expanded(name)
    return [root / named, Path(named)]


def _is_network(place: Path) -> bool:
    return _is_file(place, ".onnx")


def _is_file(place: Path, suffix: str) -> bool:
    try:
        return place.suffix.lower() == suffix and place.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _is_folder(place: Path) -> bool:
    try:
        return place.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return False
