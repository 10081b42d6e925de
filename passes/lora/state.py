"""The state of a training as files, from which it continues exactly; for workers only.

``state.safetensors`` holds the adapter's weights, the optimizer's tensors and PyTorch's random
states; ``state.json`` everything else; ``trainer_state.json`` is what the Trainer reads to
find its place in the data. Nothing is pickled, so nothing that is read can run code.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from paretune.core.jsontools import Json, read_json
from paretune.passes.lora.params import Dtype

TRAINER_STATE = "trainer_state.json"
_TENSORS, _REST = "state.safetensors", "state.json"
_SCHEMA = 1


@dataclass
class TrainingState:
    """What was read of a checkpoint.

    Attributes:
        folder: Where it lies.
        step: Optimizer steps that were done.
        course: The course of the training (`paretune.passes.lora.course.Course.to_json`).
        tensors: By name.
        rest: Everything else.
    """

    folder: Path
    step: int
    course: Json
    tensors: Mapping[str, torch.Tensor]
    rest: Mapping[str, Json]

    @property
    def one_dnn(self) -> bool:
        """Whether matrices were multiplied by oneDNN (`paretune.runtimes.matrix_products`)."""
        return bool(self.rest["one_dnn"])

    @property
    def dtype(self) -> Dtype:
        """The precision that it was trained in; fp32 where nothing says so."""
        found: Dtype = self.rest.get("dtype", "fp32")
        return found

    def group(self, prefix: str) -> dict[str, torch.Tensor]:
        """Return the tensors whose names begin with a word and a dot, without it."""
        length = len(prefix) + 1
        return {
            name[length:]: tensor
            for name, tensor in self.tensors.items()
            if name.startswith(f"{prefix}.")
        }

    def fits(self, network: Any) -> str | None:
        """Return why a network cannot continue from it, or None."""
        if self.rest["device"] != _device(network):
            return f"it was trained on another kind of device ({self.rest['device']})"
        if self.one_dnn and not torch.backends.mkldnn.is_available():
            return "it was trained with oneDNN, which is not available here"
        wanted = {name: tensor.shape for name, tensor in trained(network)}
        for group in ("weights", "best"):
            found = {name: tensor.shape for name, tensor in self.group(group).items()}
            if found != wanted and (found or group == "weights"):
                return "its tensors are not those of this adapter"
        return None

    def set_weights(self, network: Any, group: str = "weights") -> None:
        """Give the adapter the weights of the checkpoint."""
        put(network, self.group(group))

    def set_optimizer(self, optimizer: Any, scheduler: Any) -> None:
        """Give the optimizer and the schedule their states."""
        told = _read(self.rest["optimizer"])
        state: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in told["state"].items()}
        for name, tensor in self.group("optimizer").items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": told["param_groups"]})
        scheduler.load_state_dict(_read(self.rest["scheduler"]))

    def set_scaler(self, scaler: Any) -> None:
        """Give the scaler of fp16's gradients its state."""
        if scaler is not None and self.rest["scaler"] is not None:
            scaler.load_state_dict(_read(self.rest["scaler"]))

    def set_random(self) -> None:
        """Give every source of random numbers its state."""
        told = _read(self.rest["random"])
        random.setstate(told["python"])
        name, keys, *more = told["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *more))
        torch.random.set_rng_state(self.tensors["random.cpu"])
        if "random.cuda" in self.tensors:
            torch.cuda.set_rng_state(self.tensors["random.cuda"])


def write_state(
    folder: Path, trainer: Any, course: Json, best: Mapping[str, Any], *, one_dnn: bool
) -> None:
    """Write the state of a training between two steps.

    Args:
        folder: An empty folder.
        trainer: The Trainer.
        course: What `TrainingState.course` will give.
        best: The weights of the lowest held-out loss, if they are kept.
        one_dnn: Whether matrices are multiplied by oneDNN.
    """
    optimizer = trainer.optimizer.state_dict()
    tensors: dict[str, Any] = {f"weights.{n}": tensor for n, tensor in trained(trainer.model)}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    others: dict[str, Json] = {}
    for index, values in optimizer["state"].items():
        others[str(index)] = {k: v for k, v in values.items() if not torch.is_tensor(v)}
        tensors |= {f"optimizer.{index}.{k}": v for k, v in values.items() if torch.is_tensor(v)}
    tensors["random.cpu"] = torch.random.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    numpy: Any = np.random.get_state()
    name, keys, *more = numpy
    scaler = getattr(trainer.accelerator, "scaler", None)
    rest = {
        "schema": _SCHEMA,
        "step": trainer.state.global_step,
        "device": _device(trainer.model),
        "one_dnn": one_dnn,
        "dtype": "bf16" if trainer.args.bf16 else "fp16" if trainer.args.fp16 else "fp32",
        "course": course,
        "optimizer": _told({"state": others, "param_groups": optimizer["param_groups"]}),
        "scheduler": _told(trainer.lr_scheduler.state_dict()),
        "scaler": None if scaler is None else _told(scaler.state_dict()),
        "random": _told({"python": random.getstate(), "numpy": (name, keys.tolist(), *more)}),
    }
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, folder / _TENSORS)
    (folder / _REST).write_text(json.dumps(rest, allow_nan=False), encoding="utf-8")
    # The Trainer's own log would hold every step; the losses are part of the course.
    replace(trainer.state, log_history=[], stateful_callbacks={}).save_to_json(
        str(folder / TRAINER_STATE)
    )


def read_state(folder: Path) -> TrainingState:
    """Read what `write_state` wrote.

    Raises:
        ValueError: It is not that.
    """
    try:
        rest = read_json(folder / _REST)
        if rest["schema"] != _SCHEMA:
            raise ValueError(f"schema {rest['schema']}; expected {_SCHEMA}")
        tensors = load_file(folder / _TENSORS)
        if not (folder / TRAINER_STATE).is_file():
            raise ValueError(f"it has no {TRAINER_STATE}")
        return TrainingState(folder, rest["step"], rest["course"], tensors, rest)
    except (OSError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"it cannot be read: {error!r}") from error


def trained(network: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the parameters that are trained, by name."""
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            yield name, parameter.detach()


def put(network: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Give the parameters that are trained other values."""
    for name, parameter in trained(network):
        parameter.copy_(weights[name])


def _device(network: Any) -> str:
    return str(next(network.parameters()).device.type)


def _told(value: Any) -> Json:
    """Return a value as JSON that `_read` gives back as it was: tuples and infinities too."""
    if isinstance(value, Mapping):
        return {"map": [[_told(k), _told(v)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_told(each) for each in value]}
    if isinstance(value, list):
        return [_told(each) for each in value]
    if torch.is_tensor(value) or isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} in a training's state")


def _read(value: Json) -> Any:
    if isinstance(value, list):
        return [_read(each) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "map":
        return {_read(k): _read(v) for k, v in inner}
    return tuple(_read(each) for each in inner) if kind == "tuple" else float(inner)
