"""The pass ``merge``: adds an adapter into its base model's weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from paretune.errors import PassError
from paretune.models import Model, ModelInfo, ModelKind
from paretune.passes import base
from paretune.passes.base import Context, Estimate, NoParams, Progress

if TYPE_CHECKING:
    from paretune.targets.base import TargetInfo

# Measured on SmolLM2-135M with two cores: imports, then seconds a weight.
_SECONDS_TO_START = 3.0
_SECONDS_A_WEIGHT = 25e-9
_MEMORY_BESIDE_WEIGHTS = 700_000_000
# What belongs to a model beside its weights: tokenizer, chat template, generation settings.
_COPIED = frozenset({".json", ".jinja", ".txt", ".model", ".tiktoken"})
_NOT_COPIED = frozenset({"config.json", "model.safetensors.index.json"})


class Merge:
    """Adds an adapter into its base model's weights, in fp32."""

    name: ClassVar[str] = "merge"
    version: ClassVar[int] = 1
    accepts: ClassVar[frozenset[ModelKind]] = frozenset({ModelKind.HF_ADAPTER})
    produces: ClassVar[ModelKind] = ModelKind.HF
    Params: ClassVar[type[base.Params]] = NoParams
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers", "peft", "safetensors")
    provider_matters: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    def data(self, params: NoParams) -> tuple[str, ...]:
        """Return no data set: it reads none."""
        return ()

    def check(
        self, model: ModelInfo, params: NoParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return None: every adapter that `lora` trains can be merged."""
        return None

    def estimate(self, model: ModelInfo, params: NoParams, target: TargetInfo) -> Estimate:
        """Return the size of the fp32 weights; they are held once, and a layer's twice."""
        if not model.parameters:
            return Estimate()
        weights = 4 * model.parameters
        return Estimate(
            bytes_out=weights,
            peak_memory=weights * 3 // 2 + _MEMORY_BESIDE_WEIGHTS,
            seconds=_SECONDS_TO_START + _SECONDS_A_WEIGHT * model.parameters,
        )

    def predict(self, model: ModelInfo, params: NoParams) -> ModelInfo:
        """Return the base's facts, in fp32."""
        return replace(
            model,
            kind=ModelKind.HF,
            bytes=4 * model.parameters or model.bytes,
            precision="fp32",
            built_with={},
        )

    def run(self, model: Model, params: NoParams, context: Context) -> None:
        """Write a complete Hugging Face folder.

        Raises:
            PassError: The adapter came without its base, or holds a NaN.
        """
        from peft import PeftModel

        from paretune.passes.hugging_face import load_fp32, use_all_cores

        if model.base is None:
            raise PassError(
                "merge: the adapter comes without the model that it was trained on",
                hint="Put `merge` after `lora` in the recipe.",
            )
        use_all_cores()
        context.progress(Progress("merge", 0, 3, "loading"))
        adapted = PeftModel.from_pretrained(load_fp32(model.base.path, context), model.path)
        context.progress(Progress("merge", 1, 3, "merging"))
        try:
            merged = adapted.merge_and_unload(safe_merge=True)
        except ValueError as error:
            raise PassError(f"merge: {error}", hint="Train with a lower learning_rate.") from error
        context.progress(Progress("merge", 2, 3, "writing"))
        merged.save_pretrained(context.out)
        copy_companions(model.base.path, context)


def copy_companions(folder: Path, context: Context) -> None:
    """Copy tokenizer, chat template and settings; Python files only where they may run."""
    wanted = _COPIED | {".py"} if context.trust_remote_code else _COPIED
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in wanted and file.name not in _NOT_COPIED:
            shutil.copyfile(file, context.out / file.name)
