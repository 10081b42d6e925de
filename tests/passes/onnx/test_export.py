"""What is exported computes what PyTorch computes, in other sizes too; what is not fails."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from paretune.core.device import TargetInfo
from paretune.core.errors import PassError
from paretune.core.fidelity import Fidelity, Verdict
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.models.handle import open_model
from paretune.models.torch_network import TorchNetwork
from paretune.passes.onnx import export
from paretune.passes.onnx.export import OnnxExport, OnnxExportParams
from paretune.targets.worker.compared_arrays import compare_arrays
from paretune.targets.worker.compared_cache import ComparedCache
from tests.pass_bench import Bench
from tests.tiny_encoders import make_tiny_encoder

OLDER = {"dynamo": False, "opset": 17}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    root = tmp_path_factory.mktemp("encoders")
    names = ("bert", "distilbert", "vit", "resnet")
    return {name: open_model(make_tiny_encoder(root / name, name)) for name in names}


def compared(bench: Bench, built: Path, source: Model, name: str) -> Verdict:
    made = open_model(built)
    assert made.kind is ModelKind.ONNX
    cache = ComparedCache(bench.root / "compared")
    return compare_arrays(Fidelity.FP32, made, source, "the input", bench.contexts[name], cache)


@pytest.mark.parametrize("name", ["bert", "distilbert", "vit", "resnet"])
def test_the_older_exporter(encoders: dict[str, Model], bench: Bench, name: str) -> None:
    params = {**OLDER, "opset": 13} if name == "bert" else OLDER  # the oldest that is taken
    built = bench.run(OnnxExport(), encoders[name], params, name)
    verdict = compared(bench, built, encoders[name], name)
    assert verdict.valid
    assert verdict.compared is not None
    assert verdict.compared["output_error"] < 1e-4
    assert verdict.compared["runs"] >= (4 if name in ("bert", "distilbert") else 2)
    carried = {path.name for path in built.iterdir()}
    wanted = {path.name for path in encoders[name].path.iterdir()} - {"model.safetensors"}
    assert carried == wanted | {"model.onnx"}


def test_the_newer_exporter(
    encoders: dict[str, Model], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = export.load_encoder

    def training(*given: Any) -> TorchNetwork:
        found = right(*given)
        found.module.train()  # it would be exported with its dropout
        return found

    monkeypatch.setattr(export, "load_encoder", training)
    built = bench.run(OnnxExport(), encoders["bert"], {"opset": 20}, "newer")
    verdict = compared(bench, built, encoders["bert"], "newer")
    assert verdict.valid
    network = onnx.load(str(built / "model.onnx"))
    assert network.opset_import[0].version == 20
    shapes = {
        each.name: [d.dim_param or d.dim_value for d in each.type.tensor_type.shape.dim]
        for each in (*network.graph.input, *network.graph.output)
    }
    assert shapes["input_ids"] == ["batch", "sequence"]
    assert shapes["logits"] == ["batch", 3]
    text = (built / "model.onnx").read_bytes()
    assert str(Path(export.__file__).parent).encode() not in text  # no places in source code


def test_an_export_of_other_weights_is_invalid(
    encoders: dict[str, Model], bench: Bench, tmp_path: Path
) -> None:
    other = open_model(make_tiny_encoder(tmp_path / "other", "bert", seed=1))
    built = bench.run(OnnxExport(), other, OLDER, "other")
    verdict = compared(bench, built, encoders["bert"], "other")
    assert not verdict.valid
    assert "computes something else than the input" in (verdict.reason or "")


def test_what_does_not_load_is_a_failed_pass(
    encoders: dict[str, Model], bench: Bench, tmp_path: Path
) -> None:
    shutil.copytree(encoders["bert"].path, tmp_path / "broken")
    config = tmp_path / "broken" / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 16', '"hidden_size": 32'))
    with pytest.raises(PassError, match="does not load with AutoModelForSequenceClassification"):
        bench.run(OnnxExport(), open_model(tmp_path / "broken"), OLDER, "broken")


@pytest.mark.parametrize(
    ("params", "info", "why"),
    [
        ({"dynamo": True, "opset": 17}, {}, "writes opset 18 and later, not 17"),
        ({"dynamo": False, "opset": 21}, {}, "writes opset 20 at most, not 21"),
        ({"dynamo": False}, {"parameters": 1 << 30}, "one message of at most 2 GB"),
        ({}, {"quantized": "gptq"}, "quantized already"),
        ({}, {}, None),
    ],
)
def test_what_cannot_work_is_refused_before_it_runs(
    params: dict[str, object], info: dict[str, object], why: str | None
) -> None:
    model = ModelInfo(ModelKind.HF_ENCODER, **info)  # type: ignore[arg-type]
    target = TargetInfo("local", cores=2, memory=16 << 30, memory_free=8 << 30)
    found = OnnxExport().check(model, OnnxExportParams(**params), target, "cpu")
    assert (found is None) if why is None else (why in (found or ""))
