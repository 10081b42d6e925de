"""The pass ``qlora``: trains a low-rank adapter on a base that is held in 4 or 8 bits.

The method is that of Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs" (arXiv
2305.14314), with bitsandbytes on the processor or on CUDA. The adapter is a plain one, and belongs
to the full-precision model: `merge` adds it to those weights, which can then be built to any
precision.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from paretune.core.estimate import Estimate
from paretune.core.model import Model, ModelInfo
from paretune.core.params import parameter
from paretune.data.context import Context
from paretune.passes.lora.lora import Lora, TrainsAdapter, bytes_a_weight, weights_of_layers
from paretune.passes.lora.params import Dtype, LoraParams

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

_BYTES_A_WEIGHT = {"nf4": 0.55, "fp4": 0.55, "int8": 1.1}


class QLoraParams(LoraParams):
    """Parameters of `QLora`: those of `lora`, and how the base is held."""

    precision_fields: ClassVar[tuple[str, ...]] = ("dtype", "quant_type", "compute_dtype")

    quant_type: Literal["nf4", "fp4", "int8"] = parameter(
        "nf4", "The base's numbers: 4-bit normal floats, 4-bit floats, or 8-bit whole numbers."
    )
    double_quant: bool = parameter(
        True, "nf4 and fp4: the scales are quantized too (0.4 bits a weight less)."
    )
    compute_dtype: Dtype = parameter(
        "fp32", "nf4 and fp4: the precision that weights are turned back to for a product."
    )

    def precisions(self) -> tuple[Dtype, ...]:
        """Return the precisions that it computes in: the adapter's, and that of the base."""
        held = () if self.quant_type == "int8" else (self.compute_dtype,)
        return (*super().precisions(), *held)


class QLora(TrainsAdapter):
    """Fine-tunes a low-rank adapter on a quantized base (QLoRA)."""

    name = "qlora"
    version = 5
    Params = QLoraParams
    packages = (*Lora.packages, "bitsandbytes")

    def check(
        self, model: ModelInfo, params: QLoraParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why it cannot be trained, or which parameter would change nothing."""
        if importlib.util.find_spec("bitsandbytes") is None:
            return "bitsandbytes is not installed: pip install bitsandbytes==0.50.2"
        if params.quant_type == "int8":
            given = params.model_fields_set & {"double_quant", "compute_dtype"}
            if given:
                return f"{min(given)} has no effect with quant_type int8"
        if params.quantize_for is not None:
            return (
                "quantize_for needs the base's own weights, from which a build chooses its codes, "
                "and here the base is held in another grid; use lora"
            )
        if params.use_dora:
            return "use_dora needs the base's own weights, and here they are quantized; use lora"
        return Lora().check(model, params, target, provider)

    def estimate(self, model: ModelInfo, params: QLoraParams, target: TargetInfo) -> Estimate:
        """Return what `lora` costs, less what the smaller base saves; the time is not known.

        Where nothing is converted, the embedding stays a view of the file, and with it all of the
        file counts: nothing is saved.
        """
        full = Lora().estimate(model, params, target)
        if full.peak_memory is None:
            return full
        a_weight = _BYTES_A_WEIGHT[params.quant_type]
        if model.precision != params.dtype:
            a_weight -= bytes_a_weight(params.dtype)
        peak = full.peak_memory + a_weight * weights_of_layers(model)
        return replace(full, peak_memory=int(peak), seconds=None)

    def run(self, model: Model, params: QLoraParams, context: Context) -> None:
        """Train, and write ``adapter_model.safetensors``, its config and ``training.json``.

        Raises:
            PassError: As `lora` does.
        """
        from paretune.passes.lora.training import fine_tune

        fine_tune(
            self.name,
            model,
            params,
            context,
            lambda settled: _load(model, settled, context),
        )


def _load(model: Model, params: QLoraParams, context: Context) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    from paretune.passes.hugging_face import load_causal_lm
    from paretune.passes.lora.precision import torch_dtype

    if params.quant_type == "int8":
        how = BitsAndBytesConfig(load_in_8bit=True)
    else:
        how = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=params.quant_type,
            bnb_4bit_use_double_quant=params.double_quant,
            bnb_4bit_compute_dtype=torch_dtype(params.compute_dtype),
        )
    network = load_causal_lm(
        model.path,
        context,
        dtype=torch_dtype(params.dtype),
        quantization_config=how,
        device_map={"": "cuda" if torch.cuda.is_available() else "cpu"},
    )
    _hold_still(network)
    return network


def _hold_still(network: Any) -> None:
    """Keep bitsandbytes' 4-bit layers (0.50.2) from changing under a training.

    Where the processor has bfloat16 instructions, such a layer repacks its weights the first time
    that it computes in eval mode; what it computes from then on has no gradient, and PyTorch only
    warns. And at its first use it puts its input's precision in place of the one asked for.
    """
    from bitsandbytes.nn import Linear4bit

    for module in network.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
            module.compute_type_is_set = True
