"""How the passes `lora` and `qlora` run: from a data set to the adapter's folder.

They differ in how the base model is held, and share everything else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from paretune.core.errors import PassError
from paretune.core.jsontools import Json, write_json
from paretune.core.model import Model
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.models.context_length import most_tokens
from paretune.passes.lora.params import AUTO
from paretune.passes.lora.rows import Row, encode, hold_out
from paretune.passes.quantization.rounding_grid import RoundingGrid

if TYPE_CHECKING:
    from paretune.passes.lora.course import Course, Losses
    from paretune.passes.lora.params import Dtype, LoraParams

_Params = TypeVar("_Params", bound="LoraParams")
_LAST_STEPS = 10
"""Steps whose mean is the final loss: one batch's loss is too noisy."""
_POINTS = 100
"""Of a learning curve in the report."""


@dataclass(frozen=True)
class _Material:
    """What is learned from, and what was seen when it was read."""

    rows: list[Row]
    held_out: list[Row]
    prompts_cut: int
    answers: int


def fine_tune(
    name: str,
    model: Model,
    params: _Params,
    context: Context,
    load: Callable[[_Params], Any],
) -> None:
    """Train, and write ``adapter_model.safetensors``, its config and ``training.json``.

    Args:
        name: The pass's, for signs of life.
        model: What the adapter is for.
        params: The pass's.
        context: What the pass runs with.
        load: Returns the network to train on, held as ``dtype`` says, which is not ``auto``.

    Raises:
        PassError: A target module matches nothing, an answer is longer than max_length, or the
            loss became infinite or NaN.
    """
    from paretune.passes.hugging_face import use_all_cores
    from paretune.passes.lora.quiet_bitsandbytes import without_no_news

    use_all_cores()
    with without_no_news():
        _fine_tune(name, model, params, context, load)


def _fine_tune(
    name: str,
    model: Model,
    params: _Params,
    context: Context,
    load: Callable[[_Params], Any],
) -> None:
    import torch

    from paretune.passes.lora.precision import precision_note
    from paretune.passes.lora.rounding import round_weights
    from paretune.passes.lora.trainer import train

    device = "cuda" if torch.cuda.is_available() else "cpu"
    slow = precision_note(*params.precisions(), device=device)
    if slow is not None:
        print(slow)
        context.progress(Progress(name, 0, 0, slow))
    material = _material(model, params, context)
    cut = material.prompts_cut
    cut_note = f", {cut} examples cut to fit" if cut else ""
    context.progress(Progress(name, 0, 0, f"{len(material.rows)} examples{cut_note}"))
    precision: dict[str, Json] = {}
    if params.dtype == AUTO:
        dtype, reason = _settled(params, context, load, material.rows, device)
        params = params.model_copy(update={"dtype": dtype})
        context.progress(Progress(name, 0, 0, f"{dtype}: {reason}"))
        precision = {"dtype": dtype}  # the reason is in the log: a continued training has another
    adapted = _adapted(load(params), params, device)
    if next(adapted.parameters()).device.type != device:
        adapted.to(device)  # not later: what is rounded, and a checkpoint's fit, go by the place
    rounding = None
    if params.quantize_for is not None:
        rounding = round_weights(adapted, _grid(params))
    course = train(name, adapted, material.rows, material.held_out, params, context, rounding)
    save_adapter(adapted, context.out)
    record = _record(material, course.losses, params.logging_steps) | {"precision_note": slow}
    record |= precision
    record |= _ending(course, params)
    write_json(context.out / "training.json", record, durable=False)
    context.details.update(_details(record, course.losses))


def _adapted(network: Any, params: LoraParams, device: str) -> Any:
    """Return a network with an untrained adapter, to be trained on a kind of device."""
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    from paretune.passes.lora.quick_dropout import draw_quickly

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
    if device == "cpu":
        draw_quickly(adapted)
    return adapted


def _settled(
    params: _Params,
    context: Context,
    load: Callable[[_Params], Any],
    rows: list[Row],
    device: str,
) -> tuple[Dtype, str]:
    """Return what ``dtype: auto`` stands for in this training, and why."""
    from paretune.passes.lora.auto_precision import choose
    from paretune.passes.lora.trainer import collator, dtype_begun
    from paretune.runtimes.matrix_products import quickest_products

    if params.quantize_for is not None:
        return "fp32", "quantize_for rounds as the build does in fp32 only"
    begun = dtype_begun(context.checkpoints, params, len(rows))
    if begun is not None:
        return begun, "the training began in it"

    def held_in(dtype: Dtype) -> Any:
        settled = params.model_copy(update={"dtype": dtype})
        return _adapted(load(settled), settled, device)

    with quickest_products():
        return choose(held_in, rows, lambda network: collator(params, network), device)


def _grid(params: LoraParams) -> RoundingGrid:
    if isinstance(params.quantize_for, RoundingGrid):
        return params.quantize_for
    raise PassError(
        "quantize_for: next stands for the grid of the pass that follows, and there is no recipe",
        hint="Give the grid itself: quantize_for: {bits: 4, block_size: 32}.",
    )


def _material(model: Model, params: LoraParams, context: Context) -> _Material:
    from paretune.passes.hugging_face import load_tokenizer

    tokenizer = load_tokenizer(model.path, context)
    dataset = context.data.load(params.train)
    held = most_tokens(model)
    rows, cut = encode(tokenizer, dataset, params.train, params, held)
    held_out: list[Row] = []
    if params.eval_data is not None:
        other = context.data.load(params.eval_data)
        held_out, _ = encode(tokenizer, other, params.eval_data, params, held)
    elif params.eval_dataset_size is not None:
        seed = params.seed if params.data_seed is None else params.data_seed
        rows, held_out = hold_out(rows, params.eval_dataset_size, seed)
    # Not the answers themselves: the record goes to machines, and into packages, without the data.
    return _Material(rows, held_out, cut, len(dataset.labels))


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
                f"target module {name!r} matches no module of this model",
                hint=f"It has: {', '.join(known)}.",
            )


def save_adapter(network: Any, out: Path) -> None:
    """Write the adapter's weights and configuration; the same adapter gives the same bytes.

    PEFT's own ``save_pretrained`` writes the base model's path and sets in no fixed order.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = get_peft_model_state_dict(network, save_embedding_layers=False)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(weights, out / "adapter_model.safetensors", metadata={"format": "pt"})
    config = network.peft_config["default"].to_dict()
    config.update(base_model_name_or_path=None, inference_mode=True)
    ordered = {
        key: sorted(value) if isinstance(value, set) else value for key, value in config.items()
    }
    text = json.dumps(ordered, indent=2, sort_keys=True, default=str)
    (out / "adapter_config.json").write_text(text + "\n", encoding="utf-8")


def _record(material: _Material, losses: Losses, logging_steps: int) -> dict[str, Json]:
    """Return what the adapter was trained on, and how it went; the same run gives the same."""
    last = losses.training[-_LAST_STEPS:]
    return {
        "examples": len(material.rows),
        "tokens": sum(len(row.ids) for row in material.rows),
        "prompts_cut": material.prompts_cut,
        "answers": material.answers,
        "steps": len(losses.training),
        "first_loss": round(losses.training[0], 4),
        "final_loss": round(sum(last) / len(last), 4),
        "losses": _rounded(losses.smoothed(logging_steps)),
        "held_out": {
            "examples": len(material.held_out),
            "tokens": sum(row.targets for row in material.held_out),
            "losses": _rounded(losses.held_out),
        }
        if material.held_out
        else None,
    }


def _details(record: dict[str, Any], losses: Losses) -> dict[str, Json]:
    """Return what the report shows of a training."""
    summary = (
        f"{record['steps']} steps on {record['examples']} examples: loss {record['first_loss']:g} "
        f"in the first step, {record['final_loss']:g} in the last {_LAST_STEPS}"
    )
    each = math.ceil(len(losses.training) / _POINTS)
    lines: dict[str, Json] = {"training loss": _points(losses.smoothed(each))}
    if losses.held_out:
        summary += f"; held-out loss {losses.held_out[-1][1]:.4g}"
        every = math.ceil(len(losses.held_out) / _POINTS)
        # The last one is kept whatever the spacing.
        lines["held-out loss"] = _points(losses.held_out[::-1][::every][::-1])
    if "dtype" in record:
        summary += f"; in {record['dtype']}, as was measured"
    return {"summary": summary, "curves": {"x": "optimizer steps", "y": "loss", "lines": lines}}


def _points(losses: list[tuple[int, float]]) -> Json:
    return [[step, round(loss, 4)] for step, loss in losses]


def _ending(course: Course, params: LoraParams) -> dict[str, Json]:
    """Return where the training ended and whose weights were taken, if that was not its end."""
    found: dict[str, Json] = {}
    if course.step < course.total:
        why = "early_stopping_patience" if course.ended else "stop_at"
        found["stopped"] = {"step": course.step, "of": course.total, "by": why}
    if params.best_checkpoint and course.best is not None:
        found["best_checkpoint"] = {
            "step": course.best[0],
            "held_out_loss": round(course.best[1], 4),
        }
    return found


def _rounded(losses: list[tuple[int, float]]) -> list[Json]:
    return [{"step": step, "loss": round(loss, 4)} for step, loss in losses]
