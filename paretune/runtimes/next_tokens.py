"""Sets the next-token distributions of two models against each other, on the same text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from paretune.core.errors import InvalidArtifactError, UsageError
from paretune.core.fidelity import Compared
from paretune.core.model import Model
from paretune.models.comparison_text import TEXT
from paretune.models.kinds.base import kind_named
from paretune.runtimes.base import Logits, Session, hf_tokenizer, log_softmax

LENGTHS = (16, 144)
"""Tokens of the sequences; a context that is shorter cuts them."""
_ROWS = 32
"""Tokens whose distributions are worked on at once, in double precision."""


def text_ids(model: Model, *, trust_remote_code: bool) -> list[int] | None:
    """Return the ids that a model's own tokenizer gives the text; None if it has no tokenizer."""
    try:
        decoder = kind_named(model.kind).decoder(model)
        if decoder is None:
            return None
        tokenizer = hf_tokenizer(decoder.tokenizer, trust_remote_code)
        ids: list[int] = tokenizer(TEXT)["input_ids"]
    except (
        *(OSError, ValueError, TypeError, KeyError, AttributeError, ImportError),
        UsageError,
    ):
        return None
    return ids


def sequences(
    ids: Sequence[int] | None, vocabulary: int, context: int, lengths: Sequence[int] = LENGTHS
) -> list[list[int]]:
    """Return the token sequences that are compared.

    Args:
        ids: Of the text; None, or beyond the vocabulary: drawn ones are taken, the same each time.
        vocabulary: Number of tokens that the model knows.
        context: Tokens that it can hold; 0 if unknown.
        lengths: Wanted.
    """
    import random

    if ids is None or len(ids) < 2 or max(ids) >= vocabulary:
        draw = random.Random(0)
        ids = [draw.randrange(vocabulary) for _ in range(max(lengths))]
    most = len(ids) if context < 2 else min(len(ids), context - 1)
    return [list(ids[:length]) for length in sorted({min(length, most) for length in lengths})]


def logits_of(session: Session, texts: Sequence[Sequence[int]]) -> list[Logits]:
    """Return the logits after each token of each sequence.

    Raises:
        InvalidArtifactError: It does not run, or gives the last token's logits only.
    """
    found = []
    for ids in texts:
        try:
            logits = session.sequence_logits(ids)
        except (RuntimeError, ValueError, IndexError) as error:
            raise InvalidArtifactError(f"loads, but does not run: {error}") from error
        if len(logits) != len(ids):
            raise InvalidArtifactError(
                f"gives logits of {len(logits)} tokens for a prompt of {len(ids)}"
            )
        found.append(logits.copy())
    return found


def divergence(source: Sequence[Logits], build: Sequence[Logits]) -> Compared:
    """Return how far a build's predictions are from its source's.

    Args:
        source: Of each sequence, logits after each token.
        build: Likewise. If one knows more tokens (a padded vocabulary), those are left out.

    Returns:
        The figures; a source whose logits are not finite has an information of NaN.
    """
    import numpy as np

    width = min(source[0].shape[-1], build[0].shape[-1])
    kl = top = entropy = 0.0
    mean = np.zeros(width)
    count = 0
    for a, b in _pairs(source, build, width):
        p, q = log_softmax(a), log_softmax(b)
        weight = np.exp(p)
        kl += float((weight * (p - q)).sum())
        entropy -= float((weight * p).sum())
        mean += weight.sum(axis=0)
        top += float((p.argmax(-1) == q.argmax(-1)).sum())
        count += len(p)
    mean /= count
    information = float(-(mean * np.log(np.maximum(mean, 1e-300))).sum()) - entropy / count
    return Compared(
        kl=max(0.0, kl / count) if np.isfinite(kl) else float(kl),
        top1=top / count,
        information=float(np.maximum(0.0, information)),  # a NaN stays one
        tokens=count,
        lengths=tuple(len(each) for each in source),
    )


def _pairs(
    source: Sequence[Logits], build: Sequence[Logits], width: int
) -> Iterator[tuple[Any, Any]]:
    for a, b in zip(source, build, strict=True):
        for start in range(0, min(len(a), len(b)), _ROWS):
            yield a[start : start + _ROWS, :width], b[start : start + _ROWS, :width]
