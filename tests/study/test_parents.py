"""What was measured of a study's parents, on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.errors import StateError
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import ModelKind
from paretune.search.jobs import EvaluatorSlot
from paretune.study.parent_recipes import fits, parent_of
from paretune.study.parents import Parents

SLOT = EvaluatorSlot(
    0,
    "classification",
    {"data": "tone.test"},
    (MetricSpec("accuracy", "fraction", "maximize", False),),
    (Rung.ROUGH, Rung.FULL),
)
FOUND = {"accuracy": Measurement("accuracy", 0.5, "fraction", 0.4, 0.6, 2, "x-1", (0.0, 1.0))}
IDENTITY = {"measured_by": [{"version": 2}], "data": {"tone.test": "sha256:1"}}


def test_it_is_found_again_by_what_it_depends_on(tmp_path: Path) -> None:
    Parents(tmp_path, IDENTITY).put("sha256:ab", SLOT, FOUND)
    again = Parents(tmp_path, IDENTITY)
    assert again.get("sha256:ab", SLOT) == FOUND
    assert again.get("sha256:cd", SLOT) is None
    assert again.get("sha256:ab", replace(SLOT, params={"data": "other.test"})) is None
    newer = {**IDENTITY, "measured_by": [{"version": 3}]}
    assert Parents(tmp_path, newer).get("sha256:ab", SLOT) is None
    changed = {**IDENTITY, "data": {"tone.test": "sha256:2"}}
    assert Parents(tmp_path, changed).get("sha256:ab", SLOT) is None


def test_a_damaged_one_is_named(tmp_path: Path) -> None:
    Parents(tmp_path, IDENTITY).put("sha256:ab", SLOT, FOUND)
    file = tmp_path / "parents" / "ab.json"
    file.write_text(file.read_text()[:20])
    with pytest.raises(StateError, match=r"ab\.json cannot be read"):
        Parents(tmp_path, IDENTITY).get("sha256:ab", SLOT)


LORA, MERGE = Step("lora", {"train": "tone.train"}), Step("merge", {})
AWARE = Step("lora", {"train": "tone.train", "quantize_for": {"bits": 4}})
INT4, FP32 = Step("genai", {"precision": "int4"}), Step("genai", {"precision": "fp32"})


@pytest.mark.parametrize(
    ("recipe", "length"),
    [
        ((LORA, MERGE, INT4), 2),
        ((LORA, MERGE, FP32), 2),
        ((LORA, MERGE), 0),  # it is measured itself
        ((LORA, Step("genai_adapter", {"precision": "int4"})), 0),  # nothing runs an adapter
        ((INT4,), 0),
        ((FP32, Step("matmul_nbits", {})), 0),
        ((), 0),
        ((AWARE, MERGE, INT4), 0),  # the training optimized the rounded one
        ((AWARE, MERGE, LORA, MERGE, INT4), 4),
    ],
)
def test_the_parent_is_the_last_model_in_full_precision(
    recipe: tuple[Step, ...], length: int
) -> None:
    found = parent_of(Candidate(recipe, RuntimeSettings("cpu", 1)), ModelKind.HF, 2)
    if length == 0:
        assert found is None
        return
    assert found == Candidate(recipe[:length], RuntimeSettings("cpu", 2))
    assert fits(SLOT, found)
    assert not fits(replace(SLOT, name="footprint", params={}), found)
