"""What roundings of one model cost: divergence, perplexity, size and decode speed.

    python benchmarks/roundings.py [--model FOLDER] [--sequences 8]     builds, KL, size
    python benchmarks/roundings.py --speed [--rounds 5]                 then: decode speed
    python benchmarks/roundings.py --show                               the table of both

Builds are made by the pass `genai` (with a budget, of what the pass `sensitivity` made) and kept in
``benchmarks/out/roundings``, those of each model in a folder of its own.

Divergence (KL of the build's next token from the fp32 model's, in nats per token) and perplexity
are those of WikiText-2's test text, in sequences of 512 tokens, through ONNX Runtime GenAI; without
that data set, of the text that gptq is calibrated on, which favours gptq. Intervals of divergence
and perplexity are those of the mean over sequences; that of the ratio to the fp32 model's
perplexity is paired by sequence. Speeds are taken in fresh processes, the builds
interleaved: the median time of a token in each process, and of these the median. Run ``--speed`` on
a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import OUT, ROOT, save, table
from fronting.making import megabytes
from fronting.measuring import (
    PROMPT,
    divergence_of,
    perplexity_of,
    perplexity_ratio_of,
    probed,
    relative_speeds,
    speed_of,
)
from fronting.texts import builds_of, kept_reference

from paretune.data.context import Context
from paretune.models.handle import folder_digest, open_model
from paretune.passes.genai.genai import Genai
from paretune.passes.quantization.sensitivity import SensitivityPass

INT4, INT8 = {"precision": "int4"}, {"precision": "int8"}
GPTQ = {"algorithm": "gptq"}
VARIANTS: dict[str, dict[str, Any]] = {
    "int4": INT4,
    "int4, gptq": {**INT4, **GPTQ},
    "int4, zero points": {**INT4, "is_symmetric": False},
    "int4, zero points, gptq": {**INT4, **GPTQ, "is_symmetric": False},
    "int4, k_quant_mixed": {**INT4, "algorithm": "k_quant_mixed"},
    "int4, 8-bit head shared, gptq": {
        **INT4,
        **GPTQ,
        "matmul_mixed_precision": "last_matmul:int8",
    },
    "int4, budget 0.1": {**INT4, "budget": 0.1},
    "int4, budget 0.1, gptq": {**INT4, **GPTQ, "budget": 0.1},
    "int4, budget 0.3": {**INT4, "budget": 0.3},
    "int4, budget 0.3, gptq": {**INT4, **GPTQ, "budget": 0.3},
    "int8": INT8,
    "int8, shared": {**INT8, "shared_embeddings": True},
    "int8, shared, gptq": {**INT8, **GPTQ, "shared_embeddings": True},
}
NAME = "roundings"
Rows = dict[str, dict[str, Any]]


def main() -> None:
    """Run what the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / ".models" / "smollm2")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    workshop = Workshop(args.model)
    models = kept()
    rows = models.setdefault(workshop.digest, {})
    if args.speed:
        measure_speed(rows, workshop, args.sequences, args.rounds)
        save(NAME, {"models": models})
    elif not args.show:
        measure_rounding(models, workshop, args.sequences, args.only)
    print(shown(rows))


def kept() -> dict[str, Rows]:
    """Return the figures of earlier runs, by the digest of the model."""
    file = OUT / f"{NAME}.json"
    if not file.is_file():
        return {}
    models: dict[str, Rows] = json.loads(file.read_text(encoding="utf-8"))["models"]
    return models


class Workshop:
    """Makes the builds of one model, and keeps them.

    Attributes:
        model: Its folder.
        digest: Of that folder.
        folder: Where its builds are.
    """

    def __init__(self, model: Path) -> None:
        self.model = model
        self.digest = folder_digest(model)
        self.folder = builds_of(NAME, self.digest)

    def reference(self, count: int) -> tuple[list[list[int]], str, float]:
        """Return token ids, what text they are of, and the fp32 model's perplexity."""
        return kept_reference(self.model, self.digest, count, self.folder / "reference")

    def asked(self, name: str) -> tuple[str, str, Path, dict[str, Any]]:
        """Return what `probed` is given of a build."""
        return sys.executable, "genai", self._folder_of(name), {}

    def built(self, name: str) -> Path:
        """Return the folder of a build; it is made if it is not there."""
        params, model = VARIANTS[name], self.model
        if "budget" in params:
            algorithm = params.get("algorithm", "default")  # what it measures depends on it
            out = self._folder_of(f"sensitivity {algorithm}")
            given = {"rounded_to": {"algorithm": algorithm}}
            model = _made(model, SensitivityPass(), given, out, "config.json")
        return _made(model, Genai(), params, self._folder_of(name), "genai_config.json")

    def _folder_of(self, name: str) -> Path:
        return self.folder / "".join(c if c.isalnum() else "-" for c in name)


def measure_rounding(
    models: dict[str, Rows], workshop: Workshop, count: int, names: Sequence[str]
) -> None:
    """Build, and measure what does not depend on the machine's load; saved after each."""
    rows = models[workshop.digest]
    sequences, text, fp32 = workshop.reference(count)
    rows["fp32"] = {"text": text, "perplexity": fp32}
    print(f"fp32: perplexity {fp32:.3f} on {text}", flush=True)
    for name in names:
        start = time.process_time()
        folder = workshop.built(name)
        seconds = time.process_time() - start
        row = rows.setdefault(name, {})
        reference = str(workshop.folder / "reference")
        row |= probed(*workshop.asked(name), sequences=sequences, reference=reference)
        row |= {"text": text, "mb": megabytes(folder)}
        if seconds > 1:  # not kept from an earlier run
            row["build_cpu_s"] = round(seconds, 1)
        print(f"{name}: {json.dumps(row)}", flush=True)
        save(NAME, {"models": models})


def _made(model: Path, pass_: Any, params: dict[str, Any], out: Path, written: str) -> Path:
    """Return the folder that a pass makes of a model; it is made if its file is not there."""
    if (out / written).is_file():
        return out
    shutil.rmtree(out, ignore_errors=True)
    part = out.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    scratch = part / "scratch"
    scratch.mkdir(parents=True)
    (part / "out").mkdir()
    context = Context(out=part / "out", scratch=scratch, data=None)  # type: ignore[arg-type]
    pass_.run(open_model(model), pass_.Params(**params), context)
    if context.details:
        print(f"{out.name}: {context.details.get('summary', '')}", flush=True)
    (part / "out").rename(out)
    shutil.rmtree(part)
    return out


def measure_speed(rows: Rows, workshop: Workshop, count: int, rounds: int) -> None:
    """Time the builds that are there, each in a process of its own, interleaved."""
    there = {name: workshop.asked(name) for name in VARIANTS if name in rows}
    sequences, *_ = workshop.reference(count)
    found, failed = relative_speeds(there, "int4", sequences[0][:PROMPT], rounds)
    for name, why in failed.items():
        print(f"{name} does not run: {why}")
    for name, figures in found.items():
        rows[name] |= figures


def shown(rows: Rows) -> str:
    """Return all that was measured as a table."""
    lines = []
    for name, row in rows.items():
        figures = (row.get("mb"), speed_of(row), divergence_of(row), row.get("top1_agreement"))
        text = (perplexity_of(row) or row["perplexity"], perplexity_ratio_of(row))
        lines.append([name, *figures, *text])
    head = ("build", "MB", "speed (int4 = 1)", "KL per token", "same top token", "perplexity")
    head = (*head, "perplexity / fp32's")
    return table(head, lines)


if __name__ == "__main__":
    main()
