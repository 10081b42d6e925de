"""The parameters of `genai`: what the model builder takes, and which combinations work.

The builder (onnxruntime-genai 0.18) ignores unknown keys, ignores known keys where they do not
apply, and builds some models that do not load. Everything is therefore checked here; the rules
were found by building and loading each combination.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from paretune.core.fidelity import Fidelity
from paretune.core.jsontools import Json, read_model_json
from paretune.core.model import ModelInfo
from paretune.core.params import Params, parameter
from paretune.passes.genai.calibration import Calibration, why_no_gptq
from paretune.passes.genai.exclusions import why_not_excluded
from paretune.passes.quantization.rounding_grid import HEAD

PRECISIONS = {
    "cpu": ("fp32", "int8", "int4"),
    "cuda": ("fp32", "fp16", "bf16", "int8", "int4"),
    "dml": ("fp16", "int4"),
}
"""What each provider can run; the builder makes more, which then do not load."""

# What the builder's `create_model` knows, by the `model_type` of their config.json.
# fmt: off
_MODEL_TYPES = frozenset(
    {
        "chatglm", "ernie4_5", "gemma", "gemma2", "gemma3", "gemma3_text", "gemma4",
        "gemma4_text", "gpt_oss", "granite", "granitemoehybrid", "hunyuan_v1_dense", "internlm2",
        "lfm2", "lfm2_audio", "lfm2_moe", "lfm2_vl", "llama", "mistral", "mistral3", "nemotron",
        "olmo", "phi", "phi3", "phi3_v", "phi3small", "phi4mm", "phimoe", "qwen2", "qwen2_5_vl",
        "qwen3", "qwen3_5", "qwen3_5_moe", "qwen3_5_text", "qwen3_vl", "smollm3",
        "videochat_flash_qwen", "whisper",
    }
)
# fmt: on
_QUANTIZED = ("int8", "int4")
_OF_QUANTIZATION = (
    "block_size",
    "is_symmetric",
    "algorithm",
    "accuracy_level",
    "matmul_mixed_precision",
    "nodes_to_exclude",
    "calibration",
    "damp_percent",
    "budget",
    "cost",
)
_OF_GPTQ = ("calibration", "damp_percent")
_WINDOWED_BY_DEFAULT = ("gemma2", "gemma3", "gpt_oss", "mistral", "phi3")
"""Have a window where config.json does not name one."""
_EMBEDDING = "/model/embed_tokens/Gather"
_HEAD_DIM_STEP = 16
_GRAPH_BYTES_A_LAYER = 8_000
# A large tokenizer. What a folder holds beyond (the same weights in other formats) is not built.
_MAX_BESIDE_WEIGHTS = 50_000_000

Algorithm = Literal[
    "default", "rtn", "rtn_last", "k_quant", "k_quant_last", "k_quant_mixed", "gptq"
]
MixedPrecision = Literal[
    "last_matmul:int8", "mixed_layers:int8", "last_matmul:int8,mixed_layers:int8"
]


class GenaiParams(Params):
    """Parameters of `Genai`; None leaves a choice to the builder."""

    precision: Literal["fp32", "fp16", "bf16", "int8", "int4"] = parameter(
        "fp32", "Precision of the weights. fp16 and bf16 need a GPU."
    )
    block_size: Literal[16, 32, 64, 128, 256] | None = parameter(
        None, "int8 and int4: weights that share a scale. None: 32.", unit="weights"
    )
    is_symmetric: bool | None = parameter(
        None, "int8 and int4: no zero points. None: true (k_quant always has them)."
    )
    algorithm: Algorithm | None = parameter(
        None,
        "int8 and int4: the builder's algo_config. default and rtn round to the nearest; k_quant "
        "searches scales as llama.cpp does; `_last` keeps the head at 8 bits, `_mixed` the most "
        "sensitive layers too. gptq, which the builder has not, is the graph of default with other "
        "codes and scales: those that change each layer's outputs least over calibration texts "
        "(Frantar et al., arXiv 2210.17323). None: default.",
    )
    accuracy_level: Literal[0, 1, 2, 3, 4] | None = parameter(
        None,
        "int8 and int4: what the activations are rounded to while multiplying: 1 fp32, 2 fp16, "
        "3 bf16, 4 int8, 0 left to the kernel. None: 4 on cpu, 0 elsewhere.",
    )
    matmul_mixed_precision: MixedPrecision | None = parameter(
        None, "int4: which matrices are kept at 8 bits, with any algorithm."
    )
    nodes_to_exclude: list[str] | None = parameter(
        None, "int8 and int4: nodes left in fp32, by their exact names (`/lm_head/MatMul`)."
    )
    calibration: Calibration | None = parameter(
        None,
        "gptq: what it is calibrated on, `{data: NAME, examples: 128, max_length: 512}`. None: "
        "English prose that ships with paretune.",
        search="none",
    )
    damp_percent: float | None = parameter(
        None,
        "gptq: the share of the Hessian's mean diagonal that is added to its diagonal. None: 0.01.",
        search="range",
        gt=0,
        le=1,
    )
    budget: float | None = parameter(
        None,
        "int4, after the pass `sensitivity`: the share of what 8 bits in all matrices cost more "
        "than 4 that is spent on the matrices whose rounding matters most. 0: 4 bits everywhere, "
        "1: 8 bits everywhere.",
        search="range",
        ge=0,
        le=1,
    )
    cost: Literal["bytes", "time"] | None = parameter(
        None,
        "budget: what a matrix costs. bytes: its size; time: how long this device multiplies with "
        "it for one token, measured once per shape. None: bytes.",
    )
    shared_embeddings: bool | None = parameter(
        None,
        "The embedding and the head share one matrix in the file, rounded as the head is. None: as "
        "in the model; with int8 only a head that stays in fp32 is shared, else the embedding is "
        "in fp32.",
    )
    fuse_qkv: bool | None = parameter(
        None, "The query, key and value projections become one matrix. None: where possible."
    )

    @property
    def quantized(self) -> bool:
        """Whether weights have 8 or 4 bits."""
        return self.precision in _QUANTIZED

    @property
    def fidelity(self) -> Fidelity:
        """What the build is to the model that it is made from."""
        return Fidelity.QUANTIZED if self.quantized else Fidelity(self.precision)

    def sketched(self, provider: str) -> Json:
        """Return what a sketch of a build with these parameters depends on beside the model."""
        whole = self.in_full_precision(provider)
        return [self.precision == "fp32", whole.model_dump(mode="json")]

    def in_full_precision(self, provider: str) -> GenaiParams:
        """Return the parameters of a build that differs from this one in its rounding only."""
        runs = PRECISIONS.get(provider, ("fp32",))
        return GenaiParams(precision=next(iter(runs)), fuse_qkv=self.fuse_qkv)

    @property
    def grid(self) -> dict[str, Json]:
        """What a quantized build rounds to beside its bits."""
        return {
            "block_size": self.block_size or 32,
            "is_symmetric": self.is_symmetric is not False,
        }

    @property
    def spends_time(self) -> bool:
        """Whether the times of a device decide what is built."""
        return self.cost == "time" and self.budget is not None and 0 < self.budget < 1

    @property
    def base_algorithm(self) -> str:
        """The algorithm without its placement of 8 bits."""
        return (self.algorithm or "default").removesuffix("_last").removesuffix("_mixed")

    @property
    def head_at_8_bits(self) -> bool:
        """Whether an int4 build keeps the head at 8 bits."""
        placed = self.matmul_mixed_precision or ""
        return "last_matmul" in placed or (self.algorithm or "").endswith(("_last", "_mixed"))

    @property
    def layers_at_8_bits(self) -> bool:
        """Whether an int4 build keeps its most sensitive layers at 8 bits."""
        placed = self.matmul_mixed_precision or ""
        return "mixed_layers" in placed or self.algorithm == "k_quant_mixed"

    @property
    def head_in_fp32(self) -> bool:
        """Whether a quantized build leaves the head as it is."""
        return HEAD in (self.nodes_to_exclude or ())

    def shares_embeddings(self, model: ModelInfo) -> bool:
        """Return whether the build keeps one matrix for the embedding and the head."""
        if not model.tied or self.shared_embeddings is False:
            return False
        if self.head_in_fp32:
            return self.shared_embeddings is None
        return self.precision != "int8" or self.shared_embeddings is not None

    @property
    def shared_by_us(self) -> bool:
        """Whether a shared matrix is one that the builder cannot share (`share_embedding`)."""
        if self.precision == "int8":
            return bool(self.shared_embeddings)
        by_name = self.base_algorithm in ("default", "gptq")
        return (
            self.precision == "int4"
            and by_name
            and not self.head_in_fp32
            and (self.is_symmetric is False or self.head_at_8_bits)
        )

    def builder_options(self) -> list[str]:
        """Return the builder's ``KEY=VALUE`` options, only those that were chosen."""
        excluded = list(self.nodes_to_exclude or ())
        if self.head_in_fp32:  # an embedding that may share the head's matrix stays in fp32 with it
            excluded.append(_EMBEDDING)
        chosen: dict[str, object] = {
            "block_size": self.block_size,
            "is_symmetric": self.is_symmetric,
            "algo_config": None if self.algorithm == "gptq" else self.algorithm,
            "accuracy_level": self.accuracy_level,
            "matmul_mixed_precision": self.matmul_mixed_precision,
            "nodes_to_exclude": ",".join(excluded) or None,
            "shared_embeddings": False if self.shared_by_us else self.shared_embeddings,
            "fuse_qkv": self.fuse_qkv,
        }
        return [
            f"{key}={str(value).lower() if isinstance(value, bool) else value}"
            for key, value in chosen.items()
            if value is not None
        ]


def options_for(source: Path) -> list[str]:
    """Return the options that a model's build needs, whatever is chosen.

    With sliding windows the builder makes caches no longer than a window by default: of such a
    build no generator runs whose whole length is below the window (Gemma 2: 4096 tokens).

    Args:
        source: A Hugging Face folder.
    """
    config = read_model_json(source / "config.json")
    inner = config.get("text_config")
    kinds = (config, inner if isinstance(inner, dict) else {})
    windowed = any(c.get("sliding_window") or c.get("layer_types") for c in kinds)
    by_default = str(config.get("model_type", "")).startswith(_WINDOWED_BY_DEFAULT)
    return ["windowed_kv_cache=false"] if windowed or by_default else []


def why_not(model: ModelInfo, params: GenaiParams, provider: str) -> str | None:
    """Return why a build is refused: it would not load, or a parameter would change nothing."""
    return (
        _not_on_this_provider(model, params, provider)
        or _without_effect(params)
        or _cannot_share(model, params, provider)
        or why_not_excluded(
            model, params.nodes_to_exclude or (), fuse_qkv=params.fuse_qkv is not False
        )
        or (why_no_gptq(model, provider) if params.algorithm == "gptq" else None)
    )


def _not_on_this_provider(model: ModelInfo, params: GenaiParams, provider: str) -> str | None:
    allowed = PRECISIONS.get(provider, ())
    if params.precision not in allowed:
        return (
            f"precision {params.precision} does not run on provider {provider!r} "
            f"(it takes {', '.join(allowed) or 'none'})"
        )
    if provider == "cpu" and model.head_dim % _HEAD_DIM_STEP:
        return (
            f"attention heads of size {model.head_dim}: the processor's kernel supports multiples "
            f"of {_HEAD_DIM_STEP} only"
        )
    if model.model_type and model.model_type not in _MODEL_TYPES:
        return f"the model builder knows no architecture {model.model_type!r}"
    return None


def _without_effect(params: GenaiParams) -> str | None:
    if not params.quantized:
        given = [name for name in _OF_QUANTIZATION if getattr(params, name) is not None]
        if given:
            return f"{given[0]} has no effect with precision {params.precision}"
    if params.precision == "int8":
        if params.shared_embeddings is False:
            return "shared_embeddings: false has no effect with precision int8: it is the default"
        if params.head_at_8_bits or params.layers_at_8_bits:
            return "precision int8 has 8 bits everywhere: nothing to keep at 8 bits"
    if params.base_algorithm == "k_quant" and params.is_symmetric:
        return f"{params.algorithm} always has zero points: is_symmetric has no effect"
    if params.algorithm != "gptq":
        given = [name for name in _OF_GPTQ if getattr(params, name) is not None]
        if given:
            return f"{given[0]} has no effect with algorithm {params.base_algorithm}; use gptq"
    return None


def _cannot_share(model: ModelInfo, params: GenaiParams, provider: str) -> str | None:
    if params.shared_embeddings and not model.tied:
        return "shared_embeddings: this model's embedding and head have weights of their own"
    shared = params.shares_embeddings(model)
    if params.shared_embeddings and params.quantized and not shared:
        return "shared_embeddings: the head stays in fp32, so there is no rounded matrix to share"
    if shared and params.shared_by_us and provider != "cpu":
        return (
            "an embedding that shares an 8-bit head, or one with zero points and algorithm "
            f"{params.base_algorithm}, is made for cpu only, not for {provider}; leave "
            "shared_embeddings out of int8, or set it to false for int4"
        )
    return None


def expected_bytes(model: ModelInfo, params: GenaiParams) -> int | None:
    """Return the size of the build in bytes; None if the model's is unknown.

    Beside the weights there is what stood beside them before (a tokenizer), and the graph.
    """
    if not model.parameters:
        return None
    width = 4 if model.precision == "fp32" else 2
    beside = min(max(0, model.bytes - width * model.parameters), _MAX_BESIDE_WEIGHTS)
    return _expected_weights(model, params) + beside + _GRAPH_BYTES_A_LAYER * model.layers


def _expected_weights(model: ModelInfo, params: GenaiParams) -> int:
    embedding = model.vocab_size * model.hidden_size
    shared = params.shares_embeddings(model)
    body = model.parameters - embedding * (1 if model.tied else 2)
    if not params.quantized:
        width = 4 if params.precision == "fp32" else 2
        return width * (body + embedding * (1 if shared else 2))
    block = params.block_size or 32
    bits = 8 if params.precision == "int8" else 4
    zero_points = params.is_symmetric is False or params.base_algorithm == "k_quant"
    weight = quantized_width(bits, block, model.hidden_size, 1 if zero_points else 0)
    head = 4.0 if params.head_in_fp32 else weight
    size = body * weight + embedding * head + (0 if shared else 4 * embedding)
    if bits == 4:
        # Half of the layers, of which down_proj and qkv_proj are about two fifths.
        size += 0.5 * embedding * (params.head_at_8_bits and not params.head_in_fp32)
        size += 0.1 * body * params.layers_at_8_bits
        rounded = body + (embedding if head == weight else 0)
        size += (params.budget or 0) * rounded * (0.5 + 0.5 * zero_points / block)
    return int(size)


def quantized_width(bits: int, block: int, row: int, zero_points: float) -> float:
    """Return the bytes that a quantized weight takes, its share of the scale included.

    Args:
        bits: Bits of a weight.
        block: Weights that share an fp32 scale; a row is filled up to whole blocks.
        row: Length of a row; 0 if unknown.
        zero_points: Size of a block's zero point, in weights.
    """
    filled = -(-row // block) * block / row if row else 1.0
    return filled * (bits / 8 * (1 + zero_points / block) + 4 / block)
