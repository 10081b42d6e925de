"""Olive's ``training_args`` become parameters of a pass that trains, by today's names.

Olive hands them to the transformers Trainer, whose names and defaults have changed since; its own
defaults differ between its generations. Where they differ from ours they are written out.
"""

from __future__ import annotations

from typing import get_args

from paretune.config.olive.entries import Ledger
from paretune.config.olive.fields import (
    NULL,
    Fields,
    Node,
    Rule,
    apply,
    flag,
    ignores,
    nearly,
    no_effect,
    number,
    one,
    one_of,
    only,
    refused,
    shown,
    takes,
    whole,
)
from paretune.config.olive.reading import Generation
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json
from paretune.passes.lora.params import Scheduler

_NO_WARMUP = ("constant", "reduce_lr_on_plateau")
_WARMUP = 0.03
_EPOCHS = 3.0
_LOGGING_STEPS = {Generation.NESTED: 10, Generation.FLAT: 500}
_TEMPORARY = ignores("paretune keeps a training's states in the store, as it needs them")
_LAST_STATE = nearly(
    "the adapter is the training's last state: the held-out loss is not measured by steps",
    same=(False,),
)
_ADAMW = ("adamw_torch", "adamw_torch_fused", "adamw_hf", "paged_adamw_32bit", "paged_adamw")
_SHOWN = ignores("paretune shows a training's progress in its own way")

_RULES: dict[str, Rule] = {
    "seed": takes("seed", whole),
    "data_seed": takes("data_seed", whole),
    "per_device_train_batch_size": takes("batch_size", whole),
    "gradient_accumulation_steps": takes("gradient_accumulation_steps", whole),
    "gradient_checkpointing": takes("gradient_checkpointing", flag),
    "learning_rate": takes("learning_rate", number),
    "weight_decay": takes("weight_decay", number),
    "max_grad_norm": takes("max_grad_norm", number),
    "adam_beta1": takes("adam_beta1", number),
    "adam_beta2": takes("adam_beta2", number),
    "adam_epsilon": takes("adam_epsilon", number),
    "group_by_length": takes(
        "batching", lambda value: "length_grouped" if flag(value) else "plain"
    ),
    "logging_steps": takes("logging_steps", whole),
    "optim": only(
        *_ADAMW,
        why="paretune trains with AdamW; paging moves its memory only",
        otherwise="paretune trains with AdamW in 32 bits",
    ),
    "report_to": only(
        "none",
        ["none"],
        [],
        why="nothing is reported elsewhere",
        otherwise="paretune reports to no other service",
    ),
    "output_dir": nearly("the adapter and the training's states are in the store"),
    "resume_from_checkpoint": refused(
        "paretune continues its own trainings by itself, and no others"
    ),
    "deepspeed": only(False, why="not used", otherwise="paretune trains on one device"),
    "fp16": ignores("Olive ignores it too; torch_dtype determines the type"),
    "bf16": only(
        False,
        why="torch_dtype determines the type",
        otherwise="write torch_dtype: bfloat16 instead",
    ),
    "save_steps": _TEMPORARY,
    "save_strategy": _TEMPORARY,
    "save_total_limit": _TEMPORARY,
    "overwrite_output_dir": _TEMPORARY,
    "logging_strategy": _SHOWN,
    "logging_first_step": _SHOWN,
    "disable_tqdm": _SHOWN,
    "dataloader_num_workers": ignores("examples are in memory before the training begins"),
    "remove_unused_columns": ignores("paretune hands over token ids only"),
    "use_module_with_loss": ignores("Olive reads this key only with use_ort_trainer"),
}
_DEFAULTS: dict[Generation, dict[str, tuple[str, Json]]] = {
    Generation.NESTED: {
        "seed": ("seed", 42),
        "data_seed": ("data_seed", 42),
        "batch_size": ("per_device_train_batch_size", 1),
        "gradient_accumulation_steps": ("gradient_accumulation_steps", 16),
        "gradient_checkpointing": ("gradient_checkpointing", True),
    },
    Generation.FLAT: {
        "seed": ("seed", 42),
        "batch_size": ("per_device_train_batch_size", 8),
        "gradient_checkpointing": ("gradient_checkpointing", True),
        "batching": ("group_by_length", "plain"),
    },
}
"""Our name to Olive's and its default, where ours is another."""


def training(
    arguments: Fields,
    at: Path,
    generation: Generation,
    ledger: Ledger,
    held_out: dict[str, Json],
) -> dict[str, Json]:
    """Return the parameters that say how a pass trains.

    Args:
        arguments: Olive's ``training_args``.
        at: Where the pass's parameters stand with us.
        generation: Determines the defaults of missing keys.
        ledger: Records the result for each key.
        held_out: The data on which the loss is measured during training; may be empty.
    """
    reader = _Arguments(arguments, at, generation, ledger)
    found = reader.schedule() | reader.length()
    evaluation = reader.take("evaluation_strategy", "eval_strategy")
    steps, batch = reader.take("eval_steps"), reader.take("per_device_eval_batch_size")
    best = reader.take("load_best_model_at_end")
    found |= apply(_RULES, arguments, ledger, at, of="training_args")
    for name, (olives, value) in _DEFAULTS[generation].items():
        if name not in found:
            found[name] = value
            reader.added(olives, name, value)
    logging = found.get("logging_steps", _LOGGING_STEPS[generation])
    measured = reader.evaluation(evaluation, steps, batch, held_out, logging)
    return found | held_out | measured | reader.best(best, measured)


class _Arguments:
    """Those arguments whose meaning depends on one another."""

    def __init__(self, fields: Fields, at: Path, generation: Generation, ledger: Ledger) -> None:
        self._fields, self._at, self._ledger = fields, at, ledger
        self._nested = generation is Generation.NESTED

    def take(self, *names: str) -> Node | None:
        """Return a key that exists and is not null."""
        node = self._fields.take(*names)
        if node is not None and node.value is None:
            self._ledger.no_effect(node.path, NULL)
            return None
        return node

    def added(self, olives: str, ours: str, value: Json) -> None:
        """Record a default of Olive that is written out."""
        self._ledger.absent(
            (*self._fields.path, olives), (*self._at, ours), f"Olive's default: {value}"
        )

    def _read(self, node: Node, rule: Rule) -> Json:
        return one(rule, node, self._ledger, self._at, of="training_args")

    def schedule(self) -> dict[str, Json]:
        """Return the learning rate's schedule and its warm-up; a constant one has none."""
        node = self.take("lr_scheduler_type")
        ratio, steps = self.take("warmup_ratio"), self.take("warmup_steps")
        if node is None:
            kind: Json = "constant"
            self.added("lr_scheduler_type", "lr_scheduler_type", kind)
        else:
            known = {name: name for name in get_args(Scheduler)}
            kind = self._read(node, takes("lr_scheduler_type", one_of(**known)))
        found: dict[str, Json] = {"lr_scheduler_type": kind}
        if kind is None or kind in _NO_WARMUP:
            no_effect(self._ledger, f"the schedule {kind} has no warm-up", ratio, steps)
            return found
        if steps is not None and steps.value not in (0, "0"):
            no_effect(self._ledger, "warmup_steps takes precedence", ratio)
            return found | {"warmup_steps": self._read(steps, takes("warmup_steps", whole))}
        no_effect(self._ledger, "warmup_ratio takes precedence", steps)
        if ratio is not None:
            return found | {"warmup_ratio": self._read(ratio, takes("warmup_ratio", number))}
        self.added("warmup_ratio", "warmup_ratio", _WARMUP)
        return found | {"warmup_ratio": _WARMUP}

    def length(self) -> dict[str, Json]:
        """Return the length of the training; steps take precedence over epochs."""
        steps, epochs = self.take("max_steps"), self.take("num_train_epochs")
        most: Json = 10000 if self._nested else -1
        if steps is not None:
            most = self._positive_or_none(steps)
        elif self._nested:
            self.added("max_steps", "max_steps", most)
        if most is None or most > 0:
            no_effect(self._ledger, f"max_steps takes precedence ({most})", epochs)
            return {"max_steps": most}
        if epochs is not None:
            return {"epochs": self._read(epochs, takes("epochs", number))}
        self.added("num_train_epochs", "epochs", _EPOCHS)
        return {"epochs": _EPOCHS}

    def _positive_or_none(self, node: Node) -> Json:
        """Return max_steps; -1 means that the epochs are used; None if it is wrong."""
        try:
            most = whole(node.value)
        except ValueError as error:
            self._ledger.unsupported(node.path, str(error))
            return None
        if most > 0:
            self._ledger.translated(node.path, (*self._at, "max_steps"))
        else:
            self._ledger.translated(
                node.path, None, "num_train_epochs determines the length of the training"
            )
        return most

    def evaluation(
        self,
        when: Node | None,
        steps: Node | None,
        batch: Node | None,
        held_out: dict[str, Json],
        logging: Json,
    ) -> dict[str, Json]:
        """Return when the loss on the held-out data is measured."""
        if not held_out:
            no_effect(self._ledger, "there is no data to measure on", when, steps, batch)
            return {}
        found: dict[str, Json] = {}
        if batch is not None:
            rule = takes("eval_batch_size", whole)
            found["eval_batch_size"] = self._read(batch, rule)
        chosen = "no" if self._nested else "steps"
        if when is not None:
            chosen = self._chosen(when)
        if chosen != "steps":
            no_effect(self._ledger, "it is not measured by steps", steps)
        elif steps is not None:
            found["eval_steps"] = self._read(steps, takes("eval_steps", whole))
        else:
            found["eval_steps"] = logging
            self.added("eval_steps", "eval_steps", f"logging_steps, {logging}")
        return found

    def best(self, node: Node | None, measured: dict[str, Json]) -> dict[str, Json]:
        """Return whether the adapter of the lowest held-out loss is the output.

        Args:
            node: Olive's ``load_best_model_at_end``.
            measured: When the held-out loss is measured.
        """
        if node is None:
            return {}
        if node.value is True and measured.get("eval_steps") is not None:
            why = "of all that are measured; the Trainer chooses among those that it saves"
            self._ledger.approximated(node.path, (*self._at, "best_checkpoint"), why)
            return {"best_checkpoint": True}
        self._read(node, _LAST_STATE)
        return {}

    def _chosen(self, node: Node) -> str:
        value = node.value
        if value == "steps" or (value == "no" and not self._nested):
            why = None if value == "steps" else "Olive takes steps where there is data for it"
            self._ledger.translated(node.path, (*self._at, "eval_steps"), why)
            return "steps"
        if value == "no":
            self._ledger.approximated(node.path, None, "it is measured once, at the end")
        else:
            self._ledger.unsupported(
                node.path, f"the held-out loss is measured by steps, not {shown(value)}"
            )
        return "no"
