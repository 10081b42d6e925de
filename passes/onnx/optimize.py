"""The pass ``onnx_optimize``: the same network with fewer, larger operators.

The libraries are ONNX Runtime's optimizer for transformers (``onnxruntime.transformers``) and
onnxslim.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from paretune.core import params as declared
from paretune.core.errors import PassError
from paretune.core.estimate import Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.params import parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.passes.base import PassBase
from paretune.passes.onnx.folded import constants_folded
from paretune.passes.onnx.network import FILE, copy_beside, library, operators, read, write

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo


class OptimizeParams(declared.Params):
    """Names and meanings are those of ``optimize_model``; `simplify` is onnxslim."""

    fusions: (
        Literal[
            "bart",
            "bert",
            "bert_keras",
            "bert_tf",
            "clip",
            "conformer",
            "gpt2",
            "gpt2_tf",
            "gpt_neox",
            "mmdit",
            "phi",
            "qwen3",
            "sam2",
            "swin",
            "t5",
            "tnlr",
            "unet",
            "vae",
            "vit",
        ]
        | None
    ) = parameter(
        None,
        "Family of networks (the library's model_type) whose attention, normalization and "
        "activation become single operators of ONNX Runtime. None: no fusion.",
    )
    num_heads: int = parameter(
        0, "Heads of the attention; 0: found in the network.", search="none", ge=0
    )
    hidden_size: int = parameter(
        0, "Width of the hidden states; 0: found in the network.", search="none", ge=0
    )
    simplify: bool = parameter(
        False, "Folds constants and removes what computes nothing, by onnxslim."
    )


class OnnxOptimize(PassBase):
    """Rewrites a network without changing what it computes."""

    name = "onnx_optimize"
    accepts = frozenset({ModelKind.ONNX})
    produces = ModelKind.ONNX
    Params: ClassVar[type[declared.Params]] = OptimizeParams
    packages = ("onnxruntime", "onnx", "onnxslim")

    def fidelity(self, params: OptimizeParams) -> Fidelity:
        """Return that it computes the same."""
        return Fidelity.FP32

    def estimate(self, model: ModelInfo, params: OptimizeParams, target: TargetInfo) -> Estimate:
        """Return the memory for the network, its copies and the rewritten one."""
        return Estimate(bytes_out=model.bytes, peak_memory=400_000_000 + 4 * model.bytes)

    def run(self, model: Model, params: OptimizeParams, context: Context) -> None:
        """Write the rewritten network as ``model.onnx``.

        Raises:
            PassError: A library fails, or nothing of the network was rewritten.
        """
        context.progress(Progress(self.name, 0, 1))
        network = read(model)
        before = operators(network)
        if params.simplify:
            import onnxslim

            with library(self.name, "onnxslim"):
                network = onnxslim.slim(network)
        if params.fusions is not None:
            network = _fused(self.name, network, params, context.scratch)
        after = operators(network)
        if after == before:
            raise PassError(
                f"{self.name}: nothing of this network was rewritten",
                hint="Set `fusions` to the family of the network (bert, vit, ...), or `simplify`; "
                "a network that both leave as it is needs no onnx_optimize.",
            )
        write(network, context.out / FILE)
        copy_beside(model, context.out)
        context.details["summary"] = _summary(before, after)
        context.progress(Progress(self.name, 1, 1))


def _fused(name: str, network: Any, params: OptimizeParams, scratch: Path) -> Any:
    """Return a network with fused operators.

    The library's own call of the basic level of optimization imports PyTorch; the same is done here
    without it.
    """
    from onnxruntime.transformers.optimizer import optimize_model

    with library(name, "ONNX Runtime's optimizer"):
        fused = optimize_model(
            constants_folded(network, scratch),
            model_type=params.fusions,
            num_heads=params.num_heads,
            hidden_size=params.hidden_size,
            opt_level=0,
        )
        counts = fused.get_fused_operator_statistics()
    if not any(counts.values()):
        raise PassError(
            f"{name}: nothing in this network matches the fusions of {params.fusions!r}",
            hint="`fusions` is the family of the network (bert, vit, ...); others need none.",
        )
    return fused.model


def _summary(before: dict[str, int], after: dict[str, int]) -> str:
    """Return what became of the operators, as a sentence."""
    made = {op: n - before.get(op, 0) for op, n in sorted(after.items()) if n > before.get(op, 0)}
    more = ", ".join(f"{count} {op}" for op, count in made.items())
    told = f"{sum(before.values())} operators became {sum(after.values())}"
    return f"{told}; new: {more}." if made else f"{told}."
