"""The pass ``merge``: adds an adapter into its base model's weights."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.core.errors import PassError
from paretune.core.estimate import Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.params import NoParams
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.models.checks.quantized import refusal
from paretune.models.containment import check_model
from paretune.passes.base import PassBase
from paretune.passes.quantization.sensitivity_file import FILE

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

# Measured by benchmarks/foresight.py with two cores, on Llamas of 0.3, 47, 135 and 362 million
# weights. The libraries are imported already where jobs are forked; half of their pages count.
_SECONDS_TO_START = 0.2
_SECONDS_A_WEIGHT = 20e-9
_MEMORY_TO_START = 220_000_000
# What belongs to a model beside its weights: tokenizer, chat template, generation settings.
_COPIED = frozenset({".json", ".jinja", ".txt", ".model", ".tiktoken"})
# Those of its weights, and what was measured of them, do not.
_NOT_COPIED = frozenset({"config.json", "model.safetensors.index.json", FILE})


class Merge(PassBase):
    """Adds an adapter into its base model's weights, in fp32."""

    name = "merge"
    version = 3
    accepts = frozenset({ModelKind.HF_ADAPTER})
    produces = ModelKind.HF
    packages = ("torch", "transformers", "peft", "safetensors")

    def fidelity(self, params: NoParams) -> Fidelity:
        """Return that the merged model computes what base and adapter do."""
        return Fidelity.FP32

    def check(
        self, model: ModelInfo, params: NoParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why the base cannot take the adapter; every one that `lora` trains can be."""
        return refusal(model.quantized, self.name) if model.quantized else None

    def estimate(self, model: ModelInfo, params: NoParams, target: TargetInfo) -> Estimate:
        """Return the size of the fp32 weights, and what is held beside them.

        An fp32 file is mapped: what the adapter changes is held a second time, which is all but the
        embedding and the head. Another precision is converted, and its file counts beside that.
        """
        if not model.parameters:
            return Estimate()
        weights = 4 * model.parameters
        head = 4 * model.vocab_size * model.hidden_size
        beside = 2 * model.parameters
        if model.precision == "fp32":
            beside = max(0, weights - (1 if model.tied else 2) * head)
        return Estimate(
            bytes_out=weights,
            peak_memory=_MEMORY_TO_START + weights + beside,
            seconds=_SECONDS_TO_START + _SECONDS_A_WEIGHT * model.parameters,
        )

    def predict(self, model: ModelInfo, params: NoParams) -> ModelInfo:
        """Return the base's facts, in fp32."""
        return replace(
            super().predict(model, params),
            bytes=4 * model.parameters or model.bytes,
            precision="fp32",
        )

    def run(self, model: Model, params: NoParams, context: Context) -> None:
        """Write a complete Hugging Face folder.

        Raises:
            PassError: The adapter came without its base, or holds a NaN.
            UsageError: Its weights are pickled, or its files name others elsewhere.
        """
        from paretune.models.adapted import load_adapted
        from paretune.passes.hugging_face import load_fp32, note_tying, use_all_cores
        from paretune.passes.lora.exact_sum import use_exact_deltas

        if model.base is None:
            raise PassError(
                "merge: the base model of the adapter is not known",
                hint="Put `merge` after `lora` in the recipe.",
            )
        use_all_cores()
        context.progress(Progress("merge", 0, 3, "loading"))
        check_model(model.path)  # without safetensors, PEFT would look for a pickle
        adapted = load_adapted(load_fp32(model.base.path, context), model.path)
        _untie(adapted)
        use_exact_deltas(adapted)
        context.progress(Progress("merge", 1, 3, "merging"))
        try:
            merged = adapted.merge_and_unload(safe_merge=True)
        except ValueError as error:
            raise PassError(f"merge: {error}", hint="Train with a lower learning_rate.") from error
        except RuntimeError as error:  # a bias of the adapter where the base has none, say
            raise PassError(f"merge: {error}", hint="Train an adapter without that.") from error
        note_tying(merged)
        context.progress(Progress("merge", 2, 3, "writing"))
        merged.save_pretrained(context.out)
        copy_companions(model.base, context.out, trust_remote_code=context.trust_remote_code)


def _untie(adapted: Any) -> None:
    """Give the head weights of its own if an adapter changes it or the embedding.

    Otherwise what is merged into one of the two would change the other one, too, which the adapter
    does not do.
    """
    import torch

    network = adapted.get_base_model()
    embedding, head = network.get_input_embeddings(), network.get_output_embeddings()
    if not (hasattr(embedding, "base_layer") or hasattr(head, "base_layer")):
        return  # nothing is added to them; a module that was trained whole has weights of its own
    inner = [getattr(module, "base_layer", module) for module in (embedding, head)]
    if any(getattr(module, "weight", None) is None for module in inner):
        return
    if inner[0].weight.data_ptr() != inner[1].weight.data_ptr():
        return
    own = inner[1].weight.detach().clone()
    inner[1].weight = torch.nn.Parameter(own, requires_grad=False)
    network.config.tie_word_embeddings = False
    network.all_tied_weights_keys = {}


def copy_companions(
    source: Model, out: Path, *, trust_remote_code: bool, without: Collection[str] = ()
) -> None:
    """Copy tokenizer, chat template and settings; Python files only where they may run.

    Args:
        source: Whose they are.
        out: Where they go.
        trust_remote_code: Whether Python files may run.
        without: Names that are left out.
    """
    wanted = _COPIED | {".py"} if trust_remote_code else _COPIED
    for file in source.parts:
        left_out = file.name in _NOT_COPIED or file.name in without
        if file.parent == source.path and file.suffix in wanted and not left_out:
            shutil.copyfile(file, out / file.name)
