"""A network that is named by its file, with sizes and state: signature, names, folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from paretune.config import load
from paretune.core.errors import UsageError
from paretune.models.declared_network import FILE, DeclaredNetwork, read_declared
from paretune.models.handle import open_model
from paretune.models.network_folder import network_folder
from paretune.models.onnx_signature import Value, signature_of
from tests.onnx_networks import write_memory, write_network

STATE = DeclaredNetwork({"batch": 2, "x[1]": 3}, {"after": "before"})


def test_a_signature_is_what_onnx_reads(tmp_path: Path) -> None:
    shapes = {"a": ["n", 0, None, 3], "b": [], "c": None}
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape)
        for name, shape in shapes.items()
    ]
    text = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, ["n"])
    weight = helper.make_tensor("w", TensorProto.DOUBLE, [1], [1.0])
    listed = helper.make_tensor_value_info("w", TensorProto.DOUBLE, [1])
    out = helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)
    node = helper.make_node("Add", ["b", "w"], ["y"])
    graph = helper.make_graph([node], "g", [*inputs, text, listed], [out], [weight])
    onnx.save(helper.make_model(graph), tmp_path / "n.onnx")
    found = signature_of(tmp_path / "n.onnx")
    assert found.inputs == {
        "a": Value(TensorProto.DOUBLE, ("n", 0, None, 3)),
        "b": Value(TensorProto.DOUBLE, ()),
        "c": Value(TensorProto.DOUBLE, None),
        "s": Value(0, None),
    }
    assert found.outputs == {"y": Value(TensorProto.DOUBLE, None)}
    assert found.inputs["a"].open_sizes("a") == {"n": 0, "a[2]": 2}


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        (DeclaredNetwork({"bath": 1}), r"no open size 'bath'; it has batch, x\[1\]"),
        (DeclaredNetwork(values={"y": 1}), "values: the network has no input 'y'"),
        (
            DeclaredNetwork(state={"after": "before"}, values={"before": 1}),
            "'before' is state",
        ),
        (DeclaredNetwork(values={"x": 1}), "'x' has the open size batch"),
        (DeclaredNetwork(state={"aftr": "before"}), "no output 'aftr'; it has y, after"),
        (DeclaredNetwork(state={"after": "befor"}), "no input 'befor'; it has x, before"),
        (DeclaredNetwork(state={"count": "before"}), "not of one type"),
        (DeclaredNetwork(state={"last": "before"}), "has 1 axes.* has 2"),
        (DeclaredNetwork(state={"after": "before", "y": "before"}), "two outputs"),
    ],
)
def test_what_a_network_does_not_have_is_refused(
    tmp_path: Path, declared: DeclaredNetwork, told: str
) -> None:
    file = write_memory(tmp_path / "n") / "model.onnx"
    with pytest.raises(UsageError, match=told) as refused:
        network_folder(file, declared, tmp_path / "store")
    if "no " in told and not declared.values:
        assert "Did you mean" in (refused.value.hint or "")
    assert not (tmp_path / "store").exists()


def test_a_file_becomes_a_folder_with_its_weights_and_nothing_else(tmp_path: Path) -> None:
    source = write_network(tmp_path / "n") / "model.onnx"
    network = onnx.load(source)
    file = source.rename(source.with_name("net.onnx"))
    onnx.save_model(network, file, save_as_external_data=True, location="w.bin", size_threshold=0)
    (file.parent / "rows.npz").write_bytes(b"data")
    plain = network_folder(file, DeclaredNetwork(), tmp_path / "store")
    assert plain.name == "net"
    assert {each.name for each in plain.iterdir()} == {"model.onnx", "w.bin"}
    assert network_folder(file, DeclaredNetwork(), tmp_path / "store") == plain
    sized = network_folder(file, DeclaredNetwork({"rows": 2}), tmp_path / "store")
    assert json.loads((sized / FILE).read_text()) == {"sizes": {"rows": 2}, "state": {}}
    assert open_model(sized).digest != open_model(plain).digest
    file.write_bytes(file.read_bytes() + helper.make_model(onnx.GraphProto()).SerializeToString())
    assert network_folder(file, DeclaredNetwork(), tmp_path / "store") != plain


def test_what_a_folder_says_already_is_kept(tmp_path: Path) -> None:
    folder = write_memory(tmp_path / "n")
    assert network_folder(folder, DeclaredNetwork(), tmp_path / "store") == folder
    (folder / FILE).write_text(json.dumps(STATE.to_json()))
    (folder / "labels.txt").write_text("a\n")
    found = network_folder(folder, DeclaredNetwork({"batch": 5}), tmp_path / "store")
    assert read_declared(found) == DeclaredNetwork({**STATE.sizes, "batch": 5}, STATE.state)
    assert (found / "labels.txt").is_file()
    (folder / FILE).write_text('{"sizes": {"batch": 0}}')
    with pytest.raises(UsageError, match="numbers above 0"):
        read_declared(folder)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("n/net.onnx", None),
        ({"path": "n/net.onnx", "sizes": {"batch": 2}, "state": {"after": "before"}}, None),
        ({"path": "n/net.onnx", "sizes": {"batch": 0}}, "model.sizes.batch: .*greater"),
        ({"path": "n/net.onnx", "values": {"x": "1"}}, "model.values.x"),
        ({"path": "n/net.onnx", "sise": {}}, "model.sise: unknown key"),
        ({"sizes": {"batch": 1}}, "the key 'path' is missing"),
        ({"path": "none.onnx"}, "no model folder 'none.onnx'"),
        ({"path": "n/net.onnx", "sizes": {"bath": 2}}, "no open size 'bath'"),
    ],
)
def test_a_configuration_names_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Any, told: str | None
) -> None:
    monkeypatch.setenv("PARETUNE_STORE", str(tmp_path / "store"))
    folder = write_memory(tmp_path / "n")
    (folder / "model.onnx").rename(folder / "net.onnx")
    config = {
        "model": model,
        "evaluate": ["latency"],
        "objectives": {"minimize": "latency_ms_p50"},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    if told is not None:
        with pytest.raises(UsageError, match=told):
            load(tmp_path / "c.yaml")
        return
    plan = load(tmp_path / "c.yaml")
    assert plan.model.parent.parent == tmp_path / "store" / "networks"
    wanted = DeclaredNetwork(model["sizes"], model["state"]) if isinstance(model, dict) else None
    assert read_declared(plan.model) == (wanted or DeclaredNetwork())
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(plan.to_json()))
    assert open_model(load(tmp_path / "again.yaml").model).digest == open_model(plan.model).digest
