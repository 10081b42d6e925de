from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.core.device import TargetInfo
from paretune.core.errors import PassError
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.data.context import Context
from paretune.models.handle import folder_digest, inspect, open_model
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.matmul_nbits import MatMulNBits, MatMulNBitsParams
from paretune.passes.genai.options import GenaiParams
from tests.pass_bench import Bench, generate, logits

# onnxruntime's HQQ hands numpy's read-only view of a protobuf to torch, and only reads it.
pytestmark = pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")

TOKENS = [1, 40, 41, 50, 7, 99]


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory, tiny: Model) -> Model:
    root = tmp_path_factory.mktemp("fp32")
    (root / "out").mkdir()
    Genai().run(tiny, GenaiParams(), Context(root / "out", root, None))  # type: ignore[arg-type]
    return open_model(root / "out")


def _bits(folder: Path) -> dict[str, int]:
    """Return each matrix's bits, by the node's name in the fp32 build; 32: left alone."""
    import onnx

    found = {}
    for node in onnx.load(folder / "model.onnx", load_external_data=False).graph.node:
        if node.op_type == "MatMulNBits":
            attributes = {a.name: a.i for a in node.attribute}
            found[node.name.rsplit("_Q", 1)[0]] = attributes["bits"]
        elif node.op_type == "MatMul":
            found[node.name] = 32
    return found


def _refused(params: dict[str, Any]) -> bool:
    """Whether check refuses; only hqq with 8 bits is."""
    why = MatMulNBits().check(INFO, MatMulNBitsParams(**params), TargetInfo("x"), "cpu")
    assert (why is not None) == (
        params["algorithm"] == "hqq" and (params.get("bits") == 8 or "keep_8bit" in params)
    )
    return why is not None


def _weights(folder: Path) -> bytes:
    return (folder / "model.onnx").read_bytes() + (folder / "model.onnx.data").read_bytes()


@pytest.mark.parametrize("algorithm", ["default", "rtn", "k_quant", "hqq"])
@pytest.mark.parametrize("bits", [4, 8])
def test_every_algorithm_runs_and_stays_near_fp32(
    bench: Bench, fp32: Model, algorithm: str, bits: int
) -> None:
    import numpy as np

    params = {"algorithm": algorithm, "bits": bits}
    out = bench.run(MatMulNBits(), fp32, params, "built")
    assert set(_bits(out).values()) == {bits}
    if _refused(params):
        with pytest.raises(Exception, match="unquantized_zero_point"):
            generate(out, TOKENS)
        return
    assert len(generate(out, TOKENS)) == 3
    wanted, got = logits(fp32.path, TOKENS), logits(out, TOKENS)
    error = np.abs(got - wanted).mean() / np.abs(wanted).mean()
    assert 0 < error < (0.02 if bits == 8 else 0.4)


@pytest.mark.parametrize("algorithm", ["default", "rtn", "k_quant", "hqq"])
def test_exceptions_by_pattern(bench: Bench, fp32: Model, algorithm: str) -> None:
    params = {
        "algorithm": algorithm,
        "exclude": ["/model/layers.0/attn/*"],
        "keep_8bit": ["*/down_proj/MatMul", "/lm_head/MatMul"],
    }
    out = bench.run(MatMulNBits(), fp32, params, "built")
    bits = _bits(out)
    assert bits.keys() == _bits(fp32.path).keys()
    for name, width in bits.items():
        kept = name.endswith("down_proj/MatMul") or name == "/lm_head/MatMul"
        assert width == (32 if "layers.0/attn" in name else 8 if kept else 4), name
    if not _refused(params):
        assert len(generate(out, TOKENS)) == 3


def test_exclude_wins_over_keep_8bit(bench: Bench, fp32: Model) -> None:
    params = {"exclude": ["/lm_head/*"], "keep_8bit": ["*"]}
    bits = _bits(bench.run(MatMulNBits(), fp32, params, "built"))
    assert bits.pop("/lm_head/MatMul") == 32
    assert set(bits.values()) == {8}


CHANGES: list[dict[str, Any]] = [
    {"bits": 8},
    {"block_size": 16},
    {"block_size": 64},
    {"block_size": 128},
    {"block_size": 256},
    {"is_symmetric": False},
    {"algorithm": "rtn"},
    {"algorithm": "k_quant"},
    {"algorithm": "hqq"},
    {"accuracy_level": 0},
    {"accuracy_level": 1},
    {"exclude": ["*/q*_proj/*"]},
    {"keep_8bit": ["*/down_proj/*"]},
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, fp32: Model) -> bytes:
    root = tmp_path_factory.mktemp("plain")
    (root / "out").mkdir()
    context = Context(root / "out", root, None)  # type: ignore[arg-type]
    MatMulNBits().run(fp32, MatMulNBitsParams(), context)
    return _weights(root / "out")


@pytest.mark.parametrize("params", CHANGES, ids=str)
def test_each_parameter_changes_the_bytes_and_the_build_runs(
    bench: Bench, fp32: Model, params: dict[str, Any], plain: bytes
) -> None:
    out = bench.run(MatMulNBits(), fp32, params, "built")
    assert _weights(out) != plain
    assert len(generate(out, TOKENS)) == 3


@pytest.mark.parametrize(("provider", "levels"), [("cpu", {4}), ("cuda", {None})])
def test_activations_are_rounded_on_cpu_only(
    bench: Bench, fp32: Model, provider: str, levels: set[int | None]
) -> None:
    import onnx

    out = bench.run(MatMulNBits(), fp32, {}, "built", provider=provider)
    nodes = onnx.load(out / "model.onnx", load_external_data=False).graph.node
    found = [{a.name: a.i for a in n.attribute} for n in nodes if n.op_type == "MatMulNBits"]
    assert {attributes.get("accuracy_level") for attributes in found} == levels


def test_folder_is_complete_repeatable_and_its_own(bench: Bench, fp32: Model) -> None:
    before = folder_digest(fp32.path)
    one, two = (bench.run(MatMulNBits(), fp32, {}, name) for name in ("one", "two"))
    assert folder_digest(fp32.path) == before
    assert {p.name for p in one.iterdir()} == {p.name for p in fp32.path.iterdir()}
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes()
        assert not os.path.samefile(file, fp32.path / file.name)
    size, full = ((f / "model.onnx.data").stat().st_size for f in (one, fp32.path))
    assert size < 0.7 * full


def test_stale_external_data_of_another_name_is_left_behind(
    bench: Bench, fp32: Model, tmp_path: Path
) -> None:
    import onnx

    other = tmp_path / "other"
    other.mkdir()
    for file in fp32.path.iterdir():
        if not file.name.startswith("model.onnx"):
            (other / file.name).write_bytes(file.read_bytes())
    network = onnx.load(fp32.path / "model.onnx")
    onnx.save_model(network, other / "decoder.onnx", save_as_external_data=True, location="big.bin")
    config = json.loads((other / "genai_config.json").read_text())
    config["model"]["decoder"]["filename"] = "decoder.onnx"
    (other / "genai_config.json").write_text(json.dumps(config))
    out = bench.run(MatMulNBits(), open_model(other), {}, "built")
    assert not (out / "big.bin").exists()
    assert (out / "decoder.onnx.data").is_file()
    assert len(generate(out, TOKENS)) == 3


@pytest.mark.parametrize("name", ["exclude", "keep_8bit"])
def test_pattern_that_matches_nothing(bench: Bench, fp32: Model, name: str) -> None:
    with pytest.raises(PassError, match=rf"{name}: '\*/qproj/\*' matches no") as caught:
        bench.run(MatMulNBits(), fp32, {name: ["*/down_proj/*", "*/qproj/*"]}, "built")
    assert "/model/layers.0/attn/" in str(caught.value)
    assert "/lm_head/MatMul" in str(caught.value)


def test_nothing_in_fp32(bench: Bench, fp32: Model) -> None:
    once = open_model(bench.run(MatMulNBits(), fp32, {}, "once"))
    with pytest.raises(PassError, match="no matrix in fp32"):
        bench.run(MatMulNBits(), once, {}, "twice")


INFO = ModelInfo(
    ModelKind.GENAI, parameters=134_515_008, hidden_size=576, vocab_size=49152, tied=True
)


@pytest.mark.parametrize(
    ("params", "model", "why"),
    [
        ({}, replace(INFO, precision="int8"), "precision fp32; this one is int8"),
        ({"bits": 8, "keep_8bit": ["*"]}, INFO, "no effect with bits=8"),
        ({"algorithm": "k_quant", "is_symmetric": True}, INFO, "always has zero points"),
        ({"algorithm": "hqq", "is_symmetric": True}, INFO, "always has zero points"),
        ({"algorithm": "hqq", "accuracy_level": 4}, INFO, "no effect with hqq"),
    ],
    ids=str,
)
def test_check(params: dict[str, Any], model: ModelInfo, why: str) -> None:
    found = MatMulNBits().check(model, MatMulNBitsParams(**params), TargetInfo("x"), "cpu")
    assert why in (found or "")


def test_check_after_genai(tiny: Model) -> None:
    built = Genai().predict(inspect(tiny.path), GenaiParams())
    assert MatMulNBits().check(built, MatMulNBitsParams(), TargetInfo("x"), "cpu") is None


# Sizes that were measured on SmolLM2, in 10^6 bytes.
@pytest.mark.parametrize(
    ("params", "size_mb"), [({}, 203), ({"is_symmetric": False}, 205), ({"algorithm": "hqq"}, 220)]
)
def test_expected_size_is_near_the_measured_one(params: dict[str, Any], size_mb: float) -> None:
    guess = MatMulNBits().estimate(INFO, MatMulNBitsParams(**params), TargetInfo("x"))
    assert guess.bytes_out is not None
    assert guess.bytes_out / 1e6 == pytest.approx(size_mb, rel=0.08)


@pytest.mark.parametrize("shared", [None, False])
def test_a_head_that_stays_in_fp32_is_counted_once_where_it_is_shared(
    bench: Bench, tiny: Model, shared: bool | None
) -> None:
    fp32 = GenaiParams(shared_embeddings=shared)
    found = Genai().predict(inspect(tiny.path), fp32)
    source = open_model(bench.run(Genai(), tiny, fp32.model_dump(), "fp32"))
    params = {"exclude": ["/lm_head/MatMul"]}
    out = bench.run(MatMulNBits(), source, params, "built")
    size = sum(file.stat().st_size for file in out.iterdir())
    expected = MatMulNBits().predict(found, MatMulNBitsParams(**params)).bytes
    assert expected == pytest.approx(size, abs=22_000)  # of the graph, and not of a table


@pytest.mark.parametrize("name", ["exclude", "keep_8bit"])
def test_a_layer_that_was_dropped_is_refused_before_it_runs(tiny: Model, name: str) -> None:
    built = Genai().predict(inspect(tiny.path), GenaiParams())
    assert built.layers == 2

    def why(pattern: str) -> str | None:
        params = MatMulNBitsParams(**{name: [pattern]})
        return MatMulNBits().check(built, params, TargetInfo("x"), "cpu")

    assert f"{name} names layer 2, and what is built has 2" in str(why("*/layers.2/mlp/*"))
    for pattern in ("*/layers.1/mlp/*", "*/layers.2*", "*2/*"):
        assert why(pattern) is None
