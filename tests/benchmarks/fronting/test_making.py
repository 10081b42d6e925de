"""The list of variants, what a row is remade for, and how a tool's failure is told."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from fronting.making import (
    BUILDER,
    MAKERS,
    NOTE,
    OURS,
    NotMade,
    Variant,
    Workshop,
    _last_error,
    _name_the_output,
    megabytes,
    read_variants,
)

from paretune.core.device import TargetInfo
from paretune.core.model import ModelInfo, ModelKind
from paretune.registry import find_pass
from tests.tiny_models import make_tiny_llama

MODEL = ModelInfo(ModelKind.HF, model_type="llama", parameters=1, head_dim=64, tied=True)


def test_every_maker_has_variants() -> None:
    assert {each.maker for each in read_variants()} == set(MAKERS)


@pytest.mark.parametrize(
    "variant", [each for each in read_variants() if each.maker == OURS], ids=lambda v: v.name
)
def test_each_recipe_of_ours_is_one_that_the_passes_take(variant: Variant) -> None:
    model = MODEL
    for step in variant.make:
        ((name, params),) = step.items()
        pass_ = find_pass(name)
        given = pass_.Params(**params)
        assert pass_.check(model, given, TargetInfo("x"), "cpu") is None
        model = pass_.predict(model, given)


def test_an_unknown_maker_and_a_name_twice_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "variants.yaml"
    file.write_text("- {maker: nobody, name: a, make: {}}", encoding="utf-8")
    with pytest.raises(SystemExit, match="nobody"):
        read_variants(file)
    file.write_text("- {maker: Olive, name: a, make: []}\n" * 2, encoding="utf-8")
    with pytest.raises(SystemExit, match="twice"):
        read_variants(file)


def test_a_build_is_kept_and_made_again_when_its_words_change(tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path / "model")
    workshop = Workshop(model, tmp_path / "store")
    variant = Variant(OURS, "a", [{"genai": {"precision": "fp32"}}])
    made = workshop.built(variant)
    assert (made / "genai_config.json").is_file()
    assert megabytes(made) > 0
    before = (made / "model.onnx").stat().st_mtime_ns
    assert workshop.built(variant) == made
    assert (made / "model.onnx").stat().st_mtime_ns == before
    other = Variant(OURS, "a", [{"genai": {"precision": "int8"}}])
    assert workshop.built(other) == made
    assert (made / "model.onnx").stat().st_mtime_ns != before


def test_recipes_that_begin_alike_share_their_first_steps(tmp_path: Path) -> None:
    workshop = Workshop(make_tiny_llama(tmp_path / "model"), tmp_path / "store")
    made = []
    for budget in (0.0, 1.0):
        last = {"genai": {"precision": "int4", "budget": budget}}
        made.append(workshop.built(Variant(OURS, f"budget {budget}", [{"sensitivity": {}}, last])))
    assert len(list((tmp_path / "store" / "sources").iterdir())) == 1
    assert megabytes(made[1]) > 1.3 * megabytes(made[0])
    assert not list(tmp_path.rglob("*.part"))


def test_what_a_tool_does_not_make_leaves_nothing(tmp_path: Path) -> None:
    variant = Variant(BUILDER, "a", {"precision": "int4"})
    with pytest.raises(NotMade):
        Workshop(tmp_path / "no model", tmp_path / "store").built(variant)
    assert list((tmp_path / "store").iterdir()) == []


def test_the_last_error_of_a_tool_is_told() -> None:
    said = "start\nValueError: too small\nFile Error.py\nbye\n"
    assert _last_error(said) == "ValueError: too small"
    assert _last_error("only this\n") == "only this"
    assert _last_error("") == "it said nothing"


def test_a_package_names_the_output_of_its_graph(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("logits_Q4", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["logits_Q4"])
    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "g", [given], [value])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    config = {"model": {"decoder": {"outputs": {"logits": "logits"}}}}
    (tmp_path / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    _name_the_output(tmp_path)
    told = json.loads((tmp_path / "genai_config.json").read_text(encoding="utf-8"))
    assert told["model"]["decoder"]["outputs"]["logits"] == "logits_Q4"
    assert (tmp_path / NOTE).is_file()
