"""Parameters that depend on the passes that follow: in candidates, numbers, keys and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paretune.config.look_ahead import look_ahead, looking_ahead
from paretune.core.candidate import Candidate, Step, describe
from paretune.core.device import TargetInfo
from paretune.core.model import ModelInfo, ModelKind
from paretune.passes.lora.lora import Lora, LoraParams
from paretune.registry import find_pass
from paretune.search.prechecks import Prechecks
from paretune.search.space import AnyOf, Chain, PassSlot, Space
from paretune.store.artifacts import Store

ROOMY = TargetInfo("t", memory_free=10**12, disk_free=10**12)
LORA = PassSlot("lora", {"train": ("t.train",), "r": (4, 8), "quantize_for": ("next", None)})
BUILDS = AnyOf(
    (
        PassSlot("genai", {"precision": ("int4",), "block_size": (32, 128)}),
        PassSlot("genai", {"precision": ("int4",), "accuracy_level": (1, 4)}),
        Chain((PassSlot("genai", {"precision": ("fp32",)}), PassSlot("matmul_nbits"))),
        PassSlot("genai", {"precision": ("fp32",)}),
        PassSlot("genai", {"precision": ("int4",), "algorithm": ("k_quant",)}),
    )
)
STAGES = (LORA, PassSlot("merge"), BUILDS)


@pytest.fixture
def space() -> Space:
    return Space(STAGES, look_ahead=looking_ahead(STAGES))


def _grid(candidate: Candidate) -> Any:
    return candidate.recipe[0].params["quantize_for"]


def test_each_candidate_holds_the_grid_of_its_own_build(space: Space) -> None:
    grids = {json.dumps(_grid(candidate)) for candidate in space}
    sizes = [json.loads(text) for text in grids]
    # 32 with a shared embedding, 32 without one, 128; none; and what cannot be trained for.
    assert sorted(grid["block_size"] for grid in sizes if isinstance(grid, dict)) == [32, 32, 128]
    assert [grid for grid in sizes if not isinstance(grid, dict)].count("next") == 1


def test_builds_of_one_grid_share_their_training(space: Space) -> None:
    builds: dict[Step, set[str]] = {}
    for candidate in space:
        builds.setdefault(candidate.recipe[0], set()).add(json.dumps(candidate.recipe[2].params))
    shared = {
        frozenset(found) for step, found in builds.items() if isinstance(_grid_of(step), dict)
    }
    level = [json.dumps({"precision": "int4", "accuracy_level": level}) for level in (1, 4)]
    block = [json.dumps({"precision": "int4", "block_size": size}) for size in (32, 128)]
    assert frozenset({*level, block[0]}) in shared
    assert frozenset({block[1]}) in shared


def _grid_of(step: Step) -> Any:
    return step.params["quantize_for"]


def test_numbers_lead_to_candidates_and_back(space: Space) -> None:
    for number, candidate in enumerate(space):
        assert space.index(candidate) == number
        positions = space.tree.positions(candidate)
        assert positions is not None
        walked = space.tree.propose(lambda choice, held=positions: held[choice.name])  # type: ignore[misc]
        assert walked == candidate


def test_a_grid_of_another_build_is_not_in_the_space(space: Space) -> None:
    one = next(c for c in space if isinstance(_grid(c), dict) and _grid(c)["block_size"] == 32)
    other = {**one.recipe[0].params, "quantize_for": {**_grid(one), "block_size": 128}}
    strange = Candidate((Step("lora", other), *one.recipe[1:]), one.runtime)
    assert space.index(strange) is None


def test_a_candidate_that_nothing_can_be_trained_for_says_why(space: Space) -> None:
    checks = Prechecks(ModelInfo(ModelKind.HF), ROOMY, find_pass)
    told = {
        json.dumps(dict(c.recipe[-1].params)): checks.look(c).reason
        for c in space
        if _grid(c) is not None
    }
    fp32, k_quant = (
        told['{"precision": "fp32"}'],
        told['{"precision": "int4", "algorithm": "k_quant"}'],
    )
    assert fp32 is not None
    assert fp32.startswith("pass 1 (lora): quantize_for: next: no pass after it quantizes")
    assert k_quant is not None
    assert "algorithm k_quant" in k_quant
    assert [why for why in told.values() if why is not None] == [fp32, k_quant]


def test_what_differs_by_candidate_is_shown_with_each() -> None:
    only = PassSlot("lora", {"train": ("t.train",), "quantize_for": ("next",)})
    stages = (only, *STAGES[1:])
    space = Space(stages, look_ahead=looking_ahead(stages))
    hidden = space.params_in_common()
    assert ("lora", "quantize_for") not in hidden
    assert "quantize_for={bits=4 block_size=32}" in describe(space.at(0), hidden)


def test_without_next_nothing_looks_ahead() -> None:
    assert looking_ahead((PassSlot("lora", {"train": ("t.train",)}), *STAGES[1:])) is None


def test_the_grid_is_part_of_the_key_of_the_training(tmp_path: Path) -> None:
    def key(*following: Step) -> str:
        step = Step("lora", {"train": "t.train", "quantize_for": "next"})
        found = look_ahead((step, Step("merge"), *following))[0]
        return Store(tmp_path).action_key(
            input_digest="0",
            pass_=Lora(),
            params=LoraParams(**found.params),
            data={},
            provider="cpu",
        )

    plain = key(Step("genai", {"precision": "int4"}))
    assert key(Step("genai", {"precision": "int4", "accuracy_level": 1})) == plain
    assert key(Step("genai", {"precision": "int4", "block_size": 64})) != plain
    assert key(Step("genai", {"precision": "int8"})) != plain
