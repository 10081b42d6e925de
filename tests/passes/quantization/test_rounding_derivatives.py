"""Derivatives of the loss by rounding errors, against differences of losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from paretune.core.errors import PassError
from paretune.core.model import Model
from paretune.models.handle import open_model
from paretune.passes.quantization.grid import Grid, rounded
from paretune.passes.quantization.rounding_derivatives import measure
from paretune.passes.quantization.rounding_errors import nearest_errors
from paretune.passes.quantization.sensitivity_file import EMBEDDING_NAME, HEAD_NAME
from tests.tiny_models import make_small

TEXTS = [[1, 7, 30, 42, 9, 64, 5, 17], [3, 90, 14, 61, 200]]
STEP = 0.02


def _network(model: Model) -> Any:
    return AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32).eval()


def _measured(model: Model, *grids: Grid) -> dict[int, dict[str, tuple[float, ...]]]:
    network = _network(model)
    return measure(network, TEXTS, nearest_errors(network, grids))


def _loss(network: Any, ids: list[int]) -> float:
    with torch.no_grad():
        logits = network(torch.tensor([ids])).logits[0, :-1].double()
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum"))


def _differences(change: Callable[[float], Any]) -> list[float]:
    """Return central differences of each text's loss by the scale of an error."""
    ahead, behind = change(STEP), change(-STEP)
    return [(_loss(ahead, ids) - _loss(behind, ids)) / (2 * STEP) for ids in TEXTS]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/model/layers.1/mlp/down_proj", "model.layers.1.mlp.down_proj"),
        ("/model/layers.0/attn/k_proj", "model.layers.0.self_attn.k_proj"),
        (EMBEDDING_NAME, "model.embed_tokens"),
        (HEAD_NAME, "lm_head"),
    ],
)
def test_they_are_the_slopes_of_the_loss(tiny: Model, bits: int, name: str, path: str) -> None:
    found = _measured(tiny, Grid(4, 32), Grid(8, 32))[bits][name]

    def change(scale: float) -> Any:
        network = _network(tiny)
        network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone())
        weight = network.get_submodule(path).weight
        # In double precision the differences are exact enough; the network's own is fp32.
        with torch.no_grad():
            error = rounded(weight, Grid(bits, 32)) - weight
            weight.add_(scale * error.to(torch.bfloat16).float())
        return network.double()

    assert found == pytest.approx(_differences(change), rel=0.02, abs=1e-4)


def test_parts_of_a_matrix_that_is_fused_in_the_file_are_measured_apart(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("phi")
    phi = open_model(make_small(folder, "Phi3", original_max_position_embeddings=256))
    found = _measured(phi, Grid(4, 16, False), Grid(8, 16, False))
    names = {name.rpartition("/")[2] for name in found[4]}
    parts = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert names == {*parts, "lm_head"}  # its embedding is a matrix of its own


def test_each_text_has_a_derivative_for_each_matrix_and_width(tiny: Model) -> None:
    found = _measured(tiny, Grid(4, 32, False), Grid(8, 32, False))
    assert {len(v) for by_name in found.values() for v in by_name.values()} == {2}
    assert len(found[4]) == len(found[8]) == 2 * 7 + 2


def test_weights_that_are_no_numbers_are_refused(tiny: Model) -> None:
    network = _network(tiny)
    errors = nearest_errors(network, [Grid(4, 32), Grid(8, 32)])
    network.model.layers[0].mlp.up_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(PassError, match="not finite"):
        measure(network, TEXTS, errors)
