"""A plain ONNX network, loaded by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError
from paretune.runtimes.onnxruntime_options import execution_providers, session_options

_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{
        f"tensor({sign}int{bits})": f"{sign}int{bits}"
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}


class OnnxruntimeSession:
    """An ONNX network in ONNX Runtime.

    Args:
        file: The network.
        settings: As of `OnnxruntimeSettings`.

    Attributes:
        inputs: Of each input, its type as numpy calls it and its shape, with None for a size that
            is not fixed.
    """

    def __init__(self, file: Path, settings: RuntimeSettings) -> None:
        import onnxruntime

        options = session_options(settings.settings)
        providers = execution_providers(settings.settings)
        there = onnxruntime.get_available_providers()
        if providers[0] not in there:
            raise InvalidArtifactError(
                f"does not load: this onnxruntime has no {providers[0]}",
                hint=f"It has {', '.join(there)}.",
            )
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=providers)
        except Exception as error:  # its own classes derive from Exception alone
            raise InvalidArtifactError(f"does not load: {error}") from error
        self.inputs: Mapping[str, tuple[str, tuple[int | None, ...]]] = {
            each.name: (
                _TYPES.get(each.type, each.type),
                tuple(size if isinstance(size, int) else None for size in each.shape),
            )
            for each in self._session.get_inputs()
        }
        self._outputs = [each.name for each in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs of the network, by name.

        Raises:
            InvalidArtifactError: The network does not run on these arrays.
        """
        try:
            found = self._session.run(self._outputs, dict(inputs))
        except Exception as error:  # its own classes derive from Exception alone
            raise InvalidArtifactError(f"loads, but does not run: {error}") from error
        return dict(zip(self._outputs, found, strict=True))
