"""Olive's passes that train an adapter (LoRA, DoRA, QLoRA) become ``lora`` and ``qlora``."""

from __future__ import annotations

from dataclasses import dataclass

from paretune.config.olive.data import DataSets
from paretune.config.olive.entries import Ledger, Status
from paretune.config.olive.fields import (
    NULL,
    Fields,
    Rule,
    apply,
    flag,
    ignores,
    missing,
    nearly,
    number,
    one_of,
    only,
    takes,
    texts,
    whole,
)
from paretune.config.olive.reading import Generation, PassConfig
from paretune.config.olive.training import training
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json

_TYPES = one_of(float32="fp32", bfloat16="bf16", float16="fp16")
_SLOW_BF16 = (
    "Olive's default is bfloat16; fp32 here, because bfloat16 is many times slower on processors "
    "without instructions for it"
)
_NOT_QUANTIZED = ignores("LoRA quantizes nothing: it has no effect in Olive either")
_EVERYWHERE: dict[str, Rule] = {
    **dict.fromkeys(("r", "lora_r"), takes("r", whole, searched=True)),
    **dict.fromkeys(("alpha", "lora_alpha"), takes("alpha", whole)),
    "lora_dropout": takes("dropout", number),
    "torch_dtype": takes("dtype", _TYPES),
    "modules_to_save": only(
        [], why="only the adapter is trained", otherwise="paretune trains only the adapter"
    ),
    "bias": only("none", why="no bias is trained", otherwise="paretune trains no biases"),
    "device_map": nearly("paretune places the model itself"),
    "allow_tf32": nearly("paretune multiplies in the precision that dtype names"),
    "ephemeral_gpu_offload": only(
        False, why="Olive's default", otherwise="nothing is offloaded while training"
    ),
    "use_ort_trainer": only(False, why="Olive's default", otherwise="paretune trains with PyTorch"),
    "ortmodule_onnx_opset_version": ignores("Olive reads this key only with use_ort_trainer"),
}
_LORA: dict[str, Rule] = {
    **_EVERYWHERE,
    "target_modules": takes("target_modules", texts),
    **dict.fromkeys(
        ("double_quant", "quant_type", "compute_dtype", "save_quant_config"), _NOT_QUANTIZED
    ),
}
_QLORA: dict[str, Rule] = {
    **_EVERYWHERE,
    "target_modules": ignores("Olive's QLoRA ignores this key and trains every quantized layer"),
    "double_quant": takes("double_quant", flag),
    "quant_type": takes("quant_type", one_of(nf4="nf4", fp4="fp4")),
    "compute_dtype": takes("compute_dtype", _TYPES),
    "save_quant_config": nearly("the base model is kept unchanged beside the adapter"),
}
_DEFAULTS: dict[Generation, dict[str, Json]] = {
    Generation.NESTED: {"r": 64, "alpha": 16},
    Generation.FLAT: {"r": 64, "alpha": 16, "dropout": 0.05},
}
"""Olive's defaults where ours are others."""

_QUANTIZED: dict[str, Json] = {"quant_type": "nf4", "double_quant": False}
_SEARCHED_RANKS = [16, 32, 64]


@dataclass(frozen=True)
class Environment:
    """The context of a pass's translation.

    Attributes:
        ledger: Records the result for each key.
        generation: Determines the defaults of missing keys.
        data: The data sets.
        searching: Whether there is a search strategy.
    """

    ledger: Ledger
    generation: Generation
    data: DataSets
    searching: bool


def lora(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Return the parameters of ``lora``."""
    found = _adapter(config, at, around, _LORA)
    if "target_modules" not in found:
        found["target_modules"] = "all-linear"
        around.ledger.absent(
            (*config.settings.path, "target_modules"),
            (*at, "target_modules"),
            "Olive leaves the choice to PEFT, by the architecture; here every linear layer but "
            "the head gets an adapter",
            Status.APPROXIMATED,
        )
    return found


def dora(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Return the parameters of ``lora`` that make it DoRA."""
    return {**lora(config, at, around), "use_dora": True}


def qlora(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Return the parameters of ``qlora``; what Olive would fill in is written out."""
    found = _adapter(config, at, around, _QLORA)
    for name, value in {**_QUANTIZED, "compute_dtype": found["dtype"]}.items():
        if name not in found:
            found[name] = value
            around.ledger.absent(
                (*config.settings.path, name), (*at, name), f"Olive's default: {value}"
            )
    return found


def _adapter(
    config: PassConfig, at: Path, around: Environment, rules: dict[str, Rule]
) -> dict[str, Json]:
    ledger, settings = around.ledger, config.settings
    found: dict[str, Json] = {}
    train = settings.take("train_data_config")
    if train is None:
        missing(ledger, settings, "train_data_config", "Olive needs data to train on")
    else:
        reference = around.data.reference(train, (*at, "train"))
        found |= {} if reference is None else {"train": reference}
    held_out = _held_out(settings, at, around)
    arguments = Fields.of(
        settings.take("training_args"),
        ledger,
        nested="extra_args",
        otherwise=(*settings.path, "training_args"),
    )
    found |= apply(rules, settings, ledger, at, of=_type(config), searching=around.searching)
    _fill(found, settings, at, around)
    found |= training(arguments, at, around.generation, ledger, held_out)
    return {name: value for name, value in found.items() if value is not None}


def _held_out(settings: Fields, at: Path, around: Environment) -> dict[str, Json]:
    """Return the data on which the loss is measured during training."""
    ledger = around.ledger
    data, size = settings.take("eval_data_config"), settings.take("eval_dataset_size")
    reference = None
    if data is not None and data.value is None:
        ledger.no_effect(data.path, NULL)
    elif data is not None:
        reference = around.data.reference(data, (*at, "eval_data"))
    if size is not None:
        share = _size(size.value)
        if around.generation is Generation.FLAT:
            ledger.no_effect(size.path, "Olive removed this key in 0.7, so it has no effect there")
        elif reference is not None:
            ledger.no_effect(size.path, "eval_data_config takes precedence")
        elif size.value in (None, 0):
            ledger.no_effect(size.path, "there is no held-out data")
        elif share is None:
            ledger.unsupported(size.path, "expected a share below 1 or a number of examples")
        else:
            ledger.translated(size.path, (*at, "eval_dataset_size"))
            return {"eval_dataset_size": share}
    return {} if reference is None else {"eval_data": reference}


def _size(value: Json) -> float | None:
    try:
        size = number(value)
    except ValueError:
        return None
    if size <= 0:
        return None
    return size if size < 1 else int(size)


def _fill(found: dict[str, Json], settings: Fields, at: Path, around: Environment) -> None:
    """Write out Olive's defaults if they differ from paretune's."""
    ledger = around.ledger
    defaults = dict(_DEFAULTS[around.generation])
    if around.searching and around.generation is Generation.FLAT:
        defaults["r"] = _SEARCHED_RANKS
    for name, value in defaults.items():
        if name not in found:
            found[name] = value
            what = (
                "the values that Olive searches over"
                if isinstance(value, list)
                else "Olive's default"
            )
            ledger.absent((*settings.path, name), (*at, name), f"{what}: {value}")
    if "dtype" not in found:
        found["dtype"] = "fp32"
        ledger.absent(
            (*settings.path, "torch_dtype"), (*at, "dtype"), _SLOW_BF16, Status.APPROXIMATED
        )


def _type(config: PassConfig) -> str:
    return str(config.type.value) if config.type is not None else config.name
