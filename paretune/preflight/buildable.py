"""Checks, before anything runs, that an input model's configuration is valid and built correctly.

The names that the builder supports are read from its source
(`paretune.passes.genai.builder_support`). Everything else is tested on a small model of the same
configuration (`paretune.passes.genai.twin`), in a job; the result is kept in the store, under the
configuration and the versions that it depends on. A model whose settings are all known to be built
correctly is not tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.core.distributions import package_version
from paretune.core.errors import UsageError
from paretune.core.job import Call, Job, JobStatus, Limits
from paretune.core.jsontools import Json, digest, read_json, read_model_json, write_json
from paretune.evaluators.generation.workload import GenerationParams, cases_of
from paretune.models.remote_code import brings_code
from paretune.passes.genai.builder_support import INSTEAD, unsupported
from paretune.registry import find_evaluator

if TYPE_CHECKING:
    from paretune.config import Plan
    from paretune.core.candidate import Candidate
    from paretune.core.target import Target
    from paretune.store.artifacts import Store

_VERSION = 2
_BUILDS = frozenset({"genai", "genai_adapter"})
_LOADS = frozenset({"lora", "qlora", "merge", "drop_layers", "sensitivity", "awq_scaling"})
_MEASURES = frozenset({"classification", "exact_match", "perplexity", "generation"})
_LIMITS = Limits(seconds=180.0)
_PACKAGES = ("onnxruntime-genai", "onnxruntime", "transformers", "torch")
# A Llama with nothing but these keys, and these values where there are any, is built right.
_PLAIN: Mapping[str, frozenset[Json]] = {
    "rope_scaling": frozenset({None}),
    "hidden_act": frozenset({"silu"}),
    "pretraining_tp": frozenset({1}),
    "attention_bias": frozenset({False, True}),
    "mlp_bias": frozenset({False, True}),
    "tie_word_embeddings": frozenset({False, True}),
}
_SIZES = frozenset(
    {
        "architectures",
        "model_type",
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "dtype",
        "torch_dtype",
        "transformers_version",
        "initializer_range",
        "use_cache",
        "rms_norm_eps",
        "rope_theta",
        "attention_dropout",
        "_name_or_path",
    }
)

_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_DTYPES = (None, "float32", "float16", "bfloat16")
_COUNTS = ("vocab_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings")


@dataclass(frozen=True)
class Buildable:
    """Whether an input model can be built.

    Attributes:
        why_not: Why every build differs from the model; empty if no reason is known.
        note: A note about all builds; may be empty.
    """

    why_not: str = ""
    note: str | None = None


def ask(plan: Plan, baseline: Candidate, target: Target, store: Store) -> Buildable:
    """Return whether the model builder does what the input model's configuration says.

    Args:
        plan: A checked configuration.
        baseline: Its baseline.
        target: Where the job runs.
        store: Where the answer is kept.

    Raises:
        UsageError: transformers does not take the configuration.
    """
    folder = plan.base or plan.model
    recipes = {step.name for c in (baseline, *plan.try_first) for step in c.recipe}
    passes = {*plan.space.pass_names, *recipes}
    measures = {choice.name for choice in plan.evaluators}
    file = folder / "config.json"
    if not file.is_file() or not (passes & (_BUILDS | _LOADS) or measures & _MEASURES):
        return Buildable()
    config = read_model_json(file)
    if is_plain(config) or brings_code(folder):
        return Buildable()
    versions = {name: package_version(name) for name in _PACKAGES}
    builder = f"the model builder (onnxruntime-genai {versions['onnxruntime-genai']})"
    why_not = unsupported(file, config, builder)
    builds = bool(passes & _BUILDS) and why_not is None
    key = digest({"twin": _VERSION, "config": config, "versions": versions, "build": builds})
    kept = store.root / "twins" / f"{key.removeprefix('sha256:')}.json"
    found = _kept(kept)
    if found is None:
        args = {"folder": str(folder.resolve()), "build": builds}
        call = Call("paretune.passes.genai.twin:look", args)
        result = target.submit(Job(call, _LIMITS)).result()
        if result.status is not JobStatus.OK or not isinstance(result.value, dict):
            return Buildable(why_not or "")  # what is built is compared with its source later on
        found = result.value
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, found, durable=False)
    if found.get("refused"):
        raise UsageError(
            f"model {str(folder)!r}: {file.name}: {found['refused']}",
            hint="Correct the key, or download the model again; with this value it cannot be "
            "trained, built or measured.",
        )
    if why_not is not None:
        return Buildable(why_not)
    return _read(file, config, found, builder, _needed(plan))


def is_plain(config: Mapping[str, Json]) -> bool:
    """Return whether every setting of a model is known to be built correctly."""
    rope = config.get("rope_parameters")
    usual = rope is None or (
        isinstance(rope, dict)
        and rope.keys() <= {"rope_type", "rope_theta"}
        and rope.get("rope_type", "default") == "default"
    )
    others = {k: v for k, v in config.items() if k not in _SIZES and k != "rope_parameters"}
    return (
        config.get("model_type") == "llama"
        and config.get("architectures") == ["LlamaForCausalLM"]
        and usual
        and _are_sizes(config)
        and all(_is_id(config.get(key)) for key in _IDS)
        and all(config.get(key) in _DTYPES for key in ("dtype", "torch_dtype"))
        and all(_is_one_of(value, _PLAIN.get(key, frozenset())) for key, value in others.items())
    )


def _are_sizes(config: Mapping[str, Json]) -> bool:
    """Return whether the numbers of a configuration are numbers, and go together."""
    heads: Any = config.get("num_attention_heads")
    hidden: Any = config.get("hidden_size")
    kv: Any = config.get("num_key_value_heads", heads)
    counts = [config.get(key) for key in _COUNTS if key in config]
    numbers = [config.get(key) for key in ("rms_norm_eps", "rope_theta") if key in config]
    return (
        all(type(n) is int and n > 0 for n in (heads, hidden, kv, *counts))
        and hidden % heads == 0
        and heads % kv == 0
        and all(type(n) in (int, float) for n in numbers)
    )


def _is_id(value: Json) -> bool:
    return all(
        type(one) in (int, type(None)) for one in (value if type(value) is list else [value])
    )


def _is_one_of(value: Json, known: Iterable[Json]) -> bool:
    return any(value is one or (type(value) is type(one) and value == one) for one in known)


def _kept(file: Path) -> dict[str, Json] | None:
    try:
        found = read_json(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "same" in found else None


def _needed(plan: Plan) -> int:
    """Return the most tokens that an evaluator is known to have in one sequence."""
    most = 0
    for choice in plan.evaluators:
        params = find_evaluator(choice.name).Params
        if params is GenerationParams:
            most = max([most, *(c.needed for c in cases_of(GenerationParams(**choice.params)))])
        elif choice.name == "perplexity":
            most = max(most, params(**choice.params).model_dump().get("window", 0))
    return most


def _read(
    file: Path, config: Mapping[str, Json], found: Mapping[str, Json], builder: str, needed: int
) -> Buildable:
    if found["same"] is not False:
        return Buildable()
    key, window = found.get("key"), found.get("window")
    named = f"{file.name}: {key} ({found.get('value')!r})"
    if isinstance(window, int) and needed <= window:
        return Buildable(
            note=f"{builder} leaves out {named}: a build computes the same as the model up to "
            f"{window} tokens, and something else beyond"
        )
    if key:
        return Buildable(
            f"{builder} does not support {named}: for a small model of this configuration, "
            f"{found.get('why')}; use a checkpoint without it, or measure the model without this "
            "pass"
        )
    (name, *_) = config["architectures"]
    return Buildable(
        f"{builder} does not build {name} correctly ({file.name}: architectures): for a small "
        f"model of this configuration, {found.get('why')}; {INSTEAD}"
    )
