"""Whether what a pass is said to cost before it runs is what it then costs: memory and disk.

    python benchmarks/foresight.py [--models smollm2 stories260k ...] [--only genai]

Each pass is built as a search would build it, in a job of its own that finds the passes before it
in the store, while a thread adds up every 50 ms what the job's processes hold (proportional set
size and swap, as limits on memory count it). Beside that stands what `Pass.estimate` said.

The models: SmolLM2-135M; stories260k, where only the fixed part of a pass counts; and random
Llamas with SmolLM2's tokenizer. The constants in the passes were fitted to all but the last;
``fresh`` was left out of that.

Adapters are trained on the longest phrases of the set: a training's peak is its longest batch.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from common import ROOT, public_data, save, table

from paretune.core.candidate import Candidate, Step
from paretune.core.device import TargetInfo
from paretune.core.job import Build, Job, JobStatus
from paretune.core.packages import RUNTIMES
from paretune.data.catalog import DataCatalog, DataSpec
from paretune.models.handle import inspect, open_model
from paretune.registry import find_pass
from paretune.search.prechecks import Prechecks
from paretune.store.artifacts import Store
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.process_tree import memory_of

_LOOK_EVERY_S = 0.05
_LONGEST_ROWS = 96
_FIGURES = {"memory": 1e6, "disk": 1e6, "seconds": 1.0}
HELD_OUT = "fresh"


def _lora(**params: Any) -> Step:
    return Step("lora", {"train": "tone", "r": 16, "max_steps": 6, **params})


def _genai(**params: Any) -> Step:
    return Step("genai", params)


def _nbits(**params: Any) -> tuple[Step, ...]:
    return (_genai(precision="fp32"), Step("matmul_nbits", params))


CASES: tuple[tuple[Step, ...], ...] = (
    (_lora(),),
    (_lora(batch_size=4, loss_on="all"),),
    (_lora(r=64, batching="padding_free"),),
    (_lora(gradient_checkpointing=True),),
    (Step("qlora", {**_lora().params, "batch_size": 4}),),
    (_lora(), Step("merge")),
    (_lora(), Step("genai_adapter", {"precision": "int4"})),
    (_genai(precision="fp32"),),
    (_genai(precision="int8"),),
    (_genai(precision="int4"),),
    (_genai(precision="int4", algorithm="rtn"),),
    (_genai(precision="int4", algorithm="k_quant"),),
    _nbits(),
    _nbits(bits=8),
    _nbits(keep_8bit=["*/down_proj/MatMul", "/lm_head/MatMul"]),
    _nbits(algorithm="rtn"),
    _nbits(algorithm="k_quant"),
    _nbits(algorithm="hqq"),
)
"""Recipes; the last pass of each is the one that is looked at."""

# fmt: off
RANDOM: Mapping[str, Mapping[str, Any]] = {
    "untied": {
        "dtype": "float32", "vocab_size": 49152, "hidden_size": 384, "intermediate_size": 1024,
        "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 2,
        "tie_word_embeddings": False,
    },
    # The shape of SmolLM2-360M, saved in half precision as most checkpoints are.
    "half": {
        "dtype": "bfloat16", "vocab_size": 49152, "hidden_size": 960, "intermediate_size": 2560,
        "num_hidden_layers": 32, "num_attention_heads": 15, "num_key_value_heads": 5,
        "tie_word_embeddings": True,
    },
    "wide": {
        "dtype": "bfloat16", "vocab_size": 100352, "hidden_size": 512, "intermediate_size": 2048,
        "num_hidden_layers": 10, "num_attention_heads": 8, "num_key_value_heads": 8,
        "tie_word_embeddings": False,
    },
    HELD_OUT: {
        "dtype": "bfloat16", "vocab_size": 64000, "hidden_size": 640, "intermediate_size": 1792,
        "num_hidden_layers": 14, "num_attention_heads": 10, "num_key_value_heads": 2,
        "tie_word_embeddings": False,
    },
}
# fmt: on
MODELS = ("stories260k", "smollm2", *RANDOM)


class Sampler(threading.Thread):
    """Looks at this process's grandchildren: its child is the fork server, whose are the jobs.

    Attributes:
        peak: The most that they held, in bytes of memory and swap.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until `stop`."""
        while not self._ended.wait(_LOOK_EVERY_S):
            self.peak = max(self.peak, _held_by_jobs())

    def stop(self) -> int:
        """Return the peak."""
        self._ended.set()
        self.join()
        return self.peak


def _held_by_jobs() -> int:
    held = 0
    for server in psutil.Process().children():
        try:
            held += sum(memory_of(job) for job in server.children(recursive=True))
        except psutil.NoSuchProcess:
            continue
    return held


@dataclass(frozen=True)
class Row:
    """One pass on one model: ``memory`` and ``disk`` in bytes, ``seconds``; None is unknown."""

    model: str
    name: str
    params: Mapping[str, Any]
    foreseen: Mapping[str, float | None]
    seen: Mapping[str, float]

    def ratio(self, figure: str) -> float | None:
        """Return foreseen / seen."""
        guess = self.foreseen[figure]
        return None if guess is None else guess / self.seen[figure]

    def cells(self) -> list[Any]:
        """Return a line of the table."""
        shown = [f"{k} {v}" for k, v in self.params.items() if k not in ("train", "max_steps")]
        cells: list[Any] = [f"{self.name} {', '.join(shown)}".strip(), self.model]
        for figure, scale in _FIGURES.items():
            guess, ratio = self.foreseen[figure], self.ratio(figure)
            cells += [
                None if guess is None else _short(guess / scale),
                _short(self.seen[figure] / scale),
                None if ratio is None else f"{ratio:.2f}",
            ]
        return cells


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


class Lab:
    """Builds recipes in jobs of their own and watches them.

    Args:
        folder: For the store, the data and the models that are made.
    """

    def __init__(self, folder: Path) -> None:
        self._store = Store(folder / "store")
        self._target = LocalTarget(self._store.root)
        self._target.preload(RUNTIMES)
        self._data = DataCatalog({"tone": _longest_phrases(folder)}, folder)
        self._log = folder / "log.txt"

    def close(self) -> None:
        """End the target."""
        self._target.close()

    def look(self, name: str, model: Path, recipe: tuple[Step, ...]) -> Row | None:
        """Build one recipe; returns its last pass's figures, or None if it cannot work."""
        # A device of no known size: nothing is ruled out for its cost.
        foresight = Prechecks(inspect(model), TargetInfo("local"), find_pass).look(
            Candidate(recipe)
        )
        if foresight.reason is not None:
            print(f"{name}: {foresight.reason}", flush=True)
            return None
        if len(recipe) > 1:
            self._build(model, recipe[:-1])
        sampler = Sampler()
        sampler.start()
        try:
            value, told = self._build(model, recipe)
        finally:
            peak = sampler.stop()
        cost = value.steps[-1]
        if cost.cached:
            raise SystemExit(f"{recipe[-1]} on {name} was built before: nothing to measure")
        guess = foresight.estimates[-1]
        # A job that is over between two looks has told what it held at its end.
        return Row(
            name,
            recipe[-1].name,
            recipe[-1].params,
            {"memory": guess.peak_memory, "disk": guess.bytes_out, "seconds": guess.seconds},
            {"memory": max(peak, told), "disk": value.bytes, "seconds": cost.s},
        )

    def _build(self, model: Path, recipe: tuple[Step, ...]) -> tuple[Any, int]:
        task = Build(
            model=open_model(model),
            recipe=recipe,
            provider="cpu",
            store=self._store.root,
            data=self._data.to_json(),
        )
        result = self._target.submit(Job(task, log=self._log)).result()
        if result.status is not JobStatus.OK:
            raise SystemExit(f"{recipe[-1]} on {model}: {result.status}: {result.reason}")
        return result.value, result.peak_memory


def _longest_phrases(folder: Path) -> DataSpec:
    source = public_data("phrase-tone") / "dataset-classification.json"
    lines = source.read_text(encoding="utf-8").splitlines()
    lines.sort(key=lambda line: len(json.loads(line)["phrase"]), reverse=True)
    file = folder / "tone.jsonl"
    file.write_text("\n".join(lines[:_LONGEST_ROWS]) + "\n", encoding="utf-8")
    prompt = "### Text: {phrase}\n### The tone is:\n"
    return DataSpec.model_validate({"file": file.name, "prompt": prompt, "answer": "{tone}"})


def make(name: str, folder: Path) -> Path:
    """Return a model's folder; a random one is made."""
    if name == "stories260k":
        return public_data(name)
    smollm2 = ROOT / ".models" / "smollm2"
    if not (smollm2 / "config.json").is_file():
        raise SystemExit("SmolLM2 is not prepared: run `make demo`")
    return smollm2 if name == "smollm2" else _random_llama(folder / name, smollm2, **RANDOM[name])


def _random_llama(folder: Path, tokenizer: Path, dtype: str, **shape: Any) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    config = LlamaConfig(head_dim=64, max_position_embeddings=8192, **special, **shape)
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
    for file in tokenizer.glob("*token*"):
        shutil.copyfile(file, folder / file.name)
    return folder


def median_errors(rows: Iterable[Row]) -> dict[str, float | None]:
    """Return the median of |foreseen / seen - 1| of each figure."""
    rows = list(rows)
    found: dict[str, float | None] = {}
    for figure in _FIGURES:
        errors = [abs(ratio - 1) for row in rows if (ratio := row.ratio(figure)) is not None]
        found[figure] = round(statistics.median(errors), 4) if errors else None
    return found


def main() -> None:
    """Build everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--only", default="", help="passes whose names begin so")
    options = parser.parse_args()
    rows: list[Row] = []
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        lab = Lab(folder)
        try:
            for name in options.models:
                model = make(name, folder)
                for recipe in CASES:
                    if not recipe[-1].name.startswith(options.only):
                        continue
                    row = lab.look(name, model, recipe)
                    if row is not None:
                        rows.append(row)
                        print(*row.cells(), sep=" | ", flush=True)
        finally:
            lab.close()
    head = ["pass", "model"]
    for figure in ("memory, MB", "disk, MB", "seconds"):
        head += [f"{figure}: foreseen", "seen", "ratio"]
    print(table(head, [row.cells() for row in rows]))
    groups = {
        "all": rows,
        "fitted": [row for row in rows if row.model != HELD_OUT],
        "held out": [row for row in rows if row.model == HELD_OUT],
    }
    errors = {name: median_errors(group) for name, group in groups.items() if group}
    print(
        table(
            ("median |foreseen / seen - 1|", *_FIGURES),
            [(name, *found.values()) for name, found in errors.items()],
        )
    )
    print(f"{time.perf_counter() - start:.0f} s")
    print(save("foresight", {"rows": [vars(row) for row in rows], "median_errors": errors}))


if __name__ == "__main__":
    main()
