"""No pickle is read: what holds one is refused with how to convert it, or left alone."""

import json
import pickle
import shutil
from pathlib import Path

import pytest

from paretune.config import load
from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import DataError, InvalidArtifactError, UsageError
from paretune.core.model import Model, ModelKind
from paretune.models.handle import open_model
from paretune.runtimes.package import lay_out
from paretune.runtimes.serving import open_session
from tests.rows import read_rows
from tests.security.conftest import Run
from tests.security.hostile import safetensors, write_genai, write_hugging_face, write_pickle

CPU = RuntimeSettings("cpu", 1)
PICKLES = (
    "pytorch_model.bin",
    "model.pt",
    "consolidated.00.pth",
    "last.ckpt",
    "weights.pkl",
    "weights.PICKLE",
)


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("decoy", [None, "decoy.safetensors"])
def test_a_model_with_pickled_weights_only(tmp_path: Path, name: str, decoy: str | None) -> None:
    """A loader that finds no safetensors under the usual names goes on and looks for pickles."""
    folder = write_hugging_face(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.unlink() if decoy is None else weights.rename(folder / decoy)
    write_pickle(folder / name, tmp_path / "sign")
    told = rf"found only pickled ones \({name}\)\n.*save_pretrained\('OUT'\)"
    with pytest.raises(UsageError, match=told):
        open_model(folder)
    with pytest.raises(InvalidArtifactError, match=told):
        open_session(Model(ModelKind.HF, folder, ""), CPU)
    assert not (tmp_path / "sign").exists()


def test_a_model_without_weights(tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"expected weights in .*, found none"):
        open_model(folder)


def test_an_adapter_with_pickled_weights_only(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    write_pickle(tmp_path / "adapter_model.bin", tmp_path / "sign")
    told = r"found only pickled ones \(adapter_model\.bin\)\n.*safetensors\.torch as s"
    with pytest.raises(UsageError, match=told):
        open_model(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(safetensors({}))
    assert open_model(tmp_path).kind is ModelKind.HF_ADAPTER


def test_merge_does_not_fall_back_to_a_pickled_adapter(run_job: Run, tmp_path: Path) -> None:
    base = Model(ModelKind.HF, write_hugging_face(tmp_path / "base"), "")
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1}))
    write_pickle(folder / "adapter_model.bin", tmp_path / "sign")
    model = Model(ModelKind.HF_ADAPTER, folder, "sha256:x", base)
    ended = run_job(
        "build",
        model=model.to_json(),
        recipe=[{"pass": "merge", "params": {}}],
        store=str(tmp_path / "store"),
    )
    assert ended.status == "failed"
    assert "found only pickled ones (adapter_model.bin)" in (ended.reason or "")
    assert not (tmp_path / "sign").exists()


def test_the_model_builder_does_not_fall_back_to_pickled_weights(
    run_job: Run, llama: Path, tmp_path: Path
) -> None:
    """In the worker, too: a pass from elsewhere may have written the model."""
    shutil.copytree(llama, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model" / "decoy.safetensors")
    write_pickle(tmp_path / "model" / "pytorch_model.bin", tmp_path / "sign")
    ended = run_job(
        "build",
        model=Model(ModelKind.HF, tmp_path / "model", "sha256:x").to_json(),
        recipe=[{"pass": "genai", "params": {"precision": "fp32"}}],
        store=str(tmp_path / "store"),
    )
    assert ended.status == "failed"
    assert not (tmp_path / "sign").exists()
    assert "found only pickled ones (pytorch_model.bin)" in (ended.reason or "")


@pytest.mark.parametrize("link", [False, True])
def test_a_pickle_beside_safetensors_stays_out_of_the_package(tmp_path: Path, link: bool) -> None:
    folder = write_hugging_face(tmp_path / "model")
    for name in (*PICKLES, "training_args.bin"):
        write_pickle(folder / name, tmp_path / "sign")
    package = lay_out(open_model(folder), CPU, tmp_path / "package", link=link)
    assert {p.name for p in package.path.iterdir()} == {"config.json", "model.safetensors"}
    assert not (tmp_path / "sign").exists()


def test_weights_of_an_onnx_model_may_be_called_bin(tmp_path: Path) -> None:
    import onnx
    from onnx import helper, numpy_helper

    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(_ones(), "w")])
    onnx.save_model(
        helper.make_model(graph),
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    folder = write_genai(tmp_path / "model", (tmp_path / "m.onnx").read_bytes())
    (tmp_path / "weights.bin").rename(folder / "weights.bin")
    write_pickle(folder / "pytorch_model.bin", tmp_path / "sign")
    package = lay_out(open_model(folder), CPU, tmp_path / "package", link=True)
    assert (package.path / "weights.bin").is_file()
    assert not (package.path / "pytorch_model.bin").exists()


def _ones() -> object:
    import numpy as np

    return np.ones(600, dtype=np.float32)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pkl", ".pickle", ".pt", ".pth", ".NPY"])
def test_a_data_file_that_may_be_pickled(tmp_path: Path, suffix: str) -> None:
    file = write_pickle(tmp_path / f"rows{suffix}", tmp_path / "sign")
    with pytest.raises(DataError, match=r"files are not read\n.*pickled objects.*to_parquet"):
        read_rows(file)
    assert not (tmp_path / "sign").exists()


def test_a_numpy_array_of_objects_is_not_read_as_something_else(tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "rows.npy", np.array([{"a": 1}, None], dtype=object))
    for format in ("json", "jsonl", "csv", "parquet", "text"):
        with pytest.raises(DataError, match=r"not UTF-8|not a Parquet file"):
            read_rows(tmp_path / "rows.npy", format)


def test_a_text_in_portuguese_is_no_pickle(tmp_path: Path) -> None:
    (tmp_path / "corpus.pt").write_text("olá\nmundo\n", encoding="utf-8")
    assert read_rows(tmp_path / "corpus.pt", "text") == [{"text": "olá"}, {"text": "mundo"}]


def test_the_configuration_tells_how_to_convert_its_data(tmp_path: Path) -> None:
    write_pickle(tmp_path / "rows.npy", tmp_path / "sign")
    write_hugging_face(tmp_path / "model")
    (tmp_path / "c.yaml").write_text(
        "model: model\n"
        "data: {d: {file: rows.npy, text: '{text}'}}\n"
        "evaluate: [{perplexity: {data: d}}]\n"
        "objectives: {minimize: perplexity}\n"
    )
    with pytest.raises(DataError, match=r"data set 'd': .*rows\.npy: \.npy files are not read"):
        load(tmp_path / "c.yaml")


def test_a_type_that_once_was_unpickled_from_parquet_is_not(tmp_path: Path) -> None:
    """Arrow before 14.0.1 unpickled the metadata of such a column (CVE-2023-47248)."""
    import pyarrow
    import pyarrow.parquet

    write_pickle(tmp_path / "type", tmp_path / "sign")
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": (tmp_path / "type").read_bytes(),
    }
    field = pyarrow.field("text", pyarrow.string(), metadata=metadata)
    table = pyarrow.table({"text": ["a"]}, schema=pyarrow.schema([field]))
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    (row,) = read_rows(tmp_path / "rows.parquet")
    assert str(row["text"]) == "a"
    assert not (tmp_path / "sign").exists()


def test_the_bait_works(tmp_path: Path) -> None:
    pickle.loads(write_pickle(tmp_path / "bait", tmp_path / "sign").read_bytes())
    assert (tmp_path / "sign").exists()
