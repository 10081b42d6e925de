"""The pass ``matmul_nbits``: quantizes the matrices of an fp32 build, each as one likes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from paretune.core.errors import PassError
from paretune.core.estimate import Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.jsontools import read_json
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.params import Params, parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.models.onnx_weights import load_network
from paretune.passes.base import PassBase
from paretune.passes.copied import copy_files
from paretune.passes.genai.exclusions import beyond_its_layers
from paretune.passes.genai.options import quantized_width

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

# Measured by benchmarks/foresight.py with two cores, on Llamas of 0.3, 47, 135 and 362 million
# weights. The libraries are imported already where jobs are forked; half of their pages count.
_SECONDS_TO_START = 0.1
_MEMORY_TO_START = 200_000_000
# Seconds a weight, and what is held beside whole models while the largest matrix is worked on, in
# units of it.
_COSTS = {
    "default": (17e-9, 0.5),
    "rtn": (30e-9, 3.3),
    "k_quant": (210e-9, 9.0),
    "hqq": (350e-9, 9.3),
}
_HEAD = "/lm_head/MatMul"
_ALWAYS_WITH_ZERO_POINTS = ("k_quant", "hqq")


class MatMulNBitsParams(Params):
    """Parameters of `MatMulNBits`; names and meanings are onnxruntime's."""

    bits: Literal[4, 8] = parameter(4, "Bits of a weight.", unit="bits")
    block_size: Literal[16, 32, 64, 128, 256] = parameter(
        32, "Weights that share a scale.", unit="weights"
    )
    is_symmetric: bool | None = parameter(
        None, "No zero points. None: true (k_quant and hqq always have them)."
    )
    algorithm: Literal["default", "rtn", "k_quant", "hqq"] = parameter(
        "default",
        "default and rtn round to the nearest; k_quant searches scales as llama.cpp does; hqq "
        "(half-quadratic quantization) is the most accurate at 4 bits, but its fractional zero "
        "points take a slow kernel on cpu (decoding was 30 times slower) that has no 8 bits.",
    )
    accuracy_level: Literal[0, 1, 2, 3, 4] | None = parameter(
        None,
        "What the activations are rounded to while multiplying: 1 fp32, 2 fp16, 3 bf16, 4 int8, 0 "
        "left to the kernel. None: 4 on cpu, 0 elsewhere. Not for hqq.",
    )
    exclude: list[str] = parameter(
        [], "Nodes left in fp32, as patterns over their names (`/lm_head/*`)."
    )
    keep_8bit: list[str] = parameter(
        [], "With bits=4: nodes that get 8 bits, as patterns (`*/down_proj/MatMul`)."
    )


class MatMulNBits(PassBase):
    """Quantizes the matrices of an fp32 build to 4 or 8 bits, some of them as an exception."""

    name = "matmul_nbits"
    accepts = frozenset({ModelKind.GENAI})
    produces = ModelKind.GENAI
    Params = MatMulNBitsParams
    packages = ("onnxruntime", "onnx", "onnx-ir", "torch")
    provider_matters = True  # the default accuracy_level

    def fidelity(self, params: MatMulNBitsParams) -> Fidelity:
        """Return that it approximates."""
        return Fidelity.QUANTIZED

    def check(
        self, model: ModelInfo, params: MatMulNBitsParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why there is nothing to quantize, or which parameter would change nothing."""
        if model.precision != "fp32":
            return f"takes a build with precision fp32; this one is {model.precision}"
        if params.bits == 8 and params.keep_8bit:
            return "keep_8bit has no effect with bits=8"
        if params.algorithm in _ALWAYS_WITH_ZERO_POINTS and params.is_symmetric:
            return f"{params.algorithm} always has zero points: is_symmetric has no effect"
        if params.algorithm == "hqq" and params.accuracy_level is not None:
            return "accuracy_level has no effect with hqq"
        if (
            params.algorithm == "hqq"
            and provider == "cpu"
            and (params.bits == 8 or params.keep_8bit)
        ):
            return "hqq at 8 bits does not load on cpu: its kernel takes no fractional zero points"
        return beyond_its_layers(model, "exclude", params.exclude) or beyond_its_layers(
            model, "keep_8bit", params.keep_8bit
        )

    def estimate(self, model: ModelInfo, params: MatMulNBitsParams, target: TargetInfo) -> Estimate:
        """Return size, memory and time, scaled from what was measured on small models.

        The fp32 build is held whole, and what is finished beside it.
        """
        if not model.parameters:
            return Estimate()
        size = _expected_bytes(model, params)
        seconds, copies = _COSTS[params.algorithm]
        held = max(model.bytes, 4 * model.parameters) + size
        # The head, in fp32: in a small model nothing comes near it.
        largest = 4 * model.vocab_size * model.hidden_size
        return Estimate(
            bytes_out=size,
            peak_memory=int(_MEMORY_TO_START + held + copies * largest),
            seconds=_SECONDS_TO_START + seconds * model.parameters,
        )

    def predict(self, model: ModelInfo, params: MatMulNBitsParams) -> ModelInfo:
        """Return the facts of the quantized build."""
        return replace(
            super().predict(model, params),
            bytes=_expected_bytes(model, params),
            precision=f"int{params.bits}",
        )

    def run(self, model: Model, params: MatMulNBitsParams, context: Context) -> None:
        """Write the quantized model, and copies of the build's other files.

        Raises:
            PassError: A pattern matches no node, or no matrix is left in fp32.
        """
        import onnx

        file = read_json(model.path / "genai_config.json")["model"]["decoder"]["filename"]
        context.progress(Progress("matmul_nbits", 0, 2, "quantizing"))
        network = load_network(model.path / file)
        matrices = _matrices(network.graph)
        if not matrices:
            raise PassError(
                "matmul_nbits: this build holds no matrix in fp32",
                hint="Put it after `genai: {precision: fp32}`.",
            )
        exclude = _matching(params.exclude, matrices, "exclude")
        keep = [n for n in _matching(params.keep_8bit, matrices, "keep_8bit") if n not in exclude]
        level = params.accuracy_level
        if level is None:
            level = 4 if context.provider == "cpu" else 0
        quantized = _quantized(network, params, matrices, exclude, keep, level)
        context.progress(Progress("matmul_nbits", 1, 2, "writing"))
        weights = f"{Path(file).name}.data"
        copy_files(model, context.out, {file, *_external_files(model.path / file)})
        onnx.save_model(
            quantized,
            context.out / file,
            save_as_external_data=True,
            location=weights,
            size_threshold=0,
        )


def _matrices(graph: Any) -> list[str]:
    """Return the names of the nodes that multiply with a constant matrix."""
    constant = {tensor.name for tensor in graph.initializer}
    return [
        node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] in constant
    ]


def _matching(patterns: Iterable[str], names: Sequence[str], parameter_name: str) -> list[str]:
    """Return the names that any pattern matches; each pattern must match one."""
    found: dict[str, None] = {}
    for pattern in patterns:
        hits = [name for name in names if fnmatchcase(name, pattern)]
        if not hits:
            raise PassError(
                f"matmul_nbits: {parameter_name}: {pattern!r} matches no matrix of this build",
                hint=f"Some that there are: {', '.join([*names[:7], names[-1]])}.",
            )
        found.update(dict.fromkeys(hits))
    return list(found)


def _quantized(
    network: Any,
    params: MatMulNBitsParams,
    matrices: list[str],
    exclude: list[str],
    keep: list[str],
    level: int,
) -> Any:
    """Return the quantized model (onnxruntime's MatMulNBitsQuantizer).

    ``rtn`` and ``k_quant`` take bits node by node; the others quantize all matrices to one width,
    so the matrices that stay at 8 bits get a separate call.
    """
    import logging

    from onnxruntime.quantization import matmul_nbits_quantizer as ort

    logging.getLogger("onnxruntime.quantization").setLevel(logging.WARNING)
    symmetric = params.is_symmetric is not False

    def once(network: Any, bits: int, skip: list[str]) -> Any:
        quantizer = ort.MatMulNBitsQuantizer(
            model=network,
            bits=bits,
            block_size=params.block_size,
            is_symmetric=symmetric,
            accuracy_level=level,
            nodes_to_exclude=skip,
            algo_config=algorithm(bits),
        )
        quantizer.process()
        return quantizer.model.model

    def algorithm(bits: int) -> Any:
        if params.algorithm == "default":
            return None
        if params.algorithm == "hqq":
            return ort.HQQWeightOnlyQuantConfig(block_size=params.block_size, bits=bits)
        # Without an entry of its own a node would get 4 bits, whatever `bits` says.
        widths = {name: {"bits": 8 if name in keep else bits} for name in matrices}
        if params.algorithm == "rtn":
            return ort.RTNWeightOnlyQuantConfig(customized_weight_config=widths)
        return ort.KQuantWeightOnlyQuantConfig(customized_weight_config=widths)

    if params.algorithm in ("rtn", "k_quant") or not keep:
        return once(network, params.bits, exclude)
    return once(once(network, params.bits, [*exclude, *keep]), 8, exclude)


def _external_files(file: Path) -> set[str]:
    """Return the names of the files that hold an ONNX model's weights, relative to its folder."""
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    return {
        entry.value
        for tensor in graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }


def _bytes_beside(model: ModelInfo) -> int:
    """Return the bytes of an fp32 build that are not weights: graph, tokenizer."""
    weights = model.parameters
    if model.tied and not _is_shared(model):
        weights += model.vocab_size * model.hidden_size
    return max(0, model.bytes - 4 * weights)


def _is_shared(model: ModelInfo) -> bool:
    """Return whether an fp32 build has one matrix for the embedding and the head."""
    return model.tied and model.built_with.get("shared_embeddings") is not False


def _expected_bytes(model: ModelInfo, params: MatMulNBitsParams) -> int:
    """Return the size of the build: the embedding stays in fp32, the rest shrinks.

    Of the nodes that patterns name, the head is by far the largest; others are left out of account.
    """
    embedding = model.vocab_size * model.hidden_size
    matrices = model.parameters if model.tied else model.parameters - embedding
    zero_points = 0.0
    if params.algorithm == "hqq":
        zero_points = 32 / params.bits  # fp32 each
    elif params.is_symmetric is False or params.algorithm == "k_quant":
        zero_points = 1.0
    weight = quantized_width(params.bits, params.block_size, model.hidden_size, zero_points)
    size = matrices * weight + 4 * embedding + _bytes_beside(model)
    if any(fnmatchcase(_HEAD, pattern) for pattern in params.exclude):
        size += ((0 if _is_shared(model) else 4) - weight) * embedding
    elif any(fnmatchcase(_HEAD, pattern) for pattern in params.keep_8bit):
        size += (8 - params.bits) / 8 * embedding
    return int(size)
