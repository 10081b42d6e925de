"""A tokenizer's vocabulary, read from its files without a library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from paretune.core.jsontools import Json, read_model_json

_MAX_TOKENIZER_BYTES = 256 << 20
SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")
_SETTINGS = ("special_tokens_map.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Vocabulary:
    """What a tokenizer can produce.

    Attributes:
        ids: Token to id, of what could be read: all of ``tokenizer.json``, else the added ones.
        special: ``eos_token`` and its like to the token's text; None: said to have none.
        added: Ids of the tokens that were added to the trained vocabulary.
        complete: False where the trained vocabulary is in a form that is not read here
            (SentencePiece): then only added tokens are known.
    """

    ids: Mapping[str, int] = field(default_factory=dict)
    special: Mapping[str, str | None] = field(default_factory=dict)
    added: frozenset[int] = frozenset()
    complete: bool = False

    @property
    def size(self) -> int:
        """One more than the highest id that is known; 0: nothing is known."""
        return max(self.ids.values(), default=-1) + 1

    def id_of(self, name: str) -> int | None:
        """Return the id of a special token (``pad_token``); None: there is none, or it is unknown.

        A special token that no vocabulary has is added when the tokenizer is loaded: after the
        others, in the order of `SPECIAL`.
        """
        token = self.special.get(name)
        if token is None:
            return None
        if token in self.ids:
            return self.ids[token]
        if not self.complete:
            return None
        new = [t for n in SPECIAL if (t := self.special.get(n)) and t not in self.ids]
        return self.size + list(dict.fromkeys(new)).index(token)


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """Return a folder's vocabulary; None: there is no tokenizer in it.

    Raises:
        UsageError: One of the files is damaged.
    """
    special = _special(folder)
    ids: dict[str, int] = {}
    added: set[int] = set()
    complete = False
    file = folder / "tokenizer.json"
    if file.is_file():
        value = read_model_json(file, most_bytes=_MAX_TOKENIZER_BYTES)
        ids |= _trained(value.get("model"))
        complete = bool(ids)
        for entry in value.get("added_tokens") or []:
            if isinstance(entry, dict) and _is_id(entry.get("id")):
                ids[str(entry.get("content"))] = entry["id"]
                added.add(entry["id"])
    elif (folder / "vocab.json").is_file():
        value = read_model_json(folder / "vocab.json", most_bytes=_MAX_TOKENIZER_BYTES)
        ids |= {token: i for token, i in value.items() if _is_id(i)}
        complete = bool(ids)
    elif not any(folder.glob("*.model")) and not special and not any(folder.glob("*.tiktoken")):
        return None
    for token, number in _added_elsewhere(folder).items():
        ids[token] = number
        added.add(number)
    return Vocabulary(ids, special, frozenset(added), complete)


def _trained(model: Json) -> dict[str, int]:
    """Return the vocabulary of a ``tokenizer.json``: by token (BPE), or a list (Unigram)."""
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        return {token: i for token, i in vocabulary.items() if _is_id(i)}
    if isinstance(vocabulary, list):
        return {str(entry[0]): i for i, entry in enumerate(vocabulary) if isinstance(entry, list)}
    return {}


def _added_elsewhere(folder: Path) -> dict[str, int]:
    """Return what tokenizers before ``tokenizer.json`` keep apart from their vocabulary."""
    found: dict[str, int] = {}
    file = folder / "added_tokens.json"
    if file.is_file():
        found |= {token: i for token, i in read_model_json(file).items() if _is_id(i)}
    file = folder / "tokenizer_config.json"
    if file.is_file():
        decoder = read_model_json(file).get("added_tokens_decoder")
        for number, entry in (decoder if isinstance(decoder, dict) else {}).items():
            if isinstance(entry, dict) and str(number).isdigit() and "content" in entry:
                found[str(entry["content"])] = int(number)
    return found


def _special(folder: Path) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in _SETTINGS:  # the later one wins, as in transformers
        file = folder / name
        if not file.is_file():
            continue
        settings = read_model_json(file)
        for token in SPECIAL:
            if token in settings:
                value = settings[token]
                text = value.get("content") if isinstance(value, dict) else value
                found[token] = text if isinstance(text, str) else None
    return found


def _is_id(value: Json) -> bool:
    return type(value) is int and value >= 0
