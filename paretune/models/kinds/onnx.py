"""The kind ``onnx``: a folder with one ONNX network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from paretune.core.model import Model, ModelInfo
from paretune.models.checks.finding import Finding
from paretune.models.checks.network_signature import unusable
from paretune.models.checks.operator_domains import foreign_operators
from paretune.models.containment import named_by_onnx
from paretune.models.declared_network import read_declared
from paretune.models.kinds.base import ArrayNames, Kind
from paretune.models.kinds.hf import is_hugging_face
from paretune.models.onnx_files import network_file
from paretune.models.onnx_precision import precision_of
from paretune.models.onnx_signature import signature_of
from paretune.models.structure import structure_of_files


class OnnxKind(Kind):
    """A network that takes and gives named arrays."""

    name: ClassVar[str] = "onnx"
    folder: ClassVar[str] = "a folder with one ONNX file"

    def matches(self, folder: Path) -> bool:
        """Return whether it has ONNX files, and is not a model of another kind.

        A ``config.json`` may lie beside the network: exporters leave it there.
        """
        others = ("genai_config.json", "adapter_config.json")
        there = any(folder.glob("*.onnx"))
        return (
            there
            and not any((folder / name).is_file() for name in others)
            and not is_hugging_face(folder)
        )

    def check(self, folder: Path, files: Sequence[Path]) -> set[Path]:
        """Return the files that hold its networks' weights."""
        del files
        return set().union(*map(named_by_onnx, folder.glob("*.onnx")))

    def problems(self, folder: Path, base: Path | None) -> Sequence[Finding]:
        """Return the inputs that no array can be given for, and operators that are not known.

        Raises:
            UsageError: It is not clear which of its files is the network, or what is declared of
                the network does not fit it.
        """
        del base
        file = network_file(folder)
        network = signature_of(file)
        read_declared(folder).check(network)
        return (*unusable(network), *foreign_operators(file))

    def inspect(self, folder: Path, size: int, base: Path | None = None) -> ModelInfo:
        """Return its size, and in which type most weights are (`precision_of`)."""
        info = super().inspect(folder, size, base)
        return replace(info, precision=precision_of(network_file(folder)))

    def array_names(self, folder: Path) -> ArrayNames:
        """Return the names of its inputs and outputs that are not state."""
        network, declared = signature_of(network_file(folder)), read_declared(folder)
        return ArrayNames(
            tuple(name for name in network.inputs if name not in declared.state.values()),
            tuple(name for name in network.outputs if name not in declared.state),
            tuple(declared.values),
        )

    def structure(self, model: Model) -> str:
        """Return the digest of its network and other files."""
        return structure_of_files(model)
