"""Token ids against the embedding: what config.json, the generation settings and the tokenizer say.

``-1`` and null mean that there is no such token: both are let pass, and such a model trains, for
what is padded is masked anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from paretune.core.jsontools import Json, read_model_json
from paretune.models.checks.finding import Finding
from paretune.models.checks.vocabulary import Vocabulary

_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id")
_FILES = ("config.json", "generation_config.json")
_MAX_SHOWN = 5
_ADD_ROWS = (
    "Resize the model's embedding to its tokenizer (transformers: resize_token_embeddings) and "
    "train the new rows, or take the added tokens out of the tokenizer."
)


def check_token_ids(
    folder: Path, rows: int, place: str, vocabulary: Vocabulary | None
) -> Iterator[Finding]:
    """Yield what is wrong with a model's token ids.

    Args:
        folder: A Hugging Face folder.
        rows: Rows of its embedding.
        place: Where that number stands, for the message.
        vocabulary: Its tokenizer's; None: it has none.
    """
    ends: dict[str, list[int]] = {}
    for name in _FILES:
        file = folder / name
        if not file.is_file():
            continue
        for key, value in _token_ids(read_model_json(file)):
            ids, problem = _read(value)
            if problem is not None:
                yield Finding(
                    f"{file}: {key}: expected {problem}, found {repr(value)[:60]}",
                    "Give the token's id, or null where there is no such token.",
                )
                continue
            if value == -1 and key.endswith("pad_token_id"):
                yield Finding(
                    f"{file}: {key} is -1, which is taken for none: examples are padded with "
                    "token 0, and what is padded is masked",
                    "",
                    fatal=False,
                )
            if key == "eos_token_id":
                ends[name] = [i for i in ids if i < rows]
            yield from _beyond(file, name, key, ids, rows, place)
    if vocabulary is not None:
        yield from _check_tokenizer(folder, vocabulary, rows, place)
        yield from _check_end(folder, vocabulary, ends, rows)


def _token_ids(config: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """Yield the token ids of a configuration, those of its text model too."""
    inner = config.get("text_config")
    for prefix, some in (("", config), ("text_config.", inner if isinstance(inner, dict) else {})):
        for key in _KEYS:
            if key in some:
                yield prefix + key, some[key]


def _read(value: Json) -> tuple[list[int], str | None]:
    """Return the ids that a value means (none for null and -1), or what was expected instead."""
    several = value if isinstance(value, list) else [] if value is None else [value]
    for one in several:
        if type(one) is not int:
            return [], "a token's id (a whole number)"
        if one < -1:
            return [], "a token's id, or -1 for none"
    return [one for one in several if one >= 0], None


def _beyond(
    file: Path, name: str, key: str, ids: list[int], rows: int, place: str
) -> Iterator[Finding]:
    wrong = [i for i in ids if i >= rows]
    if not wrong:
        return
    told = (
        f"{file}: {key} is {_listed(wrong)}, and the model has {rows} tokens (0 to {rows - 1}; "
        f"{place})"
    )
    if name == "config.json" and key.endswith("pad_token_id"):
        yield Finding(
            f"{told}: the model cannot be loaded so, and every candidate would have failed",
            "Set it to -1 (or null) if there is no such token, or to the end token's id; or, if "
            "the token was added to the tokenizer, resize the model's embedding to it.",
        )
    elif name == "config.json" or (len(wrong) == len(ids) and key.endswith("eos_token_id")):
        yield Finding(told, "Set it to the id of a token that the model has, or null if none.")
    else:  # beside others that there are, or not used by anything here
        yield Finding(f"{told}; it is never generated", "", fatal=False)


def _check_tokenizer(
    folder: Path, vocabulary: Vocabulary, rows: int, place: str
) -> Iterator[Finding]:
    """Compare the tokens that a tokenizer can produce with the rows of the embedding."""
    unknown = [n for n, t in vocabulary.special.items() if t and t not in vocabulary.ids]
    beyond = {token: i for token, i in vocabulary.ids.items() if i >= rows}
    if vocabulary.complete:
        beyond |= {
            str(vocabulary.special[name]): number
            for name in unknown
            if (number := vocabulary.id_of(name)) is not None and number >= rows
        }
    if not beyond:
        return
    names = {str(t): n for n, t in vocabulary.special.items() if t is not None}
    shown = sorted(beyond.items(), key=lambda item: item[1])
    some = ", ".join(
        f"{token!r} ({number}{', its ' + names[token] if token in names else ''})"
        for token, number in shown[:_MAX_SHOWN]
    )
    more = f" and {len(shown) - _MAX_SHOWN} more" if len(shown) > _MAX_SHOWN else ""
    told = (
        f"{folder}: the tokenizer has tokens that the model's embedding has no row for: {some}"
        f"{more}; the model has {rows} tokens (0 to {rows - 1}; {place})"
    )
    if all(names.get(token) == "pad_token" for token in beyond):
        note = "; what is padded is masked, so it is used only where a text holds these very signs"
        yield Finding(told + note, "", fatal=False)
        return
    yield Finding(told, _ADD_ROWS)


def _check_end(
    folder: Path, vocabulary: Vocabulary, ends: Mapping[str, list[int]], rows: int
) -> Iterator[Finding]:
    """Say where answers have no end, or generation does not stop at it."""
    known = "eos_token" in vocabulary.special
    if vocabulary.special.get("eos_token") is None and (known or vocabulary.special):
        yield Finding(
            f"{folder}: the tokenizer has no end token (eos_token): answers are trained and scored "
            "without an end, so that one that another begins with is always the likelier, and a "
            "generated answer ends at max_new_tokens only",
            "Name the end token in tokenizer_config.json if the model has one.",
            fatal=False,
        )
        return
    end = vocabulary.id_of("eos_token")
    if end is None or end >= rows:
        return
    file = "generation_config.json" if "generation_config.json" in ends else "config.json"
    stops = ends.get(file, [])
    if end not in stops:
        yield Finding(
            f"{folder / file}: eos_token_id is {_listed(stops) or 'none'}, and the tokenizer's end "
            f"token {vocabulary.special['eos_token']!r} is {end}: generation does not stop where "
            "trained answers end",
            f"Add {end} to eos_token_id.",
            fatal=False,
        )


def _listed(ids: list[int]) -> str:
    return ", ".join(map(str, ids))
