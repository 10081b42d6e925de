from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from paretune.core.jsontools import read_json, write_json
from paretune.core.model import Model, ModelKind
from paretune.models.handle import open_model
from paretune.models.structure import (
    SMALL,
    adapter_structure,
    network_structure,
    structure_of,
)
from tests.onnx_networks import write_network
from tests.pass_bench import Bench, FakeCatalog
from tests.tiny_models import make_tiny_llama

Built = Callable[..., str | None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return the structure of a real build of a tiny model; each is built once."""
    from paretune.passes.genai.genai import Genai

    bench = Bench(tmp_path_factory.mktemp("structure"), FakeCatalog({}))
    parents: dict[str, Model] = {}
    known: dict[str, str | None] = {}

    def make(seed: int = 0, tied: bool = True, **params: Any) -> str | None:
        parent, name = f"{seed}{tied}", f"{seed}{tied}{params}"
        if parent not in parents:
            folder = bench.root / parent
            parents[parent] = open_model(make_tiny_llama(folder, seed, tied=tied))
        if name not in known:
            out = bench.run(Genai(), parents[parent], params, f"build{name}")
            known[name] = structure_of(open_model(out))
        return known[name]

    return make


@pytest.mark.parametrize(
    "params",
    [
        {"precision": "fp32"},
        {"precision": "int8"},
        {"precision": "int4"},
        {"precision": "int4", "block_size": 128, "is_symmetric": False},  # few scales
        {"precision": "int4", "algorithm": "k_quant"},
    ],
    ids=str,
)
def test_builds_of_other_weights_are_of_one_structure(built: Built, params: dict[str, Any]) -> None:
    first, other = built(0, **params), built(1, **params)
    assert first is not None
    assert first == other


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "fp32"},
        {"precision": "int8"},
        {"block_size": 64},
        {"accuracy_level": 1},
        {"is_symmetric": False},
        {"tied": False},
    ],
    ids=str,
)
def test_what_a_speed_may_depend_on_makes_another_structure(
    built: Built, change: dict[str, Any]
) -> None:
    base = {"precision": "int4", "block_size": 32, "accuracy_level": 4}
    assert built(0, **base) != built(0, **{**base, **change})


def write(
    folder: Path,
    tensors: Mapping[str, np.ndarray[Any, Any]],
    *,
    external: bool = False,
    threshold: int = 0,
    doc: str = "",
    checksum: str | None = None,
    axis: int = 0,
) -> Path:
    """Write a network that only holds tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    name = next(iter(tensors))
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["y"], axis=axis)],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [numpy_helper.from_array(value, key) for key, value in tensors.items()],
        doc_string=doc,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    file = folder / "model.onnx"
    onnx.save(
        model,
        file,
        save_as_external_data=external,
        location="model.onnx.data",
        size_threshold=threshold,
    )
    if checksum is not None:
        model = onnx.load(file, load_external_data=False)
        tensor = next(t for t in model.graph.initializer if t.name == name)
        entry = tensor.external_data.add()
        entry.key, entry.value = "checksum", checksum
        file.write_bytes(model.SerializeToString())
    return file


def ones(count: int, kind: Any = np.float32, value: float = 1) -> np.ndarray[Any, Any]:
    return np.full(count, value, dtype=kind)


@given(
    count=st.sampled_from([1, 2, SMALL - 1, SMALL, SMALL + 1, 4000]),
    external=st.booleans(),
    kind=st.sampled_from([np.float32, np.float16, np.uint8, np.int8, np.int32]),
)
def test_values_count_of_small_tensors_only(
    tmp_path_factory: pytest.TempPathFactory, count: int, external: bool, kind: Any
) -> None:
    folder = tmp_path_factory.mktemp("n")
    one, other = (
        network_structure(
            write(folder / str(value), {"w": ones(count, kind, value)}, external=external)
        )
        for value in (1, 2)
    )
    assert (one == other) is (count >= SMALL)


@pytest.mark.parametrize("kind", [np.int64, np.bool_])
def test_large_tables_and_masks_count_by_their_values(tmp_path: Path, kind: Any) -> None:
    one, other = (
        network_structure(write(tmp_path / str(v), {"w": ones(2 * SMALL, kind, v)})) for v in (0, 1)
    )
    assert one != other


def test_shapes_types_names_attributes_and_places_count(tmp_path: Path) -> None:
    large = ones(4 * SMALL)
    found = {
        network_structure(write(tmp_path / str(number), tensors, **more))
        for number, (tensors, more) in enumerate(
            [
                ({"w": large}, {}),
                ({"w": large.reshape(4, -1)}, {}),
                ({"w": large.astype(np.float16)}, {}),
                ({"v": large}, {}),
                ({"w": large, "u": large}, {}),
                ({"w": large}, {"axis": -1}),
                ({"w": large}, {"external": True}),
            ]
        )
    }
    assert len(found) == 7


def test_documentation_and_checksums_do_not_count(tmp_path: Path) -> None:
    plain = write(tmp_path / "a", {"w": ones(SMALL)}, external=True)
    told = write(tmp_path / "b", {"w": ones(SMALL)}, external=True, doc="of seed 3", checksum="1f")
    assert network_structure(plain) == network_structure(told)


def test_tensors_that_share_their_memory_are_another_structure(tmp_path: Path) -> None:
    tensors = {"w": ones(SMALL), "v": ones(SMALL)}
    file = write(tmp_path, tensors, external=True)
    apart = network_structure(file)
    model = onnx.load(file, load_external_data=False)
    first, second = model.graph.initializer
    del second.external_data[:]
    second.external_data.extend(first.external_data)
    file.write_bytes(model.SerializeToString())
    assert network_structure(file) != apart


def test_the_pattern_of_a_sparse_tensor_counts_and_its_values_do_not(tmp_path: Path) -> None:
    def sparse(name: str, value: float, step: int) -> str:
        count = 2 * SMALL
        values = helper.make_tensor("s", TensorProto.FLOAT, [count], [value] * count)
        places = [step * n for n in range(count)]
        indices = helper.make_tensor("i", TensorProto.INT64, [count], places)
        tensor = helper.make_sparse_tensor(values, indices, [4 * count])
        graph = helper.make_graph([], "g", [], [], sparse_initializer=[tensor])
        file = tmp_path / name
        file.write_bytes(helper.make_model(graph).SerializeToString())
        return network_structure(file)

    assert sparse("a", 1.0, 1) == sparse("b", 2.0, 1) != sparse("c", 1.0, 2)


def test_tensors_in_attributes_and_subgraphs_are_found(tmp_path: Path) -> None:
    def nested(name: str, value: float, small: float) -> str:
        large = helper.make_tensor("t", TensorProto.FLOAT, [SMALL], [value] * SMALL)
        few = helper.make_tensor("f", TensorProto.FLOAT, [1], [small])
        constant = helper.make_node("Constant", [], ["c"], value=large)
        inner = helper.make_graph([constant], "inner", [], [], [few])
        outer = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
        file = tmp_path / name
        model = helper.make_model(helper.make_graph([outer], "g", [], []))
        file.write_bytes(model.SerializeToString())
        return network_structure(file)

    assert nested("a", 1.0, 1.0) == nested("b", 2.0, 1.0) != nested("c", 1.0, 2.0)


def test_scales_and_zero_points_belong_to_their_matrix(tmp_path: Path) -> None:
    def quantized(name: str, size: int, scale: float) -> str:
        tensors = {
            "b": np.zeros((size, 1, 16), np.uint8),
            "scales": np.full(size, scale, np.float32),
            "zeros": np.full(size, int(scale), np.uint8),
            "bias": np.full(size, 1, np.float32),
        }
        node = helper.make_node(
            "MatMulNBits", ["x", "b", "scales", "zeros"], ["y"], domain="com.microsoft", K=32
        )
        held = [numpy_helper.from_array(value, key) for key, value in tensors.items()]
        file = tmp_path / name
        model = helper.make_model(helper.make_graph([node], "g", [], [], held))
        file.write_bytes(model.SerializeToString())
        return network_structure(file)

    assert quantized("a", 64, 1.0) == quantized("b", 64, 2.0)
    assert quantized("c", 32, 1.0) != quantized("d", 32, 2.0)  # the matrix itself is small


def adapter(file: Path, rank: int, value: float, name: str = "layer.lora_A.weight") -> str:
    import onnxruntime

    found = onnxruntime.AdapterFormat()
    found.set_adapter_version(1)
    found.set_model_version(1)
    matrix = np.full((8, rank), value, dtype=np.float32)
    found.set_parameters({name: onnxruntime.OrtValue.ortvalue_from_numpy(matrix)})
    found.export_adapter(str(file))
    return adapter_structure(file)


def test_an_adapter_counts_by_its_shapes(tmp_path: Path) -> None:
    first = adapter(tmp_path / "a", 4, 1.0)
    assert first == adapter(tmp_path / "b", 4, 2.0)
    assert first != adapter(tmp_path / "c", 8, 1.0)
    assert first != adapter(tmp_path / "d", 4, 1.0, "layer.lora_B.weight")


def test_a_folder_counts_with_its_settings_and_other_files(tmp_path: Path) -> None:
    def folder(name: str, seed: int = 0, **files: str) -> str | None:
        place = write_network(tmp_path / name, width=80, seed=seed)
        for file, text in files.items():
            (place / file).write_text(text)
        return structure_of(open_model(place))

    first = folder("a")
    assert first is not None
    assert first == folder("b")
    assert first != folder("c", seed=1)  # its second matrix is small
    assert first != folder("d", labels="joy")


def test_the_order_of_settings_does_not_count_and_their_values_do(
    tmp_path: Path, tiny_genai: Model
) -> None:
    first = structure_of(tiny_genai)
    folder = tmp_path / "genai"
    shutil.copytree(tiny_genai.path, folder)
    settings = read_json(folder / "genai_config.json")
    write_json(folder / "genai_config.json", dict(reversed(settings.items())))
    assert structure_of(open_model(folder)) == first
    settings["search"]["past_present_share_buffer"] = False
    write_json(folder / "genai_config.json", settings)
    assert structure_of(open_model(folder)) != first


def test_a_kind_of_another_package_may_tell_it(
    tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paretune.models import structure

    told = SimpleNamespace(structure=lambda model: f"of {model.digest}")
    for kind, found in ((told, f"of {tiny.digest}"), (SimpleNamespace(), None)):
        monkeypatch.setattr(structure, "kind_named", lambda name, kind=kind: kind)
        assert structure_of(tiny) == found


def test_a_kind_without_a_structure_and_a_damaged_file_have_none(
    tmp_path: Path, tiny: Model
) -> None:
    assert structure_of(tiny) is None
    (tmp_path / "model.onnx").write_bytes(b"\xff" * 8)
    assert structure_of(Model(ModelKind.ONNX, tmp_path, "sha256:0")) is None
    (tmp_path / "model.onnx").unlink()
    write(tmp_path, {"w": ones(SMALL), "b": ones(1)}, external=True)
    (tmp_path / "model.onnx.data").unlink()
    assert structure_of(Model(ModelKind.ONNX, tmp_path, "sha256:0")) is None
    (tmp_path / "model.onnx").unlink()
    (tmp_path / "tuned.onnx_adapter").write_bytes(b"GAIL")
    with pytest.raises(ValueError, match="no adapter of ONNX Runtime"):
        adapter_structure(tmp_path / "tuned.onnx_adapter")
