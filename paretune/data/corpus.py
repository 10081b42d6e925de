"""Plain text as training sequences: joined and cut, or line by line.

The five strategies and their parameters have the meaning that Microsoft Olive's text-generation
data component gives them (olive/data/component/text_generation.py, 0.13.0), so that a data set
described for it trains the same here. What only fills up is left out: a padded position has no
target, and no token before it sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Strategy = Literal[
    "line-by-line", "line-by-line-random", "join", "join-random", "join-sliding-window"
]


class CorpusSpec(BaseModel):
    """How texts become sequences."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: Strategy = Field(
        "join",
        description="join: all texts one after another, cut into sequences that do not overlap; "
        "what is left at the end is not used. join-sliding-window: sequences begin every `stride` "
        "tokens, and learn from their last `stride` tokens. join-random: sequences begin with a "
        "text drawn at random. line-by-line: each text is a sequence. line-by-line-random: texts "
        "drawn at random.",
    )
    max_length: int = Field(
        1024, ge=2, description="Tokens of a sequence: exactly (join), or at most (line-by-line)."
    )
    joiner: str = Field("\n\n", description="Text after each text, where they are joined.")
    add_special_tokens: bool = Field(
        True,
        description="Put the tokenizer's begin and end tokens around each text, a space between.",
    )
    max_samples: int | None = Field(None, ge=1, description="Most sequences; null: all.")
    stride: int | None = Field(
        None, ge=1, description="Tokens between sequences (join-sliding-window only)."
    )
    drop_short_sequences: bool = Field(
        False, description="Leave out texts shorter than max_length (line-by-line)."
    )
    pad_to_max_length: bool = Field(
        False, description="Taken and not needed: what would be padding is not computed at all."
    )
    use_attention_mask: bool = Field(
        True, description="Taken and not needed: without padding, a mask hides nothing."
    )
    random_seed: int | None = Field(None, description="Seed of the random strategies.")
    random_retries: int = Field(
        10, ge=1, description="Draws before a sequence that is too short is given up (random)."
    )

    @model_validator(mode="after")
    def _what_each_strategy_needs(self) -> Self:
        if self.strategy == "join-sliding-window":
            if self.stride is None:
                raise ValueError("join-sliding-window needs `stride`")
            if self.stride > self.max_length:
                raise ValueError(f"stride {self.stride} is longer than max_length")
        if "random" in self.strategy and (self.max_samples is None or self.random_seed is None):
            raise ValueError(f"{self.strategy} needs `max_samples` and `random_seed`")
        if self.pad_to_max_length and self.drop_short_sequences:
            raise ValueError("give pad_to_max_length or drop_short_sequences, not both")
        return self


@dataclass(frozen=True)
class TokenSequence:
    """One sequence to train on.

    Attributes:
        ids: Its tokens.
        context: How many at its beginning are only read, not learned from.
    """

    ids: tuple[int, ...]
    context: int = 0


def sequences(texts: Iterable[str], tokenizer: Any, spec: CorpusSpec) -> list[TokenSequence]:
    """Turn texts into sequences of tokens.

    Args:
        texts: One a row; empty ones are passed over.
        tokenizer: A Hugging Face tokenizer.
        spec: How.
    """
    framed = [_framed(text, tokenizer, spec) for text in texts if text]
    tokens = _Tokens(framed, tokenizer)
    found = {
        "join": lambda: _cut(_joined(tokens, tokenizer, spec), spec.max_length, spec.max_length),
        "join-sliding-window": lambda: _cut(
            _joined(tokens, tokenizer, spec), spec.max_length, spec.stride or spec.max_length
        ),
        "join-random": lambda: _drawn_runs(tokens, tokenizer, spec),
        "line-by-line": lambda: _lines(tokens, spec),
        "line-by-line-random": lambda: _drawn_lines(tokens, spec),
    }[spec.strategy]()
    return list(islice(found, spec.max_samples))


class _Tokens:
    """The texts' tokens, made when they are asked for."""

    def __init__(self, texts: Sequence[str], tokenizer: Any) -> None:
        self._texts = texts
        self._tokenizer = tokenizer
        self._known: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> list[int]:
        if index not in self._known:
            self._known[index] = _encoded(self._tokenizer, self._texts[index])
        return self._known[index]


def _encoded(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]
    return ids


def _framed(text: str, tokenizer: Any, spec: CorpusSpec) -> str:
    if not spec.add_special_tokens:
        return text
    parts = (tokenizer.bos_token, text, tokenizer.eos_token)
    return " ".join(part for part in parts if part)


def _joined(tokens: _Tokens, tokenizer: Any, spec: CorpusSpec) -> list[int]:
    joiner = _encoded(tokenizer, spec.joiner) if spec.joiner else []
    return [token for i in range(len(tokens)) for token in (*tokens[i], *joiner)]


def _cut(joined: list[int], length: int, step: int) -> Iterator[TokenSequence]:
    """Yield sequences that begin every `step` tokens; each learns from its last `step` tokens.

    As in Olive, a sequence that would end exactly with the last token is not one any more.
    """
    for begin in range(0, len(joined) - length, step):
        yield TokenSequence(tuple(joined[begin : begin + length]), length - step)


def _lines(tokens: _Tokens, spec: CorpusSpec) -> Iterator[TokenSequence]:
    for i in range(len(tokens)):
        ids = tokens[i][: spec.max_length]
        if not spec.drop_short_sequences or len(ids) >= spec.max_length:
            yield TokenSequence(tuple(ids))


def _drawn_lines(tokens: _Tokens, spec: CorpusSpec) -> Iterator[TokenSequence]:
    """Yield lines drawn with replacement; the last draw is kept, even if it is too short."""
    rng = Random(spec.random_seed)
    for _ in range(spec.max_samples or 0):
        ids: list[int] = []
        for _ in range(spec.random_retries):
            ids = tokens[rng.randint(0, len(tokens) - 1)][: spec.max_length]
            if not spec.drop_short_sequences or len(ids) >= spec.max_length:
                break
        yield TokenSequence(tuple(ids))


def _drawn_runs(tokens: _Tokens, tokenizer: Any, spec: CorpusSpec) -> Iterator[TokenSequence]:
    """Yield full sequences that begin with a drawn text and go on with those after it."""
    joiner = _encoded(tokenizer, spec.joiner) if spec.joiner else []
    rng = Random(spec.random_seed)
    for _ in range(spec.max_samples or 0):
        for _ in range(spec.random_retries):
            ids: list[int] = []
            for i in range(rng.randint(0, len(tokens) - 1), len(tokens)):
                ids += [*tokens[i], *joiner]
                if len(ids) >= spec.max_length:
                    break
            if len(ids) >= spec.max_length:
                yield TokenSequence(tuple(ids[: spec.max_length]))
                break
