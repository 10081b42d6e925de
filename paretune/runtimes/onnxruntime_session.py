"""A plain ONNX network, loaded by ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError, UsageError
from paretune.models.declared_network import DeclaredNetwork, read_declared
from paretune.runtimes.network_runs import NetworkRuns
from paretune.runtimes.onnxruntime_options import PROVIDERS, execution_providers, session_options


class OnnxruntimeSession:
    """An ONNX network in ONNX Runtime.

    Args:
        file: The network; what is declared of it (`DeclaredNetwork`) lies beside it.
        settings: As of `OnnxruntimeSettings`.

    Attributes:
        inputs: Of each input that is not state, its type as numpy calls it and its shape, with None
            for a size that is not fixed.
        has_state: Whether it takes sequences, step by step.
    """

    def __init__(self, file: Path, settings: RuntimeSettings) -> None:
        import onnxruntime

        declared = _declared(file.parent)
        sizes, state = dict(declared.sizes), dict(declared.state)
        options = session_options(settings.settings, sizes)
        providers = execution_providers(settings.settings)
        there = onnxruntime.get_available_providers()
        wanted = PROVIDERS[settings.provider]
        if wanted not in there:
            raise InvalidArtifactError(
                f"does not load: this onnxruntime has no {wanted}",
                hint=f"It has {', '.join(there)}.",
            )
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=providers)
        except Exception as error:  # its own classes derive from Exception alone
            raise InvalidArtifactError(f"does not load: {_shortened(error)}") from error
        if wanted not in self._session.get_providers():  # it falls back with a warning alone
            raise InvalidArtifactError(
                f"does not load: {wanted} is in this onnxruntime, but cannot be used here",
                hint="Its own message is on the standard error of the process that loads it.",
            )
        self.has_state = bool(state)
        try:
            self._runs = NetworkRuns(self._session, state, sizes, dict(declared.values))
        except (KeyError, OverflowError, ValueError) as error:
            raise InvalidArtifactError(f"does not load: `values` do not fit: {error}") from error
        if not self._runs.outputs:
            given = ", ".join(f"{each.name} ({each.type})" for each in self._session.get_outputs())
            raise InvalidArtifactError(f"loads, but gives no arrays that numpy has: {given}")
        self.inputs: Mapping[str, tuple[str, tuple[int | None, ...]]] = self._runs.inputs()
        names = (
            size or f"{each.name}[{axis}]"
            for each in self._session.get_inputs()
            for axis, size in enumerate(each.shape)
            if not isinstance(size, int) and each.name in self.inputs
        )
        self._open = [name for name in dict.fromkeys(names) if name not in sizes]

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs of the network, by name.

        A network with state begins with zeros in each run. It takes sequences, too: arrays with
        one axis more, the second, which counts steps; after each step its state is fed back.

        Raises:
            InvalidArtifactError: The network does not run on these arrays.
        """
        try:
            return self._runs.run(dict(inputs))
        except Exception as error:  # its own classes derive from Exception alone
            hint = None
            if self._open:
                sizes = ", ".join(self._open)
                hint = (
                    f"Sizes that the network leaves open: {sizes}. Values that it takes can be "
                    "given: `model: {path: PATH, sizes: {NAME: VALUE}}`."
                )
            raise InvalidArtifactError(
                f"loads, but does not run: {_shortened(error)}", hint=hint
            ) from error


def _shortened(error: Exception) -> str:
    """Return a message of ONNX Runtime without the places in its source."""
    return re.sub(r"/onnxruntime_src/\S+:\d+ .*?\) (?=[A-Z])", " ", str(error))


def _declared(folder: Path) -> DeclaredNetwork:
    try:
        return read_declared(folder)
    except UsageError as error:
        raise InvalidArtifactError(f"does not load: {error.message}", hint=error.hint) from error
