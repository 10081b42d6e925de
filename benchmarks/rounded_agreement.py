"""Whether a build of SmolLM2 holds what its quantization-aware training computed with.

    python benchmarks/rounded_agreement.py

Takes the trainings and packages of one width that `quantization_aware.py` has made of phrase-tone.
Counts codes and scales of the package that differ from the training's, and compares logits of its
forward pass with the runtime's at accuracy level 1 (activations in fp32) and 4 (in 8 bits).
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from common import ROOT, public_data, save, table
from onnx import numpy_helper
from quantization_aware import folder_of
from transformers import AutoModelForCausalLM, AutoTokenizer

from paretune.core.result import TrialResult
from paretune.models.adapted import load_adapted
from paretune.passes.lora.exact_sum import exact_delta
from paretune.passes.lora.rounding import round_weights
from paretune.passes.quantization.grid import Grid, encode
from paretune.passes.quantization.rounding_grid import RoundingGrid
from paretune.store.artifacts import Store
from paretune.study.folder import Study

sys.path.insert(0, str(ROOT))
from tests.pass_bench import logits

_MODEL = ROOT / ".models" / "smollm2"
_TOKENS = 256
_PLACE = re.compile(r"/model/layers\.(\d+)/(attn|mlp)/(\w+)/MatMul")


def _total(network: Any, name: str) -> Any:
    """Return the sum of base and adapter that a node is made of."""
    place = _PLACE.match(name)
    if place is None:
        return network.get_output_embeddings().weight
    parts = ("q_proj", "k_proj", "v_proj") if place[3] == "qkv_proj" else (place[3],)
    inner = "self_attn" if place[2] == "attn" else "mlp"
    layers = [network.get_submodule(f"model.layers.{place[1]}.{inner}.{each}") for each in parts]
    return torch.cat([each.base_layer.weight + exact_delta(each, "default") for each in layers])


def _differing(network: Any, package: Path, grid: Grid) -> tuple[int, int, int]:
    """Return how many codes there are, and how many codes and scales are not the training's."""
    model = onnx.load(package / "model.onnx")
    held = {each.name: each for each in model.graph.initializer}
    total = codes_off = scales_off = 0
    for node in model.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        packed, scales = (numpy_helper.to_array(held[name]) for name in node.input[1:3])
        weight = _total(network, node.name)
        codes = np.stack([packed & 15, packed >> 4], -1) if grid.bits == 4 else packed
        ours = encode(weight, grid)
        theirs = torch.tensor(codes.reshape(len(weight), -1)[:, : weight.shape[1]]).float()
        total += theirs.numel()
        codes_off += int((ours.codes.flatten(1)[:, : weight.shape[1]] != theirs).sum())
        scales_off += int((ours.scales != torch.tensor(scales).view_as(ours.scales)).sum())
    return total, codes_off, scales_off


def _at_level(package: Path, out: Path, level: int) -> Path:
    """Return a copy of a package with another accuracy level."""
    shutil.copytree(package, out)
    model = onnx.load(out / "model.onnx", load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "MatMulNBits" and attribute.name == "accuracy_level":
                attribute.i = level
    onnx.save_model(model, out / "model.onnx")
    return out


def _compared(outcome: TrialResult, store: Store) -> list[Any]:
    params = dict(outcome.candidate.recipe[0].params)
    given = RoundingGrid(**params["quantize_for"])
    grid = Grid(given.bits, given.block_size, given.is_symmetric)
    (adapter,) = (a for a in store.actions() if a.note.get("params") == params)
    assert outcome.artifact is not None
    package = store.object_path(outcome.artifact)
    network = AutoModelForCausalLM.from_pretrained(_MODEL, dtype=torch.float32)
    adapted = load_adapted(network, store.object_path(adapter.digest)).eval()
    base = adapted.get_base_model()
    with torch.no_grad():
        counts = _differing(base, package, grid)
        round_weights(adapted, given)
        text = next(public_data("wikitext-2").glob("*test*")).read_text(encoding="utf-8")[:4000]
        ids = AutoTokenizer.from_pretrained(_MODEL)(text)["input_ids"][:_TOKENS]
        ours = adapted(input_ids=torch.tensor([ids])).logits[0]
    row: list[Any] = [params["seed"], *counts]
    with tempfile.TemporaryDirectory() as scratch:
        for level in (1, 4):
            theirs = torch.tensor(logits(_at_level(package, Path(scratch, str(level)), level), ids))
            row.append(float((theirs - ours).abs().max()))
            p, q = torch.log_softmax(ours, 1), torch.log_softmax(theirs, 1)
            row.append(float((p.exp() * (p - q)).sum(1).mean()))
    return row


def _has_one_grid(params: Mapping[str, Any]) -> bool:
    """Return whether a training rounds all matrices, base and adapter as one, to the same bits."""
    given = params.get("quantize_for")
    return given is not None and not given.keys() & {"nodes", "mixed_layers", "adapter_apart"}


def main() -> None:
    """Compare each quantization-aware training with its package."""
    folder = folder_of("phrase-tone")
    study = Study(folder / "study")
    try:
        outcomes = [o for o in study.outcomes if o.artifact is not None]
    finally:
        study.close()
    store = Store(folder / "store")
    aware = [o for o in outcomes if _has_one_grid(o.candidate.recipe[0].params)]
    rows = [_compared(outcome, store) for outcome in aware]
    levels = [f"{what}, level {n}" for n in (1, 4) for what in ("largest difference", "KL")]
    print(table(("seed", "codes", "codes off", "scales off", *levels), rows))
    print(save("rounded_agreement", {"rows": rows}))


if __name__ == "__main__":
    main()
