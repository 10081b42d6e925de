"""The runtime ``onnxruntime``: plain ONNX networks, with named arrays in and out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from paretune.core.candidate import RuntimeSettings
from paretune.core.jsontools import Json, read_json, write_json
from paretune.core.model import Model, ModelKind
from paretune.models.onnx_files import network_file
from paretune.runtimes.base import RUNS, Runtime, SamplePrompt
from paretune.runtimes.made_up_arrays import run_made_up, smoke_made_up
from paretune.runtimes.onnxruntime_sample import network_sample
from paretune.runtimes.onnxruntime_session import OnnxruntimeSession
from paretune.runtimes.settings import BasicSettings, setting

SETTINGS = "paretune_runtime.json"
"""Written into a package: an ONNX file has no place for settings."""


@dataclass(frozen=True)
class OnnxruntimeSettings(BasicSettings):
    """The options of a session of ONNX Runtime."""

    provider: Literal["cpu", "cuda", "dml", "openvino"] = setting(  # type: ignore[assignment]
        "cpu", "Execution provider."
    )
    graph_optimization: Literal["disable", "basic", "extended", "all"] = setting(
        "all", "Which rewrites of the graph are made when it is loaded."
    )
    execution_mode: Literal["sequential", "parallel"] = setting(
        "sequential", "Whether independent nodes may run at the same time."
    )
    inter_op_threads: int = setting(
        1,
        "Nodes that run at the same time; counts with parallel only.",
        search="range",
        ge=1,
        le=1024,
    )
    arena: bool = setting(True, "Whether memory stays allocated between runs.")
    memory_pattern: bool = setting(
        True,
        "Whether the memory of a run is planned from the run before; counts with sequential only.",
    )
    spinning: bool = setting(
        True,
        "Whether threads wait for work by spinning, which uses a core; counts with several threads "
        "only.",
    )
    inference_precision: Literal["f32", "bf16", "f16"] = setting(
        "f32", "In which type OpenVINO computes; counts with the provider openvino only."
    )

    @classmethod
    def without_effect(cls, settings: Mapping[str, Json]) -> frozenset[str]:
        """Return what ONNX Runtime does not use beside the other settings.

        As of ONNX Runtime 1.32: threads between nodes are made for the parallel mode alone, memory
        is planned in the sequential mode alone (``SessionState``), a pool of one thread is none.
        """
        parallel = settings.get("execution_mode") == "parallel"
        several = settings["threads"] > 1 or (parallel and settings.get("inter_op_threads", 1) > 1)
        unused = {"memory_pattern"} if parallel else {"inter_op_threads"}
        if not several:
            unused.add("spinning")
        if settings["provider"] != "openvino":
            unused.add("inference_precision")
        return frozenset(unused)


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
        run_made_up(session)
        return load_s

    def smoke(self, model: Model, session: Any) -> dict[str, Json]:
        """Run a network on made-up arrays (`smoke_made_up`)."""
        del model
        return smoke_made_up(session)

    def configure(self, package: Path, settings: RuntimeSettings) -> None:
        """Write the settings into a file of their own."""
        write_json(package / SETTINGS, settings.settings)

    def configured_threads(self, package: Path) -> int | None:
        """Return the threads that the package's own file sets."""
        found = self.configured_settings(package).get("threads")
        return found if isinstance(found, int) and found > 0 else None

    def configured_settings(self, package: Path) -> dict[str, Json]:
        """Return all that the package's own file sets."""
        file = package / SETTINGS
        return dict(read_json(file)) if file.is_file() else {}

    def sample_program(self, sample: SamplePrompt) -> str:
        """Return a program that takes an ``.npz`` file; a network has no prompt."""
        del sample
        return network_sample()
