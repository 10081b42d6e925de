"""The transformers Trainer's arguments from a pass's parameters; for workers only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from paretune.passes.lora.params import LoraParams
from paretune.passes.lora.recomputation import keep_products


def trainer_arguments(params: LoraParams, scratch: Path, gpu: bool) -> Any:
    """Return the arguments of a training.

    Args:
        params: The pass's; its ``dtype`` is not ``auto``.
        scratch: A folder of its own.
        gpu: Whether it runs on a GPU.
    """
    # One field of the Trainer's takes both: below one it is a share of the steps.
    warmup = params.warmup_ratio or 0.0 if params.warmup_steps is None else params.warmup_steps
    checkpointing: dict[str, Any] = {"use_reentrant": False}
    if params.gradient_checkpointing == "selective":
        checkpointing["context_fn"] = keep_products
    arguments = TrainingArguments(
        output_dir=str(scratch / "trainer"),
        use_cpu=not gpu,
        per_device_train_batch_size=params.batch_size,
        per_device_eval_batch_size=params.eval_batch_size or params.batch_size,
        gradient_accumulation_steps=params.gradient_accumulation_steps,
        learning_rate=params.learning_rate,
        lr_scheduler_type=params.lr_scheduler_type,
        warmup_steps=warmup,
        weight_decay=params.weight_decay,
        adam_beta1=params.adam_beta1,
        adam_beta2=params.adam_beta2,
        adam_epsilon=params.adam_epsilon,
        num_train_epochs=params.epochs or 1.0,
        max_steps=params.max_steps or -1,
        max_grad_norm=params.max_grad_norm,
        seed=params.seed,
        data_seed=params.seed if params.data_seed is None else params.data_seed,
        activation_checkpointing=params.gradient_checkpointing is not False,
        activation_checkpointing_kwargs=checkpointing,
        fp16=params.dtype == "fp16",
        bf16=params.dtype == "bf16",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        eval_strategy="no" if params.eval_steps is None else "steps",
        eval_steps=params.eval_steps,
        # Every step's loss is looked at; `logging_steps` is how many make an entry of the record.
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
    )
    return _on_one_device(arguments)


def _on_one_device(arguments: Any) -> Any:
    """Have the Trainer use one GPU, the first, however many there are.

    With several it would wrap the model in DataParallel, which cuts every tensor of a batch along
    its first axis, ``logits_to_keep`` too.
    """
    if arguments.n_gpu > 1:
        print(f"{arguments.n_gpu} GPUs: the first one trains, for several are not supported")
        arguments._n_gpu = 1
    return arguments
