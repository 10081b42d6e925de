"""Reads the text from the recognizer's output; it is copied beside ``characters.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _characters() -> list[str]:
    file = Path(__file__).with_name("characters.json")
    found: list[str] = json.loads(file.read_text(encoding="utf-8"))
    return found


def text(outputs: Mapping[str, Any]) -> str:
    """Return the text: the best class of each place, repetitions and blanks (class 0) left out.

    Args:
        outputs: One array of shape (places, classes).
    """
    (scores,) = outputs.values()
    best = scores.argmax(axis=-1).tolist()
    kept = [now for before, now in zip([0, *best], best, strict=False) if now != before]
    return "".join(_characters()[number] for number in kept if number)
