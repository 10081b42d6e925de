"""Checks the tokens of labels: scoring must be able to choose each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from paretune.core.errors import DataError

_SHOWN = 3


def check_labels(
    ref: str, labels: Sequence[str], ids: Sequence[Sequence[int]], ended: bool
) -> Iterator[str]:
    """Yield notes on the tokens of labels.

    Args:
        ref: The data set, for messages.
        labels: What is chosen from.
        ids: Token ids of each label, the end token included.
        ended: Whether the model has an end token.

    Raises:
        DataError: A label has none, two have the same, or one can never be chosen.
    """
    known: dict[tuple[int, ...], str] = {}
    for label, tokens in zip(labels, ids, strict=True):
        if not tokens or (ended and len(tokens) < 2):
            raise DataError(
                f"{ref}: the label {label!r} has no token in the model's vocabulary",
                hint="Write the label with other characters.",
            )
        other = known.setdefault(tuple(tokens), label)
        if other != label:
            raise DataError(
                f"{ref}: the labels {other!r} and {label!r} are the same tokens: no model can "
                "distinguish them",
                hint="Change one of them.",
            )
    if ended:
        return
    pairs = [
        (short, long)
        for short, first in zip(labels, ids, strict=True)
        for long, second in zip(labels, ids, strict=True)
        if len(first) < len(second) and list(second[: len(first)]) == list(first)
    ]
    if pairs:
        short, long = pairs[0]
        more = f" ({len(pairs)} such pairs)" if len(pairs) > 1 else ""
        raise DataError(
            f"{ref}: the tokens of the label {short!r} are the beginning of those of {long!r}, "
            f"and the model has no end token: {long!r} can never be chosen{more}",
            hint="Set eos_token in tokenizer_config.json, or use labels none of which is the "
            "beginning of another.",
        )
    begins = [f"{a!r} of {b!r}" for a in labels for b in labels if a != b and b.startswith(a)]
    if begins:
        yield (
            f"{ref}: the model has no end token, and a label is the beginning of another "
            f"({', '.join(begins[:_SHOWN])}): the longer one tends to get a lower score"
        )
