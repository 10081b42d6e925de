"""How rows become text: Olive's pre-processing becomes templates and ``corpus:``."""

from __future__ import annotations

from collections.abc import Callable

from paretune.config.olive.entries import Ledger
from paretune.config.olive.fields import (
    NULL,
    Fields,
    Node,
    Rule,
    any_text,
    apply,
    flag,
    ignores,
    missing,
    nearly,
    no_effect,
    one_of,
    only,
    refused,
    shown,
    takes,
    text,
    texts,
    whole,
)
from paretune.config.olive.model import TASKS, remote_code
from paretune.config.olive.reading import Generation
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json
from paretune.data.catalog import columns_of

_STRATEGIES = (
    "line-by-line",
    "line-by-line-random",
    "join",
    "join-random",
    "join-sliding-window",
)
_PAIRS = {"default": ("input", "output"), "self_instruct": ("prompt", "completion")}
_NO_CODE = "names a function of a user's script; paretune runs none"

_COMMON: dict[str, Rule] = {
    "type": only(
        "text_generation_huggingface_pre_process",
        why="how Olive prepares text by default",
        otherwise="prepares rows by another component; paretune makes text",
    ),
    "task": only(
        *TASKS,
        why="what paretune prepares data for",
        otherwise="paretune prepares data for text generation only",
    ),
    "model_name": nearly("the input model's own tokenizer is used"),
    "name": ignores("the name of a component, which changes nothing"),
}
_CORPUS: dict[str, Rule] = {
    **_COMMON,
    **dict.fromkeys(("max_seq_len", "source_max_len"), takes("max_length", whole)),
    "max_samples": takes("max_samples", whole),
    "pad_to_max_len": takes("pad_to_max_length", flag),
    "drop_short_sequences": takes("drop_short_sequences", flag),
    "use_attention_mask": takes("use_attention_mask", flag),
    "add_special_tokens": takes("add_special_tokens", flag),
    "stride": takes("stride", whole),
    "joiner": takes("joiner", any_text),
    "random_seed": takes("random_seed", whole),
    "random_retries": takes("random_retries", whole),
    "processing_batch_size": ignores("the pieces are the same, however many rows at once"),
    "padding_side": only(
        "right", why="where paretune pads too", otherwise="paretune pads on the right"
    ),
    "chat_template": refused("paretune reads prompts here, not lists of messages"),
    "message_col": ignores("only a chat_template reads it"),
    "text_formatting_func": refused(_NO_CODE),
}
_READ_WITH = {
    "joiner": "join",
    "pad_to_max_len": "line",
    "drop_short_sequences": "line",
    "use_attention_mask": "line",
    "stride": "sliding",
    "random_seed": "random",
    "random_retries": "random",
}
"""Olive reads these with the strategies that have that word in their name."""

_NEEDED_WITH = {"stride": "sliding", "random_seed": "random", "max_samples": "random"}
_ENDS = "an answer always ends with the end token"
_LENGTHS = nearly("a pass's own max_length cuts a prompt that is longer, at its beginning")
_PAIR: dict[str, Rule] = {
    **_COMMON,
    "source_max_len": _LENGTHS,
    "target_max_len": _LENGTHS,
    "max_samples": takes("limit", whole),
    "add_special_tokens": only(True, why=_ENDS, otherwise=_ENDS),
    "ignore_source_in_labels": only(
        True, why="paretune learns answers only, too", otherwise="paretune learns answers only"
    ),
    "pad_to_max_len": nearly("batches are padded to their longest example"),
    "use_attention_mask": ignores("padding is always masked"),
    "drop_short_sequences": only(
        False, why="Olive's default", otherwise="short examples are not dropped"
    ),
    **dict.fromkeys(("input_formatting_func", "output_formatting_func"), refused(_NO_CODE)),
}


def prepared(prepare: Fields, generation: Generation, at: Path, ledger: Ledger) -> dict[str, Json]:
    """Return the templates of a data set, and how its text is cut into pieces.

    Args:
        prepare: Olive's parameters.
        generation: Determines the defaults of missing keys.
        at: The place of the data set in paretune's configuration.
        ledger: Records the result for each key.
    """
    remote_code(prepare.take("trust_remote_code"), ledger)
    kind = prepare.take("dataset_type")
    if kind is not None and kind.value == "pair":
        ledger.translated(kind.path, (*at, "prompt"))
        return _pair(prepare, at, ledger)
    if kind is not None and kind.value == "corpus":
        ledger.translated(kind.path, (*at, "corpus"))
    elif kind is not None:
        ledger.unsupported(kind.path, f"expected corpus or pair, found {shown(kind.value)}")
    template = _row_text(prepare, generation, at, ledger)
    return {"text": template, "corpus": _corpus(prepare, generation, (*at, "corpus"), ledger)}


def _corpus(prepare: Fields, generation: Generation, at: Path, ledger: Ledger) -> dict[str, Json]:
    """Return how a text is cut, with Olive's defaults if paretune's differ."""
    nested = generation is Generation.NESTED
    strategy = _strategy(prepare, nested, at, ledger)
    aside = ignores(f"Olive ignores this key with the strategy {strategy}")
    rules = {
        name: aside if _READ_WITH.get(name, "") not in strategy else rule
        for name, rule in _CORPUS.items()
    }
    found = {"strategy": strategy, **apply(rules, prepare, ledger, at, of="preparing text")}
    defaults: list[tuple[str, str, Json]] = []
    if not nested:
        defaults.append(("max_length", "max_seq_len", 1024))
    if "line" in strategy:
        defaults.append(("pad_to_max_length", "pad_to_max_len", True))
    elif nested:
        defaults.append(("joiner", "joiner", ""))
    for name, olives, value in defaults:
        if name not in found:
            found[name] = value
            ledger.absent((*prepare.path, olives), (*at, name), f"Olive's default: {value!r}")
    if "max_length" not in found:
        missing(ledger, prepare, "source_max_len", "Olive needs the length of a piece")
    for name, word in _NEEDED_WITH.items():
        if word in strategy and name not in found:
            missing(ledger, prepare, name, f"Olive needs it with the strategy {strategy}")
    return found


def _strategy(prepare: Fields, nested: bool, at: Path, ledger: Ledger) -> str:
    node = prepare.take("strategy", "corpus_strategy")
    default = "line-by-line" if nested else "join"
    if node is None or node.value is None:
        why = f"Olive's default: {default}"
        if node is not None:
            ledger.translated(node.path, (*at, "strategy"), why)
        else:
            name = "corpus_strategy" if nested else "strategy"
            ledger.absent((*prepare.path, name), (*at, "strategy"), why)
        return default
    try:
        strategy = one_of(**{name: name for name in _STRATEGIES})(node.value)
    except ValueError as error:
        ledger.unsupported(node.path, str(error))
        return default
    ledger.translated(node.path, (*at, "strategy"))
    return str(strategy)


def _row_text(prepare: Fields, generation: Generation, at: Path, ledger: Ledger) -> str:
    """Return the template of a row's text: the one given, else its columns with spaces between."""
    template, columns = prepare.take("text_template"), prepare.take("text_cols")
    into = (*at, "text")
    if template is not None and template.value is not None:
        no_effect(ledger, "text_template takes precedence", columns)
        return _template(template, text, into, ledger)
    no_effect(ledger, NULL, template)
    if columns is not None:
        return _template(columns, _spaced, into, ledger)
    if generation is Generation.NESTED:
        missing(ledger, prepare, "text_template", "Olive needs it, or text_cols")
    else:
        ledger.absent((*prepare.path, "text_cols"), into, "Olive's default: the column text")
    return "{text}"


def _template(node: Node, read: Callable[[Json], str], into: Path, ledger: Ledger) -> str:
    try:
        template = read(node.value)
        columns_of(template)
    except ValueError as error:
        ledger.unsupported(node.path, str(error))
        return "{text}"
    ledger.translated(node.path, into)
    return template


def _pair(prepare: Fields, at: Path, ledger: Ledger) -> dict[str, Json]:
    """Return the templates of prompts and answers."""
    form = prepare.take("pair_format")
    name = "default" if form is None or form.value is None else form.value
    custom = name == "custom"
    if form is not None and (custom or (isinstance(name, str) and name in _PAIRS)):
        ledger.translated(form.path, (*at, "prompt"))
    elif form is not None:
        known = ", ".join((*_PAIRS, "custom"))
        ledger.unsupported(form.path, f"expected {known}, found {shown(name)}")
    columns = _PAIRS.get(name, _PAIRS["default"]) if isinstance(name, str) else _PAIRS["default"]
    spec: dict[str, Json] = {}
    for ours, side, column in zip(("prompt", "answer"), ("input", "output"), columns, strict=True):
        given = [prepare.take(f"{side}_template"), prepare.take(f"{side}_col")]
        there = [node for node in given if node is not None]
        spec[ours] = "{" + column + "}"
        if custom and there:
            first = there.pop(0)
            read = text if first is given[0] else _spaced
            spec[ours] = _template(first, read, (*at, ours), ledger)
        elif custom:
            missing(ledger, prepare, f"{side}_template", f"Olive needs it, or {side}_col")
        no_effect(ledger, "Olive ignores this key with this pair_format", *there)
    return spec | apply(_PAIR, prepare, ledger, at, of="preparing pairs")


def _spaced(value: Json) -> str:
    return " ".join("{" + name + "}" for name in texts(value))
