"""Divides the rows of one file so that rows of a group are on one side."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

from paretune.data.spec import Split


def same_text(text: str) -> str:
    """Return a text as it is compared: differences in white space do not make it another."""
    return " ".join(text.split())


def divide(split: Split, groups: Sequence[str]) -> dict[str, list[int]]:
    """Return the numbers of the rows of train, test and the held-out part.

    Groups are shuffled by the seed and go to the test part until it has its share of them, then to
    the held-out part: the test part is the same with or without a held-out part.

    Args:
        split: How.
        groups: Of each row, what keeps it with others.
    """
    keys = [same_text(group) for group in groups]
    order = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    random.Random(split.seed).shuffle(order)
    test = round(split.test * len(order))
    aside = test + round((split.confirm or 0.0) * len(order))
    side_of = dict.fromkeys(order, "train") | dict.fromkeys(order[test:aside], "confirm")
    side_of |= dict.fromkeys(order[:test], "test")
    sides: dict[str, list[int]] = {"train": [], "test": [], "confirm": []}
    for number, key in enumerate(keys):
        sides[side_of[key]].append(number)
    return sides
