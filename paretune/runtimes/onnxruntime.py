"""The runtime ``onnxruntime``: plain ONNX networks, with named arrays in and out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError
from paretune.core.jsontools import Json, read_json, write_json
from paretune.core.model import Model, ModelKind
from paretune.models.onnx_files import network_file
from paretune.runtimes.base import RUNS, Runtime, SamplePrompt
from paretune.runtimes.settings import BasicSettings, setting

SETTINGS = "paretune_runtime.json"
"""Written into a package: an ONNX file has no place for settings."""
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
_SIZES = (1, 8, 224)
"""Tried one after another for a dimension of any size: some networks need a smallest one."""


@dataclass(frozen=True)
class OnnxruntimeSettings(BasicSettings):
    """Provider, threads and how much ONNX Runtime rewrites a network before it runs it."""

    graph_optimization: Literal["disable", "basic", "extended", "all"] = setting(
        "all", "Which rewrites of the graph are made when it is loaded."
    )


class OnnxruntimeRuntime(Runtime):
    """Loads and runs folders with one ONNX network."""

    name: ClassVar[str] = "onnxruntime"
    kinds: ClassVar[frozenset[str]] = frozenset({ModelKind.ONNX})
    offers: ClassVar[frozenset[str]] = frozenset({RUNS})
    Settings: ClassVar[type[BasicSettings]] = OnnxruntimeSettings
    packages: ClassVar[tuple[tuple[str, ...], ...]] = (("onnxruntime", "ort-nightly"),)
    usage: ClassVar[str] = "`python sample.py inputs.npz` (needs `onnxruntime` and `numpy`)"

    def load(
        self, model: Model, settings: RuntimeSettings, trust_remote_code: bool
    ) -> OnnxruntimeSession:
        """Load the network of a folder; nothing in it is code."""
        del trust_remote_code
        return OnnxruntimeSession(network_file(model.path), settings)

    def load_s(self, folder: Path, settings: RuntimeSettings) -> float:
        """Load a network and run it once; returns the seconds of loading alone."""
        import onnxruntime  # noqa: F401 (the import is no part of loading)

        file = network_file(folder)
        start = time.perf_counter()
        session = OnnxruntimeSession(file, settings)
        load_s = time.perf_counter() - start
        _try(session)
        return load_s

    def smoke(self, model: Model, session: Any) -> dict[str, Json]:
        """Run a network on made-up arrays; returns the shapes of the outputs.

        Sizes that fit are not known where a dimension has none: where no size that is tried runs,
        it counts that the network loads, and ``outputs`` is null.

        Raises:
            InvalidArtifactError: Every dimension but the first is fixed, and it does not run.
        """
        del model
        outputs = _try(session)
        shapes = outputs and {name: list(value.shape) for name, value in outputs.items()}
        return {"outputs": shapes}

    def configure(self, package: Path, settings: RuntimeSettings) -> None:
        """Write the settings into a file of their own."""
        write_json(package / SETTINGS, settings.settings)

    def configured_threads(self, package: Path) -> int | None:
        """Return the threads that the package's own file sets."""
        file = package / SETTINGS
        found = read_json(file).get("threads") if file.is_file() else None
        return found if isinstance(found, int) and found > 0 else None

    def sample_program(self, sample: SamplePrompt) -> str:
        """Return a program that takes an ``.npz`` file; a network has no prompt."""
        del sample
        return _SAMPLE


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


def _try(session: OnnxruntimeSession) -> dict[str, Any] | None:
    """Run a network on made-up arrays; returns the outputs, None where no sizes fit."""
    open_sizes = any(None in shape[1:] for _, shape in session.inputs.values())
    for arrays in _made_up(session):
        try:
            return session.run(arrays)
        except InvalidArtifactError:
            if not open_sizes:
                raise
    return None


def _made_up(session: OnnxruntimeSession) -> Iterator[dict[str, Any]]:
    """Yield arrays for a network: ones, of each size that is tried for what is not fixed."""
    import numpy as np

    unknown = [f"{name} ({kind})" for name, (kind, _) in session.inputs.items() if "(" in kind]
    if unknown:
        raise InvalidArtifactError(
            f"loads, but has inputs that are not arrays of numbers: {', '.join(unknown)}"
        )
    for size in _SIZES:
        yield {
            name: np.ones(
                [
                    1 if at == 0 and known is None else known or size
                    for at, known in enumerate(shape)
                ],
                dtype=kind,
            )
            for name, (kind, shape) in session.inputs.items()
        }


_SAMPLE = '''\
"""Runs the network in this folder: python sample.py inputs.npz (an array for each input)."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the runtime is imported
import numpy as np
import onnxruntime as ort

here = Path(__file__).resolve().parent
settings = json.loads((here / "paretune_runtime.json").read_text(encoding="utf-8"))
options = ort.SessionOptions()
options.intra_op_num_threads = settings["threads"]
options.inter_op_num_threads = 1
providers = {"cuda": ["CUDAExecutionProvider"], "dml": ["DmlExecutionProvider"]}
providers = [*providers.get(settings["provider"], []), "CPUExecutionProvider"]
levels = {"disable": "DISABLE_ALL", "basic": "ENABLE_BASIC", "extended": "ENABLE_EXTENDED"}
level = "ORT_" + levels.get(settings.get("graph_optimization"), "ENABLE_ALL")
options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
network = here / "model.onnx"
if not network.exists():
    (network,) = here.glob("*.onnx")
session = ort.InferenceSession(str(network), options, providers=providers)
arrays = {}
if len(sys.argv) > 1:
    with np.load(sys.argv[1], allow_pickle=False) as given:
        arrays = {name: given[name] for name in given.files}
for each in session.get_inputs():
    if len(sys.argv) < 2:  # ones, and one of what has no size
        kind = each.type.removeprefix("tensor(").removesuffix(")")
        kind = {"float": "float32", "double": "float64"}.get(kind, kind)
        shape = [size if isinstance(size, int) else 1 for size in each.shape]
        print(f"input {each.name}: {kind}, shape {each.shape}, taken as ones of shape {shape}")
        arrays[each.name] = np.ones(shape, dtype=kind)
    elif each.name not in arrays:
        sys.exit(f"{sys.argv[1]} has no array named {each.name}, of {each.type} {each.shape}")
wanted = [each.name for each in session.get_outputs()]
try:
    values = session.run(wanted, arrays)
except Exception as error:
    sys.exit(f"the network does not run on these arrays: {error}")
for name, value in zip(wanted, values):
    print(f"{name}: shape {list(np.shape(value))}")
    print(np.array2string(np.asarray(value), threshold=50))
'''
