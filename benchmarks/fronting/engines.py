"""What computes with a build: ONNX Runtime GenAI, OpenVINO or llama.cpp, behind three methods.

Runs in the interpreter that has the runtime: nothing of paretune is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Engine(Protocol):
    """A loaded model.

    Attributes:
        settings: How it computes, as far as the runtime tells.
    """

    settings: dict[str, Any]

    def scores(self, ids: Sequence[int]) -> Any:
        """Return the logits after each of a new sequence's tokens."""

    def begin(self, ids: Sequence[int]) -> None:
        """Take a prompt; after it, `step` can be called."""

    def step(self) -> None:
        """Append the likeliest token: what one token of decoding costs."""


class Genai:
    """ONNX Runtime GenAI."""

    def __init__(self, folder: Path, threads: int, longest: int) -> None:
        import onnxruntime_genai as og

        self._og = og
        config = og.Config(str(folder))
        options = {"session_options": {"intra_op_num_threads": threads}}
        config.overlay(json.dumps({"model": {"decoder": options}}))
        self._model = og.Model(config)
        told = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
        self._logits = told["model"]["decoder"]["outputs"]["logits"]
        self._longest = longest
        self._generator: Any = None
        self.settings = {"threads": threads}

    def _start(self, ids: Sequence[int], length: int, least: int) -> Any:
        params = self._og.GeneratorParams(self._model)
        params.set_search_options(max_length=length, min_length=least)
        generator = self._og.Generator(self._model, params)
        generator.append_tokens(np.array(ids, dtype=np.int32))
        return generator

    def scores(self, ids: Sequence[int]) -> Any:
        """Return the logits after each of a new sequence's tokens."""
        generator = self._start(ids, len(ids) + 1, 0)
        return np.array(generator.get_output(self._logits))[0].astype(np.float32)

    def begin(self, ids: Sequence[int]) -> None:
        """Take a prompt; the end token is not given before the longest sequence is reached."""
        self._generator = self._start(ids, self._longest + 1, self._longest)

    def step(self) -> None:
        """Append the likeliest token."""
        self._generator.generate_next_token()


class OpenVino:
    """OpenVINO on the processor, with its state in the model."""

    def __init__(self, folder: Path, threads: int, run: Mapping[str, Any]) -> None:
        import openvino as ov

        (file,) = folder.glob("*model.xml")
        wanted = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, **run}
        compiled = ov.Core().compile_model(file, "CPU", wanted)
        self._request = compiled.create_infer_request()
        self._names = {name for port in compiled.inputs for name in port.get_names()}
        self._length, self._next = 0, 0
        shown = ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION", "INFERENCE_NUM_THREADS")
        told = {name: compiled.get_property(name) for name in shown}
        told["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = compiled.get_property(
            "DYNAMIC_QUANTIZATION_GROUP_SIZE"
        )
        self.settings = {name: str(value) for name, value in told.items()}

    def scores(self, ids: Sequence[int]) -> Any:
        """Return the logits after each of a new sequence's tokens."""
        self._request.reset_state()
        self._length = 0
        return self._append(ids)

    def begin(self, ids: Sequence[int]) -> None:
        """Take a prompt."""
        self._next = int(self.scores(ids)[-1].argmax())

    def step(self) -> None:
        """Append the likeliest token, and find the next."""
        self._next = int(self._append([self._next])[-1].argmax())

    def _append(self, ids: Sequence[int]) -> Any:
        start, self._length = self._length, self._length + len(ids)
        given = {
            "input_ids": np.array([ids], dtype=np.int64),
            "attention_mask": np.ones((1, self._length), dtype=np.int64),
            "position_ids": np.arange(start, self._length, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, dtype=np.int32),
        }
        self._request.infer({name: given[name] for name in given if name in self._names})
        return self._request.get_tensor("logits").data[0]


def engine(
    runtime: str, folder: Path, threads: int, run: Mapping[str, Any], longest: int
) -> Engine:
    """Load a build.

    Args:
        runtime: ``genai``, ``openvino`` or ``llama.cpp``.
        folder: The build.
        threads: How many it computes with.
        run: The runtime's own settings.
        longest: Tokens of the longest sequence that is decoded.
    """
    if runtime == "genai":
        return Genai(folder, threads, longest)
    if runtime == "openvino":
        return OpenVino(folder, threads, run)
    from fronting.llama_cpp import LlamaCpp

    return LlamaCpp(Path(run["library"]), folder, threads)
