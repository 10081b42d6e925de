from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.core.device import TargetInfo
from paretune.core.errors import PassError
from paretune.core.model import Model
from paretune.models.handle import inspect, open_model
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.options import GenaiParams
from paretune.passes.genai.tokenizer import NOTE, TEXTS, compare
from tests.pass_bench import Bench, generate, logits
from tests.tiny_models import make_tiny_llama

INT4 = {"precision": "int4"}
INT8 = {"precision": "int8"}


def _weights(folder: Path) -> bytes:
    return (folder / "model.onnx").read_bytes() + (folder / "model.onnx.data").read_bytes()


def test_fp32_build_computes_what_the_model_does(bench: Bench, tiny: Model) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    tokens = [1, 40, 41, 50, 7, 99]
    out = bench.run(Genai(), tiny, {}, "fp32")
    with torch.no_grad():
        wanted = AutoModelForCausalLM.from_pretrained(tiny.path)(torch.tensor([tokens])).logits[0]
    assert logits(out, tokens) == pytest.approx(wanted.numpy(), abs=1e-4)


def test_folder_is_complete_repeatable_and_of_no_machine(bench: Bench, tiny: Model) -> None:
    one, two = (bench.run(Genai(), tiny, INT4, name) for name in ("one", "two"))
    names = {p.name for p in one.iterdir()}
    assert names == {
        "model.onnx",
        "model.onnx.data",
        "genai_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        NOTE,
    }
    for name in names:
        content = (one / name).read_bytes()
        assert content == (two / name).read_bytes()
        for place in (tiny.path, bench.root):
            assert str(place).encode() not in content
    assert not [p for p in (bench.root / "one" / "scratch").rglob("*") if p.is_file()]


def test_bytes_do_not_depend_on_a_git_repository_around_the_builder(
    bench: Bench, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = subprocess.run

    def watched(*args: Any, **kwargs: Any) -> Any:
        done = real(*args, **{**kwargs, "check": False})
        asked.append(done.returncode)
        return real(*args, **kwargs)

    monkeypatch.setattr(subprocess, "run", watched)
    bench.run(Genai(), tiny, {}, "built")
    assert asked, "the builder does not ask git any more: drop the precaution"
    assert all(asked)


def _base(params: dict[str, Any]) -> dict[str, Any]:
    return {"precision": params.get("precision", "fp32")}


CHANGES: list[dict[str, Any]] = [
    *({**p, "block_size": n} for p in (INT4, INT8) for n in (16, 64, 128, 256)),
    {**INT8, "is_symmetric": False},
    *({**p, "algorithm": a} for p in (INT4, INT8) for a in ("rtn", "k_quant")),
    *({**INT4, "algorithm": a} for a in ("rtn_last", "k_quant_last", "k_quant_mixed")),
    {**INT4, "algorithm": "rtn", "is_symmetric": False},
    *({**p, "accuracy_level": n} for p in (INT4, INT8) for n in (0, 1, 2, 3)),
    *({**INT8, "shared_embeddings": True, "is_symmetric": s} for s in (None, False)),
    {**INT4, "is_symmetric": False},
    {**INT4, "matmul_mixed_precision": "last_matmul:int8"},
    {**INT4, "matmul_mixed_precision": "mixed_layers:int8"},
    {**INT4, "algorithm": "rtn", "matmul_mixed_precision": "last_matmul:int8,mixed_layers:int8"},
    *({**p, "nodes_to_exclude": ["/lm_head/MatMul"]} for p in (INT4, INT8)),
    *({**p, "shared_embeddings": False} for p in ({}, INT4)),
    {**INT4, "shared_embeddings": False, "is_symmetric": False},
    {**INT4, "shared_embeddings": False, "matmul_mixed_precision": "last_matmul:int8"},
    *({**p, "fuse_qkv": False} for p in ({}, INT4, INT8)),
    {**INT4, "nodes_to_exclude": ["/model/layers.0/attn/q_proj/MatMul"], "fuse_qkv": False},
    {**INT8, "nodes_to_exclude": ["/model/layers.1/attn/k_proj/MatMul"]},
    {**INT4, "nodes_to_exclude": [f"/model/layers.{i}/attn/v_proj/MatMul" for i in (0, 1)]},
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny: Model) -> dict[str, bytes]:
    """Weights of each precision's default build."""
    from paretune.data.context import Context

    found = {}
    for precision in ("fp32", "int8", "int4"):
        root = tmp_path_factory.mktemp(precision)
        (root / "out").mkdir()
        context = Context(root / "out", root, None)  # type: ignore[arg-type]
        Genai().run(tiny, GenaiParams(precision=precision), context)
        found[precision] = _weights(root / "out")
    return found


@pytest.mark.parametrize("params", CHANGES, ids=str)
def test_each_parameter_changes_the_bytes_and_the_build_runs(
    bench: Bench, tiny: Model, params: dict[str, Any], plain: dict[str, bytes]
) -> None:
    assert Genai().check(inspect(tiny.path), GenaiParams(**params), TargetInfo("x"), "cpu") is None
    out = bench.run(Genai(), tiny, params, "built")
    assert _weights(out) != plain[params.get("precision", "fp32")]
    assert len(generate(out, [1, 40, 41, 7])) == 3


REFUSED: list[dict[str, Any]] = [
    {"precision": "fp16"},
    {"precision": "bf16"},
    *(
        {**INT4, "nodes_to_exclude": [f"/model/layers.0/attn/{name}/MatMul"]}
        for name in ("q_proj", "v_proj")
    ),
]


@pytest.mark.parametrize("params", REFUSED, ids=str)
def test_what_check_refuses_really_does_not_load(
    bench: Bench, tiny: Model, params: dict[str, Any]
) -> None:
    """If one of these loads one day, its rule can go."""
    why = Genai().check(inspect(tiny.path), GenaiParams(**params), TargetInfo("x"), "cpu")
    assert why is not None
    out = bench.run(Genai(), tiny, params, "built")
    with pytest.raises(Exception, match=r"."):
        generate(out, [1, 40, 41, 7])


@pytest.mark.parametrize("params", [{**INT4, "is_symmetric": False}, INT4, {}], ids=str)
def test_untied_model_builds_and_runs(bench: Bench, tmp_path: Path, params: dict[str, Any]) -> None:
    model = open_model(make_tiny_llama(tmp_path / "untied", tied=False))
    assert Genai().check(inspect(model.path), GenaiParams(**params), TargetInfo("x"), "cpu") is None
    assert len(generate(bench.run(Genai(), model, params, "built"), [1, 40, 41, 7])) == 3


def test_odd_head_size_does_not_run_on_cpu(bench: Bench, tmp_path: Path) -> None:
    model = open_model(make_tiny_llama(tmp_path / "odd", head_dim=24))
    assert "multiples of 16" in (
        Genai().check(inspect(model.path), GenaiParams(), TargetInfo("x"), "cpu") or ""
    )
    out = bench.run(Genai(), model, {}, "built")
    with pytest.raises(Exception, match=r"."):
        generate(out, [1, 40, 41, 7])


@pytest.mark.parametrize(
    ("provider", "precision"),
    [("cuda", "fp16"), ("cuda", "bf16"), ("cuda", "int8"), ("cuda", "int4"), ("dml", "fp16")],
)
def test_builds_for_other_providers(
    bench: Bench, tiny: Model, provider: str, precision: str, plain: dict[str, bytes]
) -> None:
    """They are built here; whether they run is seen where such a device is."""
    out = bench.run(Genai(), tiny, {"precision": precision}, "built", provider=provider)
    assert _weights(out) not in plain.values()
    assert (out / "genai_config.json").is_file()


def test_node_to_exclude_that_is_not_there(bench: Bench, tiny: Model) -> None:
    params = {**INT4, "nodes_to_exclude": ["/lm_head"]}
    with pytest.raises(PassError, match="'/lm_head'") as caught:
        bench.run(Genai(), tiny, params, "built")
    assert "/lm_head/MatMul" in str(caught.value)


def test_unknown_architecture_is_a_pass_error(bench: Bench, tmp_path: Path) -> None:
    folder = make_tiny_llama(tmp_path / "strange")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["NewForCausalLM"]}))
    with pytest.raises(PassError, match="does not build NewForCausalLM"):
        bench.run(Genai(), open_model(folder), {}, "built")


def test_tokenizer_note_tells_what_is_left_out(bench: Bench, tiny: Model) -> None:
    import onnxruntime_genai as og
    from transformers import AutoTokenizer

    out = bench.run(Genai(), tiny, {}, "built")
    note = json.loads((out / NOTE).read_text())
    assert note == {"add_special_tokens": True, "prepend": [1]}
    reference, ours = AutoTokenizer.from_pretrained(tiny.path), og.Tokenizer(str(out))
    for text in TEXTS:
        wanted = reference(text)["input_ids"]
        assert [*note["prepend"], *(int(i) for i in ours.encode(text))] == wanted
    ours.update_options(add_special_tokens="true")
    for text in TEXTS:
        assert [int(i) for i in ours.encode(text)] == reference(text)["input_ids"]


def test_no_note_where_tokenizers_agree(bench: Bench, tmp_path: Path) -> None:
    model = open_model(make_tiny_llama(tmp_path / "plain", bos=False))
    assert not (bench.run(Genai(), model, {}, "built") / NOTE).exists()


def test_other_differences_are_noted_with_the_text(bench: Bench, tiny: Model) -> None:
    from transformers import AutoTokenizer

    out = bench.run(Genai(), tiny, {}, "built")
    reference = AutoTokenizer.from_pretrained(tiny.path)

    class Other:
        all_special_tokens: tuple[str, ...] = ()

        def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
            ids = reference(text, **options)["input_ids"]
            return {"input_ids": ids[:-1] if "tab" in text else ids}

    assert compare(Other(), out) == {"differs": True, "text": "a\ttab"}


@pytest.mark.parametrize("real", [False, pytest.param(True, id="stories260k")])
def test_a_tokenizer_that_puts_a_token_first(
    bench: Bench, tmp_path: Path, request: pytest.FixtureRequest, real: bool
) -> None:
    folder = (
        request.getfixturevalue("stories260k")
        if real
        else make_tiny_llama(tmp_path / "model", sentencepiece=True)
    )
    out = bench.run(Genai(), open_model(folder), INT4, "built")
    assert json.loads((out / NOTE).read_text()) == {"add_special_tokens": True, "prepend": [1]}
    assert len(generate(out, [1, 403, 407, 261, 378], 8)) == 8


def test_prediction_says_what_was_built(tiny: Model) -> None:
    info = inspect(tiny.path)
    predicted = Genai().predict(info, GenaiParams(precision="int4", block_size=64))
    assert predicted.precision == "int4"
    assert predicted.built_with["block_size"] == 64
    assert replace(predicted, kind=info.kind, precision="fp32", built_with={}, bytes=0) == replace(
        info, bytes=0
    )
