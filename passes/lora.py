"""The pass ``lora``: trains a low-rank adapter with PEFT and the transformers Trainer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from paretune.errors import PassError, nearest
from paretune.models import Model, ModelInfo, ModelKind
from paretune.passes import base
from paretune.passes.base import Context, Estimate, Progress, parameter

if TYPE_CHECKING:
    from paretune.targets.base import TargetInfo

# Inputs and outputs of all seven projections of a Llama layer, in units of its hidden size.
_WIDTHS_PER_LAYER = 18
_PROJECTIONS = 7
# Measured on SmolLM2-135M: the libraries, and the numbers that each layer keeps of a token for the
# gradient, in units of its hidden size. How long examples are is not known here: short ones.
_MEMORY_TO_START = 600_000_000
_KEPT_PER_LAYER = 54
_TOKENS_PER_EXAMPLE = 32
# Weights that the embedding and the head share when they are tied.
_SHARED_WHEN_TIED = frozenset({"embed_tokens", "lm_head", "wte", "embed_in", "embed_out"})


class LoraParams(base.Params):
    """Parameters of `Lora`; names and meanings are PEFT's and the Trainer's."""

    train: str = parameter(
        ..., "Data set to train on, as named under `data:` (`tone.train`).", search="none"
    )
    r: int = parameter(16, "Rank of the adapter's matrices.", search="range", ge=1, le=4096)
    alpha: int | None = parameter(
        None,
        "PEFT's lora_alpha: the adapter is scaled by alpha / r (by alpha / sqrt(r) with "
        "use_rslora). None: the same as r, a scale of one at every rank.",
        search="range",
        ge=1,
    )
    dropout: float = parameter(
        0.0,
        "PEFT's lora_dropout: share of the adapter's inputs that is dropped while training.",
        unit="fraction",
        search="range",
        ge=0.0,
        lt=1.0,
    )
    target_modules: Literal["all-linear"] | list[str] = parameter(
        "all-linear",
        "Which modules get an adapter: `all-linear` (all but the head), or a list of names "
        "(`q_proj`, or more of the path: `self_attn.q_proj`). Each name must match a module.",
        search="choice",
    )
    use_dora: bool = parameter(
        False, "Weight-decomposed adapters (DoRA, arXiv 2402.09353); trains more slowly."
    )
    use_rslora: bool = parameter(
        False, "Scale by alpha / sqrt(r) (rank-stabilized LoRA, arXiv 2312.03732)."
    )
    learning_rate: float = parameter(
        2e-4, "Peak learning rate of AdamW.", search="range", gt=0.0, le=1.0
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = parameter(
        "linear", "How the learning rate falls after the warm-up."
    )
    warmup_ratio: float | None = parameter(
        None,
        "Share of the steps over which the learning rate rises from 0. None: no warm-up, unless "
        "warmup_steps is given.",
        unit="fraction",
        search="range",
        ge=0.0,
        lt=1.0,
    )
    warmup_steps: int | None = parameter(
        None, "The same as a number of steps.", unit="steps", search="range", ge=0
    )
    weight_decay: float = parameter(
        0.0, "AdamW's weight decay on the adapter.", search="range", ge=0.0, le=1.0
    )
    epochs: float | None = parameter(
        None,
        "Passes over the training data. None: one, unless max_steps is given.",
        unit="epochs",
        search="range",
        gt=0.0,
    )
    max_steps: int | None = parameter(
        None, "Optimizer steps, in place of epochs.", unit="steps", search="range", ge=1
    )
    batch_size: int = parameter(
        16, "Examples computed at once.", unit="examples", search="range", ge=1
    )
    gradient_accumulation_steps: int = parameter(
        1, "Batches that make one optimizer step.", unit="batches", search="range", ge=1
    )
    max_length: int = parameter(
        1024,
        "Longest example. A longer prompt loses its beginning, never the answer.",
        unit="tokens",
        search="choice",
        ge=2,
    )
    max_grad_norm: float = parameter(
        1.0, "Gradients are scaled down to this norm.", search="range", gt=0.0
    )
    seed: int = parameter(
        0, "Seed of the adapter's first weights, the order of examples and dropout.", ge=0
    )
    loss_on: Literal["answer", "all"] = parameter(
        "answer", "Learn to predict the answer's tokens only, or the prompt's too."
    )
    batching: Literal["length_grouped", "padding_free", "plain"] = parameter(
        "length_grouped",
        "length_grouped: examples of about the same length share a batch. plain: any do; shorter "
        "ones are padded. padding_free: any do, joined to one row in which none sees another; no "
        "padding, but attention costs the square of the whole row: for short examples.",
    )
    gradient_checkpointing: bool = parameter(
        False, "Compute activations twice instead of keeping them: less memory, slower."
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> LoraParams:
        for one, other in (("epochs", "max_steps"), ("warmup_ratio", "warmup_steps")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"give {one} or {other}, not both")
        if self.lr_scheduler_type == "constant" and (self.warmup_ratio or self.warmup_steps):
            raise ValueError("'constant' has no warm-up; use 'constant_with_warmup'")
        if isinstance(self.target_modules, list) and not self.target_modules:
            raise ValueError("target_modules names no module; leave it out for all-linear")
        return self


class Lora:
    """Fine-tunes a low-rank adapter (LoRA, DoRA) on a data set."""

    name: ClassVar[str] = "lora"
    version: ClassVar[int] = 1
    accepts: ClassVar[frozenset[ModelKind]] = frozenset({ModelKind.HF})
    produces: ClassVar[ModelKind] = ModelKind.HF_ADAPTER
    Params: ClassVar[type[base.Params]] = LoraParams
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers", "peft", "accelerate")
    provider_matters: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    def data(self, params: LoraParams) -> tuple[str, ...]:
        """Return the references of the data sets that a run reads."""
        return (params.train,)

    def check(
        self, model: ModelInfo, params: LoraParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why a target module cannot be trained, or None."""
        if params.target_modules == "all-linear":
            return None
        for name in params.target_modules:
            last = name.split(".")[-1]
            if model.tied and last in _SHARED_WHEN_TIED:
                return (
                    f"target module {name!r}: this model's embedding and head share their "
                    "weights, and an adapter on one of them would tear them apart"
                )
            if model.modules and last not in model.modules:
                return f"no module named {name!r} in this model. {nearest(last, model.modules)}"
        return None

    def estimate(self, model: ModelInfo, params: LoraParams, target: TargetInfo) -> Estimate:
        """Return the adapter's size and the memory; the time depends on the data."""
        targets = params.target_modules
        share = 1.0 if targets == "all-linear" else min(1.0, len(targets) / _PROJECTIONS)
        weights = params.r * model.layers * _WIDTHS_PER_LAYER * model.hidden_size * share
        if not (model.parameters and weights):
            return Estimate()
        tokens = params.batch_size * min(params.max_length, _TOKENS_PER_EXAMPLE)
        kept = 0 if params.gradient_checkpointing else tokens * model.layers * _KEPT_PER_LAYER
        return Estimate(
            bytes_out=int(4 * weights),
            # Four numbers a trained weight: itself, its gradient and AdamW's two.
            peak_memory=_MEMORY_TO_START
            + int(4 * model.parameters + 16 * weights + 4 * kept * model.hidden_size),
        )

    def predict(self, model: ModelInfo, params: LoraParams) -> ModelInfo:
        """Return the adapter with its base's facts."""
        return replace(model, kind=ModelKind.HF_ADAPTER, built_with=params.model_dump(mode="json"))

    def run(self, model: Model, params: LoraParams, context: Context) -> None:
        """Train, and write ``adapter_model.safetensors``, its config and ``training.json``.

        Raises:
            PassError: A target module matches nothing, an answer is longer than max_length, or
                the loss became infinite or NaN.
        """
        from peft import LoraConfig, get_peft_model
        from transformers import set_seed

        from paretune.passes.hugging_face import load_fp32, load_tokenizer, use_all_cores
        from paretune.passes.lora_training import encode, save_adapter, train

        use_all_cores()
        dataset = context.data.load(params.train)
        tokenizer = load_tokenizer(model.path, context)
        rows, cut = encode(tokenizer, dataset, params)
        cut_note = f", {cut} prompts cut to max_length" if cut else ""
        context.progress(Progress("lora", 0, 0, f"{len(rows)} examples{cut_note}"))
        network = load_fp32(model.path, context)
        _require_modules(network, params.target_modules)
        set_seed(params.seed)
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=params.r,
            lora_alpha=params.r if params.alpha is None else params.alpha,
            lora_dropout=params.dropout,
            target_modules=params.target_modules,
            use_dora=params.use_dora,
            use_rslora=params.use_rslora,
        )
        adapted = get_peft_model(network, config)
        losses = train(adapted, rows, params, context)
        save_adapter(adapted, context.out)
        _note(context, dataset, rows, cut, losses)


def _require_modules(network: Any, wanted: str | list[str]) -> None:
    """PEFT passes over a name that matches nothing when another matches; that hides a mistake."""
    if isinstance(wanted, str):
        return
    paths = [path for path, module in network.named_modules() if not list(module.children())]
    for name in wanted:
        if not any(path == name or path.endswith(f".{name}") for path in paths):
            known = sorted(
                {
                    path.split(".")[-1]
                    for path, module in network.named_modules()
                    if getattr(module, "weight", None) is not None and module.weight.dim() == 2
                }
            )
            raise PassError(
                f"lora: target module {name!r} matches no module of this model",
                hint=f"It has: {', '.join(known)}.",
            )


def _note(context: Context, dataset: Any, rows: Any, cut: int, losses: list[float]) -> None:
    """Write what the adapter was trained on; the same run writes the same bytes."""
    from paretune.jsontools import write_json

    last = losses[-10:]
    write_json(
        context.out / "training.json",
        {
            "examples": len(rows),
            "tokens": sum(len(row.ids) for row in rows),
            "prompts_cut": cut,
            "labels": list(dataset.labels) if len(dataset.labels) <= 100 else None,
            "steps": len(losses),
            "first_loss": round(losses[0], 4),
            "final_loss": round(sum(last) / len(last), 4),
        },
        durable=False,
    )
