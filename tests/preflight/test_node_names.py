"""Names of nodes that a model does not have are found in the dry run, before anything is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune.api import optimize
from paretune.core.errors import ConfigError, UsageError
from paretune.preflight.dry_run import foresee
from tests.tiny_models import make_tiny_llama

Q_PROJ = "/model/layers.1/attn/q_proj/MatMul"
FUSED = "/model/layers.1/attn/qkv_proj/MatMul"
HEAD = "/lm_head/MatMul"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("nodes")
    make_tiny_llama(found / "m", layers=2)
    return found


def configured(folder: Path, genai: dict[str, Any], *after: Any, **more: Any) -> Path:
    config = {
        "model": "m",
        "passes": [{"genai": {"precision": "int4", **genai}}, *after],
        "evaluate": ["footprint"],
        "objectives": {"minimize": "size_mb"},
        **more,
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder / "c.yaml"


def exclude(*names: Any) -> dict[str, Any]:
    return {"nodes_to_exclude": list(names)}


@pytest.mark.parametrize(
    ("genai", "key", "told"),
    [
        (exclude("/lm_head/Matmul"), "[0]", "Did you mean '/lm_head/MatMul'?"),
        (exclude(HEAD, "lm_head"), "[1]", "Did you mean '/lm_head/MatMul'?"),
        (exclude("/model/layers.2/mlp/up_proj/MatMul"), "[0]", "/mlp/up_proj/MatMul'?"),
        (exclude([HEAD], ["xyzzy"]), "[1][0]", "Existing names include: /model/layers.0/attn/"),
        ({**exclude("q_proj"), "precision": "int8", "fuse_qkv": False}, "[0]", "/attn/q_proj/"),
    ],
)
def test_a_name_that_no_build_has_is_refused_at_its_key(
    folder: Path, genai: dict[str, Any], key: str, told: str
) -> None:
    file = configured(folder, genai)
    with pytest.raises(ConfigError) as refused:
        foresee(file, store=folder / "store")
    assert refused.value.key == f"passes[0].genai.nodes_to_exclude{key}"
    assert refused.value.line is not None
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "names", [(HEAD,), (Q_PROJ, HEAD), ("/model/layers.0/mlp/up_proj/MatMul",)]
)
def test_a_name_that_is_there_is_let_pass(folder: Path, names: tuple[str, ...]) -> None:
    found = foresee(configured(folder, exclude(*names)), store=folder / "store")
    assert found["skipped"] == 0
    assert not any("nodes_to_exclude" in note for note in found["notes"])


def test_dry_run_and_search_say_the_same_and_nothing_is_built(folder: Path, tmp_path: Path) -> None:
    file = configured(folder, exclude("/lm_head"))
    told = []
    for run in (
        lambda: foresee(file, store=tmp_path / "store"),
        lambda: optimize(file, study=tmp_path / "study", store=tmp_path / "store"),
    ):
        with pytest.raises(ConfigError) as refused:
            run()
        told.append(str(refused.value))
    assert told[0] == told[1]
    assert not list((tmp_path / "study").glob("candidates/*"))
    (kept,) = (tmp_path / "store" / "twins").iterdir()
    kept.write_text(json.dumps([{"plain": ["/lm_head"], "constant": [], "quantized": []}]))
    assert foresee(file, store=tmp_path / "store")["candidates"] == 1  # by what was kept


def test_a_name_that_some_builds_have_is_a_note(folder: Path) -> None:
    file = configured(folder, {**exclude(FUSED), "fuse_qkv": [True, False]})
    (note,) = (n for n in foresee(file, store=folder / "store")["notes"] if "exclude" in n)
    assert f"names '{FUSED}'" in note
    assert "1 of the 2 kinds of build" in note


def test_baseline_and_first_candidates_count_and_all_is_told_at_once(folder: Path) -> None:
    file = configured(
        folder,
        {},
        baseline=[{"genai": {"precision": "int4", **exclude("first")}}],
        try_first=[[{"genai": {"precision": "int8", **exclude("other")}}]],
    )
    with pytest.raises(UsageError) as refused:
        foresee(file, store=folder / "store")
    told = str(refused.value)
    assert "baseline[0].genai.nodes_to_exclude[0]: 'first' is not a matrix" in told
    assert "try_first[0][0].genai.nodes_to_exclude[0]: 'other' is not a matrix" in told


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"exclude": ["*/down_proj/MatMul", "*/dwn_proj/*"]}, "exclude[1]"),
        ({"bits": 4, "keep_8bit": ["/lm_haed/*"]}, "keep_8bit[0]"),
        ({"exclude": ["*/up_proj/MatMul"]}, None),
    ],
)
def test_patterns_of_matmul_nbits(folder: Path, params: dict[str, Any], key: str | None) -> None:
    file = configured(folder, {"precision": "fp32"}, {"matmul_nbits": params})
    if key is None:
        assert foresee(file, store=folder / "store")["skipped"] == 0
        return
    with pytest.raises(ConfigError, match="matches no matrix of this model's build") as refused:
        foresee(file, store=folder / "store")
    assert refused.value.key == f"passes[1].matmul_nbits.{key}"


@pytest.mark.parametrize(
    ("name", "refused"), [("/lm_haed/MatMul", True), (HEAD, False), (Q_PROJ, False)]
)
def test_of_a_build_with_its_adapter_apart(folder: Path, name: str, refused: bool) -> None:
    (folder / "d.jsonl").write_text('{"t": "one", "y": "a"}\n{"t": "two", "y": "b"}\n')
    config = {
        "model": "m",
        "data": {"d": {"file": "d.jsonl", "prompt": "{t}", "answer": "{y}"}},
        "passes": [
            {"lora": {"train": "d", "max_steps": 1}},
            {"genai_adapter": {"precision": "int4", **exclude(name)}},
        ],
        "evaluate": ["footprint"],
        "objectives": {"minimize": "size_mb"},
    }
    (folder / "a.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    if not refused:
        assert foresee(folder / "a.yaml", store=folder / "store")["skipped"] == 0
        return
    with pytest.raises(ConfigError, match="Did you mean '/lm_head/MatMul'") as found:
        foresee(folder / "a.yaml", store=folder / "store")
    assert found.value.key == "passes[1].genai_adapter.nodes_to_exclude[0]"


def test_an_architecture_of_which_no_twin_can_be_made_is_left_to_the_build(tmp_path: Path) -> None:
    from paretune.passes.genai.twin_nodes import look

    (tmp_path / "config.json").write_text('{"model_type": "nothing-known"}')
    build = {"params": {"precision": "int4", **exclude("x")}, "provider": "cpu"}
    assert look(str(tmp_path), [build], tied=False) == [None]
