"""Pages of memory in a training: python benchmarks/training_pages.py [--rounds 2] [--steps 6].

LoRA of SmolLM2 on phrase-tone in fp32, each training in a process of its own, interleaved: on texts
joined to rows of 1,024 tokens, and on batches of single texts. The C library's settings are its
own, those that `passes/lora/memory_pages.py` decides on, or pages that are always kept. A last pair
has a C library that gives every block from 64 KiB on back at once, as on a machine where pages are
dear. Shown are the seconds of a step from the fifth on, the share of the processor time that the
system takes in them, the pages that a step gets, and the peak of the memory. Run it on a quiet
machine.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import ROOT, public_data, save, table

_TEXTS: dict[str, dict[str, Any]] = {
    "rows of 1,024 tokens": {
        "data": {
            "text": "### Text: {phrase}\n### The tone is:\n{tone}",
            "corpus": {"strategy": "join", "max_length": 1024},
        },
        "params": {"batch_size": 1, "gradient_checkpointing": "selective"},
    },
    "single texts, 16 a batch": {
        "data": {"prompt": "{phrase}\nThe feeling is", "answer": " {tone}"},
        "params": {"batch_size": 16},
    },
}
_OWN = {"MALLOC_PERTURB_": "0"}  # changes nothing, and is a setting that stands
_WAYS: dict[str, tuple[dict[str, str], bool]] = {
    "glibc's own": (_OWN, False),
    "decided by the second step": ({}, False),
    "always kept": ({"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}, False),
    "given back at once": (_OWN, True),
    "given back at once, decided by the second step": ({}, True),
}
"""Variables of the environment, and whether blocks from 64 KiB on are given back at once."""
_SETTLED = 4
"""Steps after which a decision, and what it costs, is over."""
_FIGURES = ("s per step", "of the system", "pages per step", "peak MB")


def main() -> None:
    """Train in every way; print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.steps < _SETTLED + 2:
        parser.error(f"--steps: at least {_SETTLED + 2}; the first {_SETTLED} are not timed")
    if given.child:
        print(json.dumps(trained(_TEXTS[given.child[0]], given.steps, dear=given.child[1] == "1")))
        return
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for _ in range(given.rounds):
        for texts in _TEXTS:
            for way, (variables, dear) in _WAYS.items():
                found.setdefault((texts, way), []).append(
                    in_a_process(texts, given.steps, variables, dear=dear)
                )
                print(texts, "|", way, "|", found[texts, way][-1], flush=True)
    rows = [
        [
            *key,
            *(statistics.median(each[name] for each in runs) for name in _FIGURES),
            f"{sum(each['kept'] for each in runs)} of {len(runs)}",
        ]
        for key, runs in found.items()
    ]
    print(table(("texts", "memory", *_FIGURES, "kept"), rows))
    print(save("training_pages", {"runs": [[*key, runs] for key, runs in found.items()]}))


def in_a_process(
    texts: str, steps: int, variables: dict[str, str], *, dear: bool
) -> dict[str, Any]:
    """Train in a new process; return what it saw."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, __file__, "--steps", str(steps), "--child", texts, str(int(dear))]
    ran = subprocess.run(command, env={**clean, **variables}, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{texts}: the training failed:\n{ran.stderr[-2000:]}")
    seen = json.loads(ran.stdout.splitlines()[-1])
    return {**seen, "kept": "memory is kept between" in ran.stdout}


def trained(texts: dict[str, Any], steps: int, *, dear: bool) -> dict[str, float]:
    """Train in this process; return the figures of its steps from the fifth on."""
    from paretune.data.catalog import DataCatalog, DataSpec
    from paretune.data.context import Context
    from paretune.models.handle import open_model
    from paretune.passes.lora.lora import Lora, LoraParams
    from paretune.passes.lora.trainer import AdapterTrainer

    if dear:
        ctypes.CDLL(None).mallopt(-3, 65_536)
    file = public_data("phrase-tone") / "dataset-classification.json"
    spec = DataSpec.model_validate({"file": str(file), **texts["data"]})
    params = LoraParams(
        train="tone",
        max_steps=steps,
        gradient_accumulation_steps=1,
        target_modules="all-linear",
        **texts["params"],
    )
    begun: list[tuple[float, Any]] = []
    step = AdapterTrainer.training_step

    def noted(trainer: Any, *args: Any, **more: Any) -> Any:
        begun.append((time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)))
        return step(trainer, *args, **more)

    AdapterTrainer.training_step = noted
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        out.mkdir()
        data = DataCatalog({"tone": spec}, Path.cwd())
        model = open_model(ROOT / ".models" / "smollm2")
        Lora().run(model, params, Context(out, Path(folder), data))
    (first, before), (last, after) = begun[_SETTLED], begun[-1]
    count = len(begun) - 1 - _SETTLED
    system = after.ru_stime - before.ru_stime
    return {
        "s per step": (last - first) / count,
        "of the system": system / (after.ru_utime - before.ru_utime + system),
        "pages per step": (after.ru_minflt - before.ru_minflt) / count,
        "peak MB": after.ru_maxrss * 1024 / 1e6,
    }


if __name__ == "__main__":
    main()
