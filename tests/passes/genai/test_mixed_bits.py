"""`genai` with a budget: from all matrices at 4 bits to all at 8, by what their rounding costs."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.core.errors import PassError
from paretune.core.model import Model
from paretune.models.handle import open_model
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.matrix_costs import bytes_of
from paretune.passes.genai.mixed_bits import Matrix, chosen
from paretune.passes.genai.quantized_nodes import open_build
from paretune.passes.quantization.rounding_grid import HEAD
from paretune.passes.quantization.sensitivity import SensitivityPass
from paretune.passes.quantization.sensitivity_file import FILE
from tests.pass_bench import Bench, generate, logits
from tests.tiny_models import make_small

TOKENS = [1, 7, 30, 42, 9, 64, 5, 17]
INT4 = {"precision": "int4"}


def _measured(bench: Bench, model: Model, **params: Any) -> Model:
    texts = {"data": "tone.train", "examples": 8}
    return open_model(bench.run(SensitivityPass(), model, {**texts, **params}, "measured"))


def _eight(out: Path) -> set[str]:
    with open_build(out) as build:
        return {name for name, node in build.nodes.items() if node.grid.bits == 8}


def _extra(out: Path, names: set[str]) -> float:
    """Return what 8 bits in some matrices cost, as a share of what they cost in all."""
    with open_build(out) as build:
        extra = {n: bytes_of(node, 8) - bytes_of(node, 4) for n, node in build.nodes.items()}
    return sum(extra[name] for name in names) / sum(extra.values())


def test_no_budget_is_the_build_with_4_bits_byte_for_byte(bench: Bench, tiny: Model) -> None:
    plain = bench.run(Genai(), tiny, INT4, "plain")
    out = bench.run(Genai(), _measured(bench, tiny), {**INT4, "budget": 0}, "none")
    assert {f.name: f.read_bytes() for f in out.iterdir()} == {
        f.name: f.read_bytes() for f in plain.iterdir()
    }


def test_the_whole_budget_computes_what_8_bits_compute(bench: Bench, tiny: Model) -> None:
    level = {"accuracy_level": 1}
    eight = {"precision": "int8", "shared_embeddings": True, **level}
    wanted = bench.run(Genai(), tiny, eight, "int8")
    out = bench.run(Genai(), _measured(bench, tiny), {**INT4, **level, "budget": 1}, "all")
    assert np.array_equal(logits(out, TOKENS), logits(wanted, TOKENS))


@pytest.mark.parametrize("budget", [0.1, 0.5])
def test_a_part_of_it_is_spent_within_its_bounds_and_told(
    bench: Bench, tiny: Model, budget: float
) -> None:
    out = bench.run(Genai(), _measured(bench, tiny), {**INT4, "budget": budget}, "some")
    eight, details = _eight(out), bench.contexts["some"].details
    spent = _extra(out, eight)
    assert 0 < spent <= budget + 1e-9
    drawn = details["bits"]
    assert drawn["others"] == {"lm_head": 8 if HEAD in eight else 4}
    assert {
        f"/model/layers.{layer}/{name}/MatMul"
        for name, layers in drawn["rows"].items()
        for layer, bits in enumerate(layers)
        if bits == 8
    } == eight - {HEAD}
    assert {len(layers) for layers in drawn["rows"].values()} == {2}
    assert details["budget_spent"] == pytest.approx(spent)
    assert f"8 bits in {len(eight)} of 11 matrices" in details["summary"]
    assert len(generate(out, TOKENS)) == 3


def test_a_larger_budget_never_expects_a_larger_divergence(bench: Bench, tiny: Model) -> None:
    measured, expected = _measured(bench, tiny), []
    for number, budget in enumerate((0, 0.2, 0.6, 1)):
        bench.run(Genai(), measured, {**INT4, "budget": budget}, f"at {number}")
        expected.append(bench.contexts[f"at {number}"].details["expected_kl_per_token"])
    assert expected == sorted(expected, reverse=True)
    assert expected[-1] < 0.1 * expected[0]


@pytest.mark.parametrize("name", ["Phi3", "Qwen2"])
def test_it_works_with_gptq_zero_points_and_another_architecture(
    bench: Bench, tmp_path: Path, name: str
) -> None:
    more = {"original_max_position_embeddings": 256} if name == "Phi3" else {}
    model = open_model(make_small(tmp_path / "models", name, **more))
    grid = {"block_size": 16, "is_symmetric": False}
    measured = _measured(bench, model, rounded_to={**grid, "algorithm": "gptq"})
    chosen = {**INT4, **grid, "budget": 0.4, "algorithm": "gptq"}
    out = bench.run(Genai(), measured, chosen, "mixed")
    assert 0 < _extra(out, _eight(out)) <= 0.4
    assert bench.contexts["mixed"].details["calibration_tokens"] > 1000
    assert "expected divergence of rounding by GPTQ" in bench.contexts["mixed"].details["summary"]
    assert len(generate(out, TOKENS)) == 3


def test_an_embedding_of_its_own_does_not_count_for_the_head(bench: Bench, tiny: Model) -> None:
    """A build that shares the matrix loses more by its rounding than one that rounds the head."""
    measured, found = _measured(bench, tiny), {}
    for shared in (True, False):
        params = {**INT4, "budget": 0, "shared_embeddings": shared}
        bench.run(Genai(), measured, params, str(shared))
        found[shared] = bench.contexts[str(shared)].details["expected_kl_per_token"]
    assert found[True] > found[False]


def test_a_model_that_was_not_measured_is_refused(bench: Bench, tiny: Model) -> None:
    with pytest.raises(PassError, match=rf"budget needs {FILE}"):
        bench.run(Genai(), tiny, {**INT4, "budget": 0.5}, "unmeasured")


MATRICES = [
    Matrix("a", {4: 3.0, 8: 0.1}, {4: 10, 8: 20}),
    Matrix("b", {4: 2.0, 8: 0.1}, {4: 5, 8: 10}),
    Matrix("c", {4: 1.5, 8: 0.1}, {4: 5, 8: 10}),
    Matrix("d", {4: 0.1, 8: 0.2}, {4: 5, 8: 10}),  # measured on few texts, 8 bits may seem worse
    Matrix(HEAD, {4: 0.5, 8: 0.1}, {4: 8, 8: 7}),  # and take less time
]


@pytest.mark.parametrize("budget", [0.0, 0.1, 0.25, 0.4, 0.6, 0.999, 1.0])
def test_the_best_matrices_for_a_budget(budget: float) -> None:
    taken = chosen(MATRICES, budget)
    if budget in (0.0, 1.0):
        assert taken == (MATRICES if budget else [])
        return
    room = budget * sum(matrix.extra for matrix in MATRICES)
    gains = [
        sum(matrix.gain for matrix in some)
        for count in range(len(MATRICES) + 1)
        for some in combinations(MATRICES, count)
        if sum(matrix.extra for matrix in some) <= room
    ]
    assert sum(matrix.extra for matrix in taken) <= room
    assert sum(matrix.gain for matrix in taken) == pytest.approx(max(gains))
    assert MATRICES[4] in taken
