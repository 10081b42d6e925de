"""llama.cpp's library: loads it, quantizes a GGUF file, and computes with one.

The structs are those of llama.cpp v0.5.0, which ``peers/runtimes.sh`` installs. A library with
others is refused: what it fills into them by default is known.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

_F16 = 1
_ALL_TYPES = 42  # GGML_TYPE_COUNT: no type chosen


class _ModelParams(c.Structure):
    _fields_: ClassVar[Any] = [
        *((name, c.c_void_p) for name in ("devices", "buffer_types")),
        *((n, c.c_int32) for n in ("gpu_layers", "split", "load", "lazy", "main_gpu")),
        *((n, c.c_void_p) for n in ("tensor_split", "progress", "progress_data", "overrides")),
        *((n, c.c_bool) for n in ("vocab_only", "check", "extra_buffers", "no_host")),
        *((n, c.c_bool) for n in ("no_alloc", "load_mtp")),
    ]


class _ContextParams(c.Structure):
    _fields_: ClassVar[Any] = [
        *((n, c.c_uint32) for n in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq")),
        *((n, c.c_uint32) for n in ("n_outputs_max", "n_outputs_max_per_seq")),
        *((n, c.c_int32) for n in ("n_threads", "n_threads_batch", "kind", "rope", "pooling")),
        *((n, c.c_int32) for n in ("attention", "flash")),
        *((n, c.c_float) for n in ("rope_base", "rope_scale", "yarn_ext", "yarn_attn")),
        *((n, c.c_float) for n in ("yarn_fast", "yarn_slow")),
        ("yarn_orig_ctx", c.c_uint32),
        ("defrag", c.c_float),
        *((n, c.c_void_p) for n in ("evaluated", "evaluated_data")),
        *((n, c.c_int32) for n in ("type_k", "type_v")),
        *((n, c.c_void_p) for n in ("abort", "abort_data")),
        *((n, c.c_bool) for n in ("embeddings", "offload", "no_perf", "op_offload", "swa_full")),
        ("kv_unified", c.c_bool),
        ("samplers", c.c_void_p),
        ("n_samplers", c.c_size_t),
        ("other", c.c_void_p),
    ]


class _QuantizeParams(c.Structure):
    _fields_: ClassVar[Any] = [
        *((n, c.c_int32) for n in ("threads", "ftype", "output_type", "embedding_type")),
        *((n, c.c_bool) for n in ("requantize", "quantize_output", "only_copy", "pure")),
        *((n, c.c_bool) for n in ("keep_split", "dry_run")),
        *((n, c.c_void_p) for n in ("imatrix", "overrides", "types", "prune")),
        ("max_buffer", c.c_size_t),
    ]


class _Batch(c.Structure):
    _fields_: ClassVar[Any] = [
        ("n_tokens", c.c_int32),
        ("token", c.POINTER(c.c_int32)),
        ("embd", c.c_void_p),
        ("pos", c.POINTER(c.c_int32)),
        ("n_seq_id", c.POINTER(c.c_int32)),
        ("seq_id", c.POINTER(c.POINTER(c.c_int32))),
        ("logits", c.POINTER(c.c_int8)),
    ]


# `llama_ftype`, of the public header.
FILE_TYPES = {
    "Q4_0": 2,
    "Q4_1": 3,
    "Q8_0": 7,
    "Q5_0": 8,
    "Q5_1": 9,
    "Q4_K_S": 14,
    "Q4_K_M": 15,
    "Q5_K_M": 17,
    "Q6_K": 18,
    "IQ4_NL": 25,
    "IQ4_XS": 30,
}
# `ggml_type`: what single matrices can be given.
TENSOR_TYPES = {"Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q8_0": 8, "Q6_K": 14}


def load_library(folder: Path) -> Any:
    """Return the library, with the code for this processor loaded.

    Raises:
        RuntimeError: Its structs are not those that are declared here.
    """
    (ggml_file,) = folder.glob("libggml.v*.so")
    (llama_file,) = folder.glob("libllama.v*.so")
    ggml = c.CDLL(str(ggml_file), mode=c.RTLD_GLOBAL)
    ggml.ggml_backend_load_all_from_path.argtypes = [c.c_char_p]
    ggml.ggml_backend_load_all_from_path(str(folder).encode())
    llama = c.CDLL(str(llama_file))
    for name, result, arguments in (
        ("llama_model_default_params", _ModelParams, []),
        ("llama_context_default_params", _ContextParams, []),
        ("llama_model_quantize_default_params", _QuantizeParams, []),
        ("llama_model_load_from_file", c.c_void_p, [c.c_char_p, _ModelParams]),
        ("llama_init_from_model", c.c_void_p, [c.c_void_p, _ContextParams]),
        (
            "llama_model_quantize",
            c.c_uint32,
            [c.c_char_p, c.c_char_p, c.POINTER(_QuantizeParams)],
        ),
        ("llama_batch_init", _Batch, [c.c_int32, c.c_int32, c.c_int32]),
        ("llama_decode", c.c_int32, [c.c_void_p, _Batch]),
        ("llama_get_logits", c.POINTER(c.c_float), [c.c_void_p]),
        ("llama_get_memory", c.c_void_p, [c.c_void_p]),
        ("llama_memory_clear", None, [c.c_void_p, c.c_bool]),
        ("llama_model_get_vocab", c.c_void_p, [c.c_void_p]),
        ("llama_vocab_n_tokens", c.c_int32, [c.c_void_p]),
        ("llama_print_system_info", c.c_char_p, []),
    ):
        function = getattr(llama, name)
        function.restype, function.argtypes = result, arguments
    context = llama.llama_context_default_params()
    quantize = llama.llama_model_quantize_default_params()
    held = (context.n_batch, context.type_k, context.type_v, context.n_samplers, context.other)
    if held != (2048, _F16, _F16, 0, None) or not quantize.quantize_output:
        raise RuntimeError(f"{llama_file} has other structs than llama.cpp v0.5.0: {held}")
    llama.llama_backend_init()
    return llama


def quantize(
    library: Path, source: Path, out: Path, file_type: str, tensors: dict[str, str]
) -> None:
    """Write a GGUF file in another type.

    Args:
        library: The folder of the library.
        source: A GGUF file in fp32.
        out: The file to write.
        file_type: Of `FILE_TYPES`.
        tensors: ``output`` and ``embedding`` may be given a type of `TENSOR_TYPES`.
    """
    llama = load_library(library)
    params = llama.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[file_type]
    if "output" in tensors:
        params.output_type = TENSOR_TYPES[tensors["output"]]
    if "embedding" in tensors:
        params.embedding_type = TENSOR_TYPES[tensors["embedding"]]
    status = llama.llama_model_quantize(str(source).encode(), str(out).encode(), c.byref(params))
    if status != 0:
        raise RuntimeError(f"llama.cpp ends with {status} for {file_type}")


class LlamaCpp:
    """A GGUF model that computes: the engine of `fronting.engines`."""

    def __init__(self, library: Path, folder: Path, threads: int) -> None:
        self._llama = load_library(library)
        (file,) = folder.glob("*.gguf")
        model = self._llama.llama_model_load_from_file(
            str(file).encode(), self._llama.llama_model_default_params()
        )
        if not model:
            raise RuntimeError(f"llama.cpp does not load {file}")
        self._vocabulary = self._llama.llama_vocab_n_tokens(
            self._llama.llama_model_get_vocab(model)
        )
        params = self._llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = 1024, 1024, 512
        params.n_threads = params.n_threads_batch = threads
        self._context = self._llama.llama_init_from_model(model, params)
        if not self._context:
            raise RuntimeError("llama.cpp makes no context")
        self._batch = self._llama.llama_batch_init(1024, 0, 1)
        self._length, self._next = 0, 0
        self.settings = {"system": self._llama.llama_print_system_info().decode()}

    def scores(self, ids: Sequence[int]) -> Any:
        """Return the logits after each of a new sequence's tokens."""
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)
        self._length = 0
        return self._append(ids, every=True).copy()

    def begin(self, ids: Sequence[int]) -> None:
        """Take a prompt."""
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)
        self._length = 0
        self._next = int(self._append(ids, every=False)[-1].argmax())

    def step(self) -> None:
        """Append the likeliest token, and find the next."""
        self._next = int(self._append([self._next], every=False)[-1].argmax())

    def _append(self, ids: Sequence[int], *, every: bool) -> Any:
        batch = self._batch
        batch.n_tokens = len(ids)
        for place, token in enumerate(ids):
            batch.token[place] = token
            batch.pos[place] = self._length + place
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = 0
            batch.logits[place] = every or place == len(ids) - 1
        status = self._llama.llama_decode(self._context, batch)
        if status != 0:
            raise RuntimeError(f"llama_decode ends with {status}")
        self._length += len(ids)
        rows = len(ids) if every else 1
        found = self._llama.llama_get_logits(self._context)
        return np.ctypeslib.as_array(found, shape=(rows, self._vocabulary))
