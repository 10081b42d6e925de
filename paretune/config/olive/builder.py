"""Olive's ``ModelBuilder`` becomes ``genai``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from paretune.config.olive.adapters import Environment
from paretune.config.olive.entries import Status
from paretune.config.olive.fields import (
    Fields,
    Reader,
    Rule,
    apply,
    flag,
    ignores,
    nearly,
    one_of,
    only,
    takes,
    texts,
    whole,
)
from paretune.config.olive.model import remote_code
from paretune.config.olive.reading import PassConfig
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json
from paretune.passes.genai.options import PRECISIONS, Algorithm, MixedPrecision

_PRECISIONS = tuple(dict.fromkeys(name for names in PRECISIONS.values() for name in names))
_QUANTIZED = ("int8", "int4")


def _named(kind: Any) -> Reader:
    """Return a reader of the names that a parameter of paretune accepts."""
    return one_of(**{name: name for name in get_args(kind)})


def _switch(value: Json) -> bool:
    """Read what the builder accepts as true and false."""
    known = {"true": True, "1": True, "false": False, "0": False}
    return flag(known.get(str(value).lower(), value))


def _names(value: Json) -> list[str]:
    return texts(value.split(",") if isinstance(value, str) else value)


_OPTIONS: dict[str, Rule] = {
    "block_size": takes("block_size", whole, searched=True),
    "accuracy_level": takes("accuracy_level", whole),
    "is_symmetric": takes("is_symmetric", _switch, searched=True),
    "algo_config": takes("algorithm", _named(Algorithm), searched=True),
    "nodes_to_exclude": takes("nodes_to_exclude", _names),
    "op_types_to_quantize": only(
        ["MatMul"],
        "MatMul",
        why="the builder's default",
        otherwise="paretune builds with matrix products quantized, nothing else: builds with "
        "others did not load",
    ),
}
_OFF = "paretune builds a whole model of plain operators"
_EXTRA: dict[str, Rule] = {
    **_OPTIONS,
    **{f"int4_{name}": rule for name, rule in _OPTIONS.items()},
    "matmul_mixed_precision": takes("matmul_mixed_precision", _named(MixedPrecision)),
    "shared_embeddings": takes("shared_embeddings", _switch),
    "fuse_qkv": takes("fuse_qkv", _switch),
    "filename": nearly("the model's file in the package is named as paretune names it"),
    "hf_token": ignores("a model is fetched before it is built; the builder sends no token"),
    **dict.fromkeys(
        (
            "use_qdq",
            "use_8bits_moe",
            "use_webgpu_fp32",
            "use_cuda_bf16",
            "include_hidden_states",
            "exclude_embeds",
            "exclude_lm_head",
            "enable_cuda_graph",
        ),
        only(False, "false", "0", why="the builder's default", otherwise=_OFF),
    ),
}
_RULES: dict[str, Rule] = {
    **{name: rule for name, rule in _EXTRA.items() if name.startswith(("int4_", "use_", "excl"))},
    "include_hidden_states": _EXTRA["include_hidden_states"],
    "enable_cuda_graph": _EXTRA["enable_cuda_graph"],
    "precision": takes("precision", one_of(**{name: name for name in _PRECISIONS})),
    "metadata_only": only(
        False, why="Olive's default", otherwise="paretune builds a model; metadata alone is not one"
    ),
    "search": nearly(
        "generation settings are the model's; change them in the package's genai_config.json"
    ),
}
_SEARCHED: Mapping[str, list[Json]] = {
    "block_size": [32, 64, 128],
    "is_symmetric": [True, False],
    "algorithm": ["default", "rtn", "k_quant_mixed", "k_quant_last"],
}
"""What Olive searches over by default since 0.12; earlier versions did not."""


def genai(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Return the parameters of ``genai``; the provider is the target's, not the pass's."""
    ledger, settings = around.ledger, config.settings
    extra = Fields.of(settings.take("extra_options"), ledger)
    remote_code(extra.take("hf_remote"), ledger)
    precision = apply(
        {"precision": _RULES["precision"]},
        settings.split(frozenset({"precision"})),
        ledger,
        at,
        of="ModelBuilder",
    )
    if not precision:
        if not ledger.covers((*settings.path, "precision")):
            ledger.absent(
                (*settings.path, "precision"), None, "Olive needs the precision", Status.UNSUPPORTED
            )
        precision = {"precision": "fp32"}
    quantized = precision["precision"] in _QUANTIZED
    found = apply(
        _fitting(_EXTRA, quantized),
        extra,
        ledger,
        at,
        of="the model builder",
        searching=around.searching,
    )
    rules = {
        name: ignores("extra_options says otherwise") if rule.into in found else rule
        for name, rule in _fitting(_RULES, quantized).items()
    }
    found |= apply(rules, settings, ledger, at, of="ModelBuilder", searching=around.searching)
    if around.searching and precision["precision"] == "int4":
        for name, values in _SEARCHED.items():
            if name not in found:
                olives = "int4_algo_config" if name == "algorithm" else f"int4_{name}"
                why = f"Olive 0.12 and later also searches over {values}: list them to do so"
                ledger.absent((*settings.path, olives), (*at, name), why, Status.APPROXIMATED)
    return precision | found


def _fitting(rules: Mapping[str, Rule], quantized: bool) -> dict[str, Rule]:
    """Return the rules, without an effect of quantization keys if nothing is quantized."""
    if quantized:
        return dict(rules)
    aside = ignores("nothing is quantized at this precision: no effect in Olive either")
    of_quantizing = {rule.into for rule in _OPTIONS.values() if rule.into is not None}
    of_quantizing.add("matmul_mixed_precision")
    return {name: aside if rule.into in of_quantizing else rule for name, rule in rules.items()}
