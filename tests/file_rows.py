"""A network, rows of arrays that name files, and functions that import modules beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.onnx_networks import network_weights, write_network

ROWS = {
    "file": "rows.jsonl",
    "inputs": {"x": "cell"},
    "process": "steps.py:prepare",
    "target": "word",
    "split": {"test": 0.5, "confirm": 0.2},
}
"""The data set of `write_inputs`, as a configuration has it."""
STEPS = """
from pathlib import Path

from scaling import scaled

FACTOR = float(Path(__file__).with_name("factor.txt").read_text())


def prepare(row):
    return {"x": scaled(row["cell"], FACTOR)}


def answer(outputs):
    return "abc"[outputs["y"].argmax()]
"""
POST = """
from words.of import word


def answer(outputs):
    return word(outputs["y"].argmax())
"""


def write_inputs(folder: Path, rows: int = 40) -> None:
    """Write a network, rows that name files, and functions that import modules beside them."""
    write_network(folder / "network", width=64, classes=3)
    one, two = network_weights(64, 3).values()
    x = np.random.default_rng(0).normal(size=(rows, 64)).astype(np.float32)
    right = (np.maximum(2 * x @ one, 0) @ two).argmax(1)
    right[::5] = (right[::5] + 1) % 3
    (folder / "cells").mkdir()
    lines = []
    for number, (row, best) in enumerate(zip(x, right, strict=True)):
        np.save(folder / "cells" / f"{number}.npy", row)
        lines.append(json.dumps({"cell": f"cells/{number}.npy", "word": "abc"[best]}))
    (folder / "rows.jsonl").write_text("\n".join(lines))
    (folder / "factor.txt").write_text("2")
    (folder / "steps.py").write_text(STEPS)
    (folder / "scaling.py").write_text("def scaled(x, by):\n    return x * x.dtype.type(by)\n")
    (folder / "post.py").write_text(POST)
    (folder / "words").mkdir()
    (folder / "words" / "__init__.py").write_text("")
    (folder / "words" / "of.py").write_text("def word(place):\n    return 'abc'[place]\n")
