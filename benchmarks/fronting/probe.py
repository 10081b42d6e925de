"""One process with one build: scores texts, or times tokens, and prints the figures as JSON.

    probe.py '{"runtime": "genai", "folder": "…", "threads": 2, "run": {}, …}'

Runs in the interpreter that has the runtime, and imports nothing of paretune. With ``reference``,
a folder of matrices, it compares what the build says of ``sequences`` with them; without, it times
``new`` tokens after ``prompt``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from fronting.divergence import Divergence, log_softmax
from fronting.engines import Engine, engine

WARM_UP = 16
"""Tokens that are decoded and not timed."""


def compared(engine: Engine, sequences: list[list[int]], reference: Path) -> dict[str, Any]:
    """Return how far a build's next tokens are from the reference's."""
    divergence = Divergence()
    for number, ids in enumerate(sequences):
        wanted = np.load(reference / f"{number}.npy", mmap_mode="r")
        divergence.add(wanted, log_softmax(engine.scores(ids)), ids)
    return divergence.figures()


def token_seconds(engine: Engine, prompt: list[int], new: int) -> float:
    """Return the median time of a token, after a prompt and a warm-up."""
    engine.begin(prompt)
    found = []
    for _ in range(new):
        start = time.perf_counter()
        engine.step()
        found.append(time.perf_counter() - start)
    return statistics.median(found[WARM_UP:])


def main(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Do what is asked for."""
    prompt, new = asked.get("prompt", []), asked.get("new", 0)
    loaded = engine(
        asked["runtime"], Path(asked["folder"]), asked["threads"], asked["run"], len(prompt) + new
    )
    if "reference" in asked:
        figures = compared(loaded, asked["sequences"], Path(asked["reference"]))
    else:
        figures = {"token_s": token_seconds(loaded, prompt, new)}
    return {**figures, "settings": loaded.settings}


if __name__ == "__main__":
    print("\n" + json.dumps(main(json.loads(sys.argv[1]))))
