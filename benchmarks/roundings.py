"""What roundings of one model cost: divergence, perplexity, size and decode speed.

    python benchmarks/roundings.py [--model FOLDER] [--sequences 8]     builds, KL, size
    python benchmarks/roundings.py --speed [--rounds 5]                 then: decode speed
    python benchmarks/roundings.py --show                               the table of both

Builds are made by the pass `genai` and kept in ``benchmarks/out/roundings``. Divergence (KL of
the build's next token from the fp32 model's, in nats per token) and perplexity are those of
WikiText-2's test text, in sequences of 512 tokens, through ONNX Runtime GenAI; without that data
set, of the text that gptq is calibrated on, which favours gptq. The interval of a divergence is
that of the mean over sequences. Speeds are taken in fresh processes, the builds interleaved: the
median time of a token in each process, and of these the median. Run ``--speed`` on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import OUT, ROOT, public_data, save, table

from paretune.data.context import Context
from paretune.models.handle import open_model
from paretune.passes.genai.genai import Genai
from paretune.passes.hugging_face import use_all_cores

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
    "int8": INT8,
    "int8, shared": {**INT8, "shared_embeddings": True},
    "int8, shared, gptq": {**INT8, **GPTQ, "shared_embeddings": True},
}
FOLDER = OUT / "roundings"
_LENGTH = 512
_PROMPT, _NEW = 64, 96
_WARM_UP = 16


def main() -> None:
    """Run what the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / ".models" / "smollm2")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--decode", type=Path, help="one process of --speed")
    args = parser.parse_args()
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if args.decode is not None:
        print(json.dumps(token_seconds(args.decode)))
        return
    rows = _kept()
    if args.speed:
        measure_speed(rows, args.rounds)
    elif not args.show:
        measure_rounding(rows, args.model, args.sequences, args.only)
    if not args.show:
        save("roundings", {"rows": rows})
    print(shown(rows))


def _kept() -> dict[str, dict[str, Any]]:
    file = OUT / "roundings.json"
    if not file.is_file():
        return {}
    rows: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return rows


def measure_rounding(
    rows: dict[str, dict[str, Any]], model: Path, count: int, names: Sequence[str]
) -> None:
    """Build, and measure what does not depend on the machine's load."""
    sequences, text = token_sequences(model, count)
    reference = reference_log_probabilities(model, sequences)
    rows["fp32"] = {"text": text, "perplexity": perplexity(reference, sequences)}
    print(f"fp32: perplexity {rows['fp32']['perplexity']:.3f} on {text}", flush=True)
    for name in names:
        start = time.process_time()
        folder = built(model, name)
        seconds = time.process_time() - start
        found = log_probabilities(folder, sequences)
        row = rows.setdefault(name, {})
        row.update(rounding_figures(reference, found, sequences))
        row |= {"text": text, "mb": _megabytes(folder)}
        if seconds > 1:  # not kept from an earlier run
            row["build_cpu_s"] = round(seconds, 1)
        print(f"{name}: {json.dumps(row)}", flush=True)
        save("roundings", {"rows": rows})


def token_sequences(model: Path, count: int) -> tuple[list[list[int]], str]:
    """Return token ids to measure on, and what text they are of."""
    from transformers import AutoTokenizer

    try:
        file = public_data("wikitext-2") / "test.txt"
        name = "WikiText-2"
    except SystemExit:
        file = ROOT / "passes" / "quantization" / "calibration_text.txt"
        name = "the calibration text"
    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = tokenizer(file.read_text(encoding="utf-8")[: 8 * _LENGTH * count])["input_ids"]
    whole = min(count, len(ids) // _LENGTH)
    return [ids[i * _LENGTH : (i + 1) * _LENGTH] for i in range(whole)], name


def reference_log_probabilities(model: Path, sequences: Sequence[Sequence[int]]) -> list[Any]:
    """Return the logarithms of the fp32 model's probabilities, a matrix a sequence."""
    import torch
    from transformers import AutoModelForCausalLM

    use_all_cores()
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.no_grad():
        return [
            network(torch.tensor([list(ids)])).logits[0].log_softmax(-1).numpy()
            for ids in sequences
        ]


def log_probabilities(package: Path, sequences: Sequence[Sequence[int]]) -> list[Any]:
    """Return the logarithms of a build's probabilities."""
    import numpy as np
    import onnxruntime_genai as og
    import torch

    model = og.Model(str(package))
    found = []
    for ids in sequences:
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=len(ids) + 1)
        generator = og.Generator(model, params)
        generator.append_tokens(np.array(ids, dtype=np.int32))
        logits = torch.tensor(np.array(generator.get_output("logits"))[0])
        found.append(logits.log_softmax(-1).numpy())
    return found


def rounding_figures(
    reference: Sequence[Any], found: Sequence[Any], sequences: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Return divergence with its interval, agreement and perplexity."""
    import numpy as np

    means = [
        float((np.exp(before) * (before - after)).sum(-1).mean())
        for before, after in zip(reference, found, strict=True)
    ]
    agree = np.concatenate(
        [a.argmax(-1) == b.argmax(-1) for a, b in zip(reference, found, strict=True)]
    )
    error = statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan
    mean = statistics.fmean(means)
    return {
        "kl_per_token": mean,
        "kl_low": mean - 2 * error,
        "kl_high": mean + 2 * error,
        "top1_agreement": float(agree.mean()),
        "perplexity": perplexity(found, sequences),
        "tokens": sum(map(len, sequences)),
    }


def perplexity(found: Sequence[Any], sequences: Sequence[Sequence[int]]) -> float:
    """Return the perplexity of sequences, each token but the first given those before it."""
    lost = [
        -float(matrix[place, token])
        for matrix, ids in zip(found, sequences, strict=True)
        for place, token in enumerate(ids[1:])
    ]
    return math.exp(statistics.fmean(lost))


def _folder_of(name: str) -> Path:
    return FOLDER / "".join(c if c.isalnum() else "-" for c in name)


def built(model: Path, name: str) -> Path:
    """Return the folder of a build; it is made if it is not there."""
    out = _folder_of(name)
    if (out / "genai_config.json").is_file():
        return out
    shutil.rmtree(out, ignore_errors=True)
    part = out.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    scratch = part / "scratch"
    scratch.mkdir(parents=True)
    (part / "out").mkdir()
    context = Context(out=part / "out", scratch=scratch, data=None)  # type: ignore[arg-type]
    pass_ = Genai()
    pass_.run(open_model(model), pass_.Params(**VARIANTS[name]), context)
    (part / "out").rename(out)
    shutil.rmtree(part)
    return out


def _megabytes(folder: Path) -> float:
    """Return the size of a build's graph and weights."""
    return sum(file.stat().st_size for file in folder.glob("model.onnx*")) / 1e6


def measure_speed(rows: dict[str, dict[str, Any]], rounds: int) -> None:
    """Time the builds that are there, each in a process of its own, interleaved."""
    names = [name for name in VARIANTS if name in rows]
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[:: 1 if number % 2 == 0 else -1]:
            command = [sys.executable, __file__, "--decode", str(_folder_of(name))]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            times[name].append(json.loads(answer.stdout))
        print(f"round {number + 1} of {rounds}", flush=True)
    for name in names:
        rows[name]["token_ms"] = [round(1000 * seconds, 3) for seconds in times[name]]
        rows[name]["token_ms_p50"] = 1000 * statistics.median(times[name])


def token_seconds(package: Path) -> float:
    """Return the median time of a token, after a prompt and a warm-up."""
    import numpy as np
    import onnxruntime_genai as og

    model = og.Model(str(package))
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=_PROMPT + _NEW + 1, min_length=_PROMPT + _NEW)
    generator = og.Generator(model, params)
    generator.append_tokens(np.arange(100, 100 + _PROMPT, dtype=np.int32))
    found = []
    for _ in range(_NEW):
        start = time.perf_counter()
        generator.generate_next_token()
        found.append(time.perf_counter() - start)
    return statistics.median(found[_WARM_UP:])


def shown(rows: dict[str, dict[str, Any]]) -> str:
    """Return all that was measured as a table."""
    base = rows.get("int4", {}).get("token_ms_p50")
    lines = []
    for name, row in rows.items():
        kl = row.get("kl_per_token")
        divergence = (
            None if kl is None else f"{kl:.4f} ({row['kl_low']:.4f} to {row['kl_high']:.4f})"
        )
        own = row.get("token_ms_p50")
        speed = base / own if base and own else None
        figures = (row.get("mb"), speed, divergence, row.get("top1_agreement"), row["perplexity"])
        lines.append([name, *figures])
    head = ("build", "MB", "speed (int4 = 1)", "KL per token", "same top token", "perplexity")
    return table(head, lines)


if __name__ == "__main__":
    main()
