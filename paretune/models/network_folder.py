"""A network that the user names by its file, with what is declared of it, as a model folder."""

from __future__ import annotations

from pathlib import Path

from paretune.core.errors import StateError, UsageError
from paretune.core.jsontools import write_json
from paretune.models.containment import named_by_onnx
from paretune.models.declared_network import FILE, DeclaredNetwork, read_declared
from paretune.models.handle import model_files
from paretune.models.made_folders import NETWORKS, made_folder
from paretune.models.onnx_files import network_file
from paretune.models.onnx_signature import signature_of


def network_folder(path: Path, declared: DeclaredNetwork, store: Path) -> Path:
    """Return a folder with a network, made in the store if it has to be.

    Args:
        path: An ONNX file, whose external data lie beside it, or a folder with one.
        declared: What the user says of it, beside what the folder says already.
        store: The store.

    Raises:
        UsageError: It is not a network, names files elsewhere, or has nothing that is called as the
            user says.
    """
    if path.is_dir():
        file = network_file(path)
        files = {each.relative_to(path).as_posix(): each for each in model_files(path)}
        before = read_declared(path)
        declared = DeclaredNetwork(
            {**before.sizes, **declared.sizes},
            {**before.state, **declared.state},
            {**before.values, **declared.values},
        )
    else:
        file = path
        weights = {each.relative_to(path.parent).as_posix(): each for each in named_by_onnx(path)}
        files = {"model.onnx": path, **weights}
    try:
        declared.check(signature_of(file))
    except UsageError as error:
        raise UsageError(f"model {str(path)!r}: {error.message}", hint=error.hint) from error
    said = declared != DeclaredNetwork()
    if path.is_dir() and declared == read_declared(path):
        return path
    if said:
        files.pop(FILE, None)
    inner = file.stem if path.is_file() else path.resolve().name or "model"
    wanted = {f"{inner}/{name}": each for name, each in files.items()}

    def declare(folder: Path) -> None:
        if said:
            write_json(folder / inner / FILE, declared.to_json())

    try:
        place = made_folder(
            store,
            NETWORKS,
            [str(path.resolve()), declared.to_json()],
            wanted,
            finish=declare,
            written=frozenset({f"{inner}/{FILE}"} if said else ()),
        )
    except StateError as error:
        raise UsageError(f"model {str(path)!r}: {error.message}", hint=error.hint) from error
    return place / inner
