"""A plain ONNX network, loaded by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "dml": "DmlExecutionProvider",
}
_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
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

        provider = _PROVIDERS[settings.provider]
        if provider not in onnxruntime.get_available_providers():
            raise InvalidArtifactError(
                f"does not load: this onnxruntime has no {provider}",
                hint=f"It has {', '.join(onnxruntime.get_available_providers())}.",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        level = _LEVELS[dict(settings.options).get("graph_optimization", "all")]
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        providers = list(dict.fromkeys((provider, _PROVIDERS["cpu"])))
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
