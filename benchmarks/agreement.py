"""Our time a token beside ONNX Runtime GenAI's own: python benchmarks/agreement.py.

Its benchmark script times each ``generate_next_token`` of a greedy generation. Here both take turns
in new processes, on the same package, prompt length, tokens and threads; of each pair of processes
the ratio of median times per token counts.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import save, table
from verdicts import build

from paretune.comparing.runner import ComparedModels
from paretune.comparing.subjects import open_entrants
from paretune.comparing.workloads import Workload
from paretune.core.packages import RUNTIMES
from paretune.evaluators.generation.generation import trace
from paretune.stats.sequential import MedianSequence
from paretune.targets.launchers.local import LocalTarget

_PROMPT, _NEW, _THREADS = 64, 32, 2
_THEIRS = """
import json, sys, time
import onnxruntime_genai as og
folder, threads, requests, new, prompt = json.loads(sys.argv[1])
config = og.Config(folder)
config.overlay(json.dumps({"model": {"decoder": {"session_options": {
    "intra_op_num_threads": threads, "inter_op_num_threads": 1}}}}))
model = og.Model(config)
taken = []
for request in range(requests + 1):
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(prompt) + new, min_length=len(prompt) + new,
                              do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(prompt)
    generator.generate_next_token()
    for _ in range(new - 1):
        start = time.perf_counter()
        generator.generate_next_token()
        if request:  # the first one warms up
            taken.append((time.perf_counter() - start) * 1e3)
print(json.dumps(taken))
"""


def theirs(folder: str, prompt: list[int]) -> float:
    """Return the median milliseconds a token, timed as GenAI's benchmark does."""
    given = json.dumps([folder, _THREADS, 3, _NEW, prompt])
    ran = subprocess.run(
        [sys.executable, "-c", _THEIRS, given], capture_output=True, text=True, check=True
    )
    return statistics.median(json.loads(ran.stdout.splitlines()[-1]))


def main() -> None:
    """Take turns; print the ratio; write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, help="where packages are, or are built")
    parser.add_argument("--rounds", type=int, default=100)
    given = parser.parse_args()
    order, rows = random.Random(0), list[tuple[float, float]]()
    with tempfile.TemporaryDirectory() as temporary, LocalTarget() as target:
        target.preload(RUNTIMES)
        folder = build(given.packages or Path(temporary))["int4"]
        prompt = trace(_PROMPT, 49152)
        subjects = open_entrants([folder, folder], target.info(), threads=_THREADS)
        with ComparedModels(subjects[:1], target, Workload(_PROMPT, _NEW, block_s=1.0)) as arena:

            def ours() -> float:
                measured = {m.metric: m.value for m in arena.block(subjects[0])}
                value = measured["decode_ms_p50"]
                assert value is not None
                return value

            for _ in range(given.rounds):
                if order.random() < 0.5:
                    mine, other = ours(), theirs(folder, prompt)
                else:
                    other = theirs(folder, prompt)
                    mine = ours()
                rows.append((mine, other))
    sequence = MedianSequence(0.05)
    for mine, other in rows:
        sequence.add(math.log(mine / other))
    ratio = math.exp(sequence.median or 0.0)
    low, high = math.exp(sequence.low), math.exp(sequence.high)
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    print(
        table(
            ("", "ms a token", "tokens/s"),
            [
                ["paretune", medians[0], 1e3 / medians[0]],
                ["onnxruntime-genai", medians[1], 1e3 / medians[1]],
            ],
        )
    )
    print(f"\nratio of times {ratio:.4f} (95 %: {low:.4f} to {high:.4f}) over {len(rows)} rounds")
    print(save("agreement", {"rounds": rows, "ratio": ratio, "low": low, "high": high}))


if __name__ == "__main__":
    main()
