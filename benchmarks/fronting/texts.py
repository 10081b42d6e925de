"""The text that builds are measured on, and what the fp32 model says of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import OUT, ROOT, public_data
from fronting.divergence import log_softmax, perplexity

CALIBRATION = ROOT / "passes" / "quantization" / "calibration_text.txt"
"""What our gptq is calibrated on where no data is named; the peers get it too."""
LENGTH = 512


def token_sequences(model: Path, count: int) -> tuple[list[list[int]], str]:
    """Return token ids to measure on, and what text they are of."""
    from transformers import AutoTokenizer

    try:
        file = public_data("wikitext-2") / "test.txt"
        name = "WikiText-2"
    except SystemExit:
        file, name = CALIBRATION, "the calibration text"
    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = tokenizer(file.read_text(encoding="utf-8")[: 8 * LENGTH * count])["input_ids"]
    whole = min(count, len(ids) // LENGTH)
    return [ids[i * LENGTH : (i + 1) * LENGTH] for i in range(whole)], name


def reference_log_probabilities(model: Path, sequences: Sequence[Sequence[int]]) -> list[Any]:
    """Return the logarithms of the fp32 model's probabilities, a matrix a sequence."""
    import torch
    from transformers import AutoModelForCausalLM

    from paretune.passes.hugging_face import use_all_cores

    use_all_cores()
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.no_grad():
        return [
            log_softmax(network(torch.tensor([list(ids)])).logits[0].numpy()) for ids in sequences
        ]


def builds_of(benchmark: str, digest: str) -> Path:
    """Return where a benchmark keeps its builds of the model of a digest, and their reference."""
    return OUT / benchmark / digest.removeprefix("sha256:")[:12]


def kept_reference(
    model: Path, digest: str, count: int, folder: Path
) -> tuple[list[list[int]], str, float]:
    """Return token ids, what text they are of, and the fp32 model's perplexity.

    Its matrices are written to the folder, ``0.npy`` and so on, unless they are there.

    Args:
        model: The model's folder.
        digest: Of that folder.
        count: Sequences of `LENGTH` tokens.
        folder: Where they are kept.
    """
    note = folder / "text.json"
    told = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    if told.get("model") != digest or len(told["sequences"]) != count:
        sequences, text = token_sequences(model, count)
        shutil.rmtree(folder, ignore_errors=True)
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        matrices = reference_log_probabilities(model, sequences)
        for number, matrix in enumerate(matrices):
            np.save(part / f"{number}.npy", matrix.astype(np.float32))
        told = {"model": digest, "text": text, "sequences": sequences}
        told["perplexity"] = perplexity(matrices, sequences)
        (part / note.name).write_text(json.dumps(told), encoding="utf-8")
        os.rename(part, folder)
    return told["sequences"], told["text"], told["perplexity"]
