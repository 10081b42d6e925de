"""A small twin of a model: built and compared before the model itself is trained or built.

The model builder writes a graph for what it knows of an architecture, and passes over what it does
not know (a RoPE scaling, a window, a cap) without a word, or fails. Whether it does depends on the
configuration alone. A twin has the model's configuration with small sizes and random weights; what
is built of it is run, and compared with PyTorch, within a second. If the two differ, the keys that
are not as usual are taken out one by one until they do not: that one is what is not implemented.
For workers only.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paretune.core.jsontools import Json, read_model_json
from paretune.passes.genai.builder_errors import told
from paretune.passes.genai.readable import refused

_TOKENS = 320
_LENGTH = 96
_WINDOW = 24
_POSITIONS = 512
_LAYERS = 2
_MAX_LAYERS = 12
_MAX_HEADS_A_GROUP = 4
_MAX_EXPERTS = 4
_MAX_TRIES = 24
DIFFERENT = 1e-5
"""Mean KL divergence per token, in nats, from which on two fp32 models are not the same: other
forms of the same function (gelu by tanh, a norm's epsilon) give up to 2e-6, what is left out at
least 5e-4."""
_ROPE = ("rope_parameters", "rope_scaling")
# Sizes and names: no key of these is a variant of the architecture.
_SIZES = frozenset(
    {
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "head_dim",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "model_type",
        "architectures",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "unk_token_id",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "initializer_range",
        "use_cache",
        "rope_theta",
        "rms_norm_eps",
        "layer_norm_eps",
        "tie_word_embeddings",
        "_name_or_path",
        "layer_types",
        "attention_dropout",
        "hidden_dropout",
        "auto_map",
    }
)


def look(folder: str, build: bool = True) -> dict[str, Json]:
    """Build a model's twin and compare it with PyTorch.

    Args:
        folder: The model's.
        build: Whether it is to be built at all; else only its configuration is read.

    Returns:
        ``refused``: what is wrong with a configuration that transformers does not take.
        ``same``: True, False, or None where no twin could be made or run in PyTorch. If False:
        ``key`` and ``value`` of what is not implemented (null where no single key is), and ``why``:
        what was seen, as text. ``window``: the tokens up to which they are the same, where a
        window is what is left out.
    """
    source = Path(folder)
    wrong = refused(source)
    if wrong is not None or not build:
        return {"same": None, "refused": wrong}
    config = read_model_json(source / "config.json")
    try:
        twin = shrunk(config, source)
    except Exception as error:  # whatever a stranger's configuration makes a library raise
        return {"same": None, "why": f"{type(error).__name__}: {error}"}
    with tempfile.TemporaryDirectory() as scratch:
        return _look(config, twin, _Tries(Path(scratch)))


def _look(config: dict[str, Json], twin: dict[str, Json], tries: _Tries) -> dict[str, Json]:
    why = tries.difference(twin)
    if why is None or why.startswith(_NO_TWIN):
        return {"same": None if why else True, "why": why}
    for key in suspects(twin):
        if tries.difference(without(twin, key)) is None:
            window = config.get(key) if key == "sliding_window" else None
            return {
                "same": False,
                "key": key,
                "value": _shown(config, key),
                "why": why,
                "window": window if type(window) is int else None,
            }
    return {"same": False, "key": None, "value": None, "why": why, "window": None}


_NO_TWIN = "no twin: "
_NO_BUILD = "it does not build: "


def shrunk(config: dict[str, Json], source: Path, *, whole: bool = False) -> dict[str, Json]:
    """Return a configuration with small sizes, and everything else as it is.

    Args:
        config: As the model's file has it.
        source: Its folder: what the library adds to the file (which layer is of which kind).
        whole: Keep all layers, and make the others' sizes smaller for it.

    Raises:
        ValueError: It is of a form that is not known here.
    """
    from transformers import AutoConfig

    small = copy.deepcopy(config)
    known = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    if known.get_text_config() is not known:
        raise ValueError("its text model is a part of a larger one")
    heads, layers = known.num_attention_heads, known.num_hidden_layers
    groups = getattr(known, "num_key_value_heads", None) or heads
    head = getattr(known, "head_dim", None) or known.hidden_size // heads
    few = 1 if groups == 1 or whole else 2
    most = 2 if whole else _MAX_HEADS_A_GROUP
    small["num_attention_heads"] = few * min(most, heads // groups)
    if "num_key_value_heads" in config or groups != heads:
        small["num_key_value_heads"] = few
    hidden = small["num_attention_heads"] * head
    for key, value in config.items():
        if value == known.hidden_size and type(value) is int and key.endswith(("_size", "_dim")):
            small[key] = hidden
        elif type(value) is int and "intermediate_size" in key:
            small[key] = 2 * hidden
        elif type(value) is int and "experts" in key:
            small[key] = min(value, 2 if "per_tok" in key else _MAX_EXPERTS)
    small |= {"hidden_size": hidden, "vocab_size": _TOKENS}
    small |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    if not whole:
        _few_layers(small, vars(known), layers)
    _small_positions(small, known)
    small.pop("quantization_config", None)
    return small


def _few_layers(small: dict[str, Json], known: dict[str, Any], layers: int) -> None:
    """Keep the first layers, as many as it takes until one of each kind is among them."""
    lists = {
        key: value
        for key, value in {**known, **small}.items()
        if isinstance(value, list) and len(value) == layers
    }
    kept = min(_LAYERS, layers)
    for value in lists.values():
        kinds = {json.dumps(kind) for kind in value}
        while len({json.dumps(kind) for kind in value[:kept]}) < len(kinds) and kept < layers:
            kept += 1
    if kept > _MAX_LAYERS:
        raise ValueError(f"its first {_MAX_LAYERS} layers are not of every kind that it has")
    small["num_hidden_layers"] = kept
    for key, value in lists.items():
        if not key.startswith("_"):
            small[key] = value[:kept]
    if "max_window_layers" in small:  # what follows from it stands in layer_types
        small["max_window_layers"] = min(small["max_window_layers"], kept)


def _small_positions(small: dict[str, Json], known: Any) -> None:
    """Make windows small, and the context where nothing is computed from its size."""
    if type(small.get("sliding_window")) is int and small["sliding_window"] > _WINDOW:
        small["sliding_window"] = _WINDOW
    rope = getattr(known, "rope_parameters", None)
    kind = rope.get("rope_type", "default") if isinstance(rope, dict) else "default"
    original = getattr(known, "original_max_position_embeddings", None)
    positions = known.max_position_embeddings
    if kind in ("default", "linear") and original in (None, positions):
        small["max_position_embeddings"] = min(positions, _POSITIONS)
        if "original_max_position_embeddings" in small:
            small["original_max_position_embeddings"] = small["max_position_embeddings"]


def suspects(config: dict[str, Json]) -> list[str]:
    """Return the keys that are not as usual, likeliest first."""
    from transformers import AutoConfig

    usual = AutoConfig.for_model(config["model_type"]).to_dict()
    found = [
        key
        for key, value in config.items()
        if key not in _SIZES
        and key not in _ROPE
        and "_size" not in key
        and not key.startswith("num_")
        and value != usual.get(key)
    ]
    rope = [key for key in _ROPE if isinstance(config.get(key), dict)]
    first = [k for k in found if any(w in k for w in ("window", "rope", "rotary", "cap", "bias"))]
    return [*rope, *first, *(k for k in found if k not in first)][:_MAX_TRIES]


def without(config: dict[str, Json], key: str) -> dict[str, Json]:
    """Return a configuration without one of its variants."""
    changed = copy.deepcopy(config)
    removed = changed.pop(key, None)
    if key in _ROPE:
        for other in _ROPE:
            changed.pop(other, None)
        if isinstance(removed, dict) and "rope_theta" in removed:
            changed["rope_theta"] = removed["rope_theta"]
    if key == "sliding_window":  # libraries have a window of their own where none is named
        changed[key] = None
        if "layer_types" in changed:
            changed["layer_types"] = ["full_attention"] * changed["num_hidden_layers"]
    return changed


def _shown(config: dict[str, Json], key: str) -> Json:
    value = config.get(key)
    if isinstance(value, dict):
        return {k: v for k, v in value.items() if not isinstance(v, (list, dict))}
    return value


class _Tries:
    """Twins, each in a folder of its own."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._count = 0

    def difference(self, config: dict[str, Json]) -> str | None:
        """Return how a build of a configuration differs from PyTorch, or None."""
        import numpy as np

        self._count += 1
        place = self._scratch / str(self._count)
        ids = np.random.default_rng(0).integers(5, _TOKENS, _LENGTH).tolist()
        try:
            source = _written(config, place / "model", ids)
        except Exception as error:  # what a library raises on settings that it does not take
            return f"{_NO_TWIN}{type(error).__name__}: {error}"
        try:
            with quietly():
                _built(place / "model", place / "built", place / "cache")
        except Exception as error:  # the builder's own failures have no class
            return f"{_NO_BUILD}{told(error, place / 'model', self._scratch)}"
        try:
            built = _run(place / "built", ids)
        except Exception as error:  # likewise the run-time's
            return f"what is built does not run ({_line(error)})"
        kl = max(_divergence(source, logits) for logits in built)
        if kl <= DIFFERENT:
            return None
        return f"what is built gives other logits than PyTorch (divergence {kl:.2g} nats a token)"


def _written(config: dict[str, Json], folder: Path, ids: Sequence[int]) -> Any:
    """Write a twin with random weights; returns its logits in PyTorch."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True)
    file = folder / "config.json"
    text = json.dumps(config)
    file.write_text(text, encoding="utf-8")
    read = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(read, trust_remote_code=False)
    network.to(torch.float32).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            _fill(name, weight)
        logits = network(torch.tensor([list(ids)])).logits[0].float().numpy()
    if not bool((logits == logits).all()):
        raise ValueError("its logits are no numbers")
    network.save_pretrained(folder)
    file.write_text(text, encoding="utf-8")  # as the model's own, not as the library writes it
    tokenizer().save_pretrained(folder)
    return logits


def _fill(name: str, weight: Any) -> None:
    """Draw weights with which every part of a network shows in its logits."""
    import torch

    if weight.dim() > 1:
        sharp = 2.0 if "q_proj" in name or "k_proj" in name or "qkv" in name else 1.0
        wide = weight.shape[-1] ** 0.5
        weight.normal_(std=1.0 if "embed" in name else sharp / wide)
    elif "bias" in name:
        weight.normal_(std=0.3)
    else:
        weight.add_(torch.randn_like(weight) * 0.2)


def tokenizer() -> Any:
    """Return a tokenizer of words, one for each token of a twin."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"t{i}": i for i in range(_TOKENS)}
    inner = Tokenizer(models.WordLevel(words, unk_token="t0"))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="t0", bos_token="t1", eos_token="t2"
    )


def _built(source: Path, out: Path, cache: Path) -> None:
    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    from paretune.passes.genai.options import options_for

    where = (None, str(source), str(out), "fp32", "cpu", str(cache))
    options = ["hf_token=false", *options_for(source)]
    create_model(*where, **parse_extra_options(*where, options))


def _run(folder: Path, ids: Sequence[int]) -> list[Any]:
    """Return a build's logits of all tokens: appended at once, and the last ones one by one."""
    import numpy as np

    from paretune.runtimes.genai import import_genai

    genai = import_genai()
    model = genai.Model(str(folder))

    def generator() -> Any:
        params = genai.GeneratorParams(model)
        params.set_search_options(max_length=len(ids) + 1, do_sample=False, batch_size=1)
        return genai.Generator(model, params)

    whole = generator()
    whole.append_tokens(list(ids))
    first = whole.get_output("logits").reshape(len(ids), -1)
    half = len(ids) // 2
    parts = generator()
    parts.append_tokens(list(ids[:half]))
    rows = [parts.get_output("logits").reshape(half, -1)]
    for token in ids[half:]:
        parts.append_tokens([token])
        rows.append(parts.get_output("logits").reshape(1, -1))
    return [first, np.concatenate(rows)]


def _divergence(source: Any, built: Any) -> float:
    import numpy as np

    from paretune.runtimes.base import log_softmax

    p = log_softmax(source[:, : built.shape[1]])
    found = float((np.exp(p) * (p - log_softmax(built))).sum(-1).mean())
    return found if found == found else float("inf")


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Drop what the builder prints, and hide any git repository from it."""
    before = os.environ.get("GIT_DIR")
    os.environ["GIT_DIR"] = os.devnull
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield
    finally:
        if before is None:
            os.environ.pop("GIT_DIR", None)
        else:
            os.environ["GIT_DIR"] = before
