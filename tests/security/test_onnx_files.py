"""Every file that an ONNX model names is found, wherever it stands; absurd models end well."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from paretune.core.errors import UsageError
from paretune.models import onnx_files
from paretune.models.handle import open_model
from paretune.models.onnx_files import INSIDE, MAX_BYTES, external_files


def test_the_table_of_fields_is_that_of_the_installed_onnx() -> None:
    """Nothing that can hold external data is passed over, in a later release either."""
    inside: dict[str, dict[int, str]] = {}
    pending = [onnx.ModelProto.DESCRIPTOR]
    while pending:
        message = pending.pop()
        if message.name in inside:
            continue
        inner = {f.number: f.message_type for f in message.fields if f.message_type is not None}
        inside[message.name] = {number: found.name for number, found in inner.items()}
        pending += inner.values()
    leads = {"TensorProto"}
    while True:
        more = {name for name, fields in inside.items() if leads.intersection(fields.values())}
        if more <= leads:
            break
        leads |= more
    expected = {
        name: {number: inner for number, inner in inside[name].items() if inner in leads}
        for name in leads - {"TensorProto"}
    }
    external = onnx.TensorProto.DESCRIPTOR.fields_by_name["external_data"].number
    expected["TensorProto"] = {external: "StringStringEntryProto"}
    assert expected == INSIDE


def tensor(location: str) -> Any:
    made = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    made.data_location = TensorProto.EXTERNAL
    made.external_data.add(key="offset", value="0")
    made.external_data.add(key="location", value=location)
    return made


def graph(*nodes: Any, **fields: Any) -> Any:
    return helper.make_graph(list(nodes), "g", [], [], **fields)


def model(made: Any, **fields: Any) -> Any:
    return helper.make_model(made, **fields)


def constant(location: str) -> Any:
    return helper.make_node("Constant", [], ["c"], value=tensor(location))


def branch(inner: Any) -> Any:
    return helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=graph())


def function(*nodes: Any) -> Any:
    return helper.make_function("d", "f", [], [], list(nodes), [helper.make_opsetid("", 21)])


def with_training(made: Any) -> Any:
    made.training_info.add().algorithm.CopyFrom(graph(initializer=[tensor("training")]))
    return made


def with_sparse(made: Any) -> Any:
    sparse = made.graph.sparse_initializer.add()
    sparse.values.CopyFrom(tensor("values"))
    sparse.indices.CopyFrom(tensor("indices"))
    return made


def with_defaults(made: Any) -> Any:
    made.attribute_proto.add(name="a").tensors.append(tensor("default"))
    return made


PLACES: dict[str, tuple[Any, list[str]]] = {
    "initializer": (model(graph(initializer=[tensor("a"), tensor("b")])), ["a", "b"]),
    "attribute": (model(graph(constant("a"))), ["a"]),
    "subgraph": (model(graph(branch(graph(branch(graph(initializer=[tensor("a")])))))), ["a"]),
    "function": (model(graph(), functions=[function(branch(graph(constant("a"))))]), ["a"]),
    "function default": (model(graph(), functions=[with_defaults(function())]), ["default"]),
    "training": (with_training(model(graph())), ["training"]),
    "sparse": (with_sparse(model(graph())), ["indices", "values"]),
    "nowhere": (model(graph(helper.make_node("Add", ["a", "b"], ["c"], note="location"))), []),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_name_is_found_wherever_it_stands(tmp_path: Path, place: str) -> None:
    made, names = PLACES[place]
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    assert sorted(external_files(tmp_path / "m.onnx")) == names
    if names:
        with pytest.raises(UsageError, match=r"m\.onnx: external data names '\w+'"):
            open_model(tmp_path)
        for name in names:
            (tmp_path / name).write_bytes(bytes(4))
    assert open_model(tmp_path).kind == "onnx"


@pytest.mark.parametrize("name", ["../w", "/w", "a/../../w", "*/_ORT_MEM_ADDR_/*", "C:\\w"])
def test_external_data_may_not_lead_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "w").write_bytes(bytes(4))
    (tmp_path / "m").mkdir()
    made = model(graph(branch(graph(initializer=[tensor(name)]))))
    (tmp_path / "m" / "m.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(UsageError, match="external data names"):
        open_model(tmp_path / "m")


def test_both_values_of_an_entry_that_is_given_twice_count(tmp_path: Path) -> None:
    entry = _field(1, b"location") + _field(2, b"a") + _field(2, b"../b")
    (tmp_path / "m.onnx").write_bytes(_field(7, _field(5, _field(13, entry))))
    assert sorted(external_files(tmp_path / "m.onnx")) == ["../b", "a"]


def test_a_model_that_nests_too_deep_is_refused(tmp_path: Path) -> None:
    """Built by hand: protobuf's own parser refuses as much, if not every one that follows does."""
    content = b""
    for _ in range(40):
        for number in (6, 5, 1):  # a graph in an attribute in a node
            content = _field(number, content)
    (tmp_path / "m.onnx").write_bytes(_field(7, content))
    with pytest.raises(UsageError, match="nested deeper than 100 messages"):
        external_files(tmp_path / "m.onnx")


def _field(number: int, content: bytes) -> bytes:
    length, size = b"", len(content)
    while size >= 0x80:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def test_a_model_that_is_larger_than_protobuf_can_be_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "m.onnx", "wb") as file:
        file.truncate(MAX_BYTES + 1)  # takes no space on disk
    with pytest.raises(UsageError, match=r"at most 2147483647\n.*save_as_external_data=True"):
        open_model(tmp_path)


def test_a_model_of_countless_parts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_files, "_MAX_FIELDS", 1000)
    (tmp_path / "m.onnx").write_bytes(b"\x08\x01" * 1001)
    with pytest.raises(UsageError, match="more than 1000 fields"):
        external_files(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",  # a number that is not there
        b"\x08" + b"\xff" * 11,  # a number without an end
        b"\x3a\x7f",  # a graph beyond the end of the file
        b"\x0b",  # a group
        b"\x00\x00",  # field number 0
        b"\x09abc",
        b"\x0dabc",
        _field(7, _field(5, b"\x6a\x03\x0a\x7fa")),  # a text beyond the end of its tensor
        _field(7, _field(5, _field(13, _field(1, b"location") + _field(2, b"\xff")))),
        b"version https://git-lfs.github.com/spec/v1\n",
        b"<!doctype html>",
    ],
)
def test_what_is_no_model_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(UsageError, match=r"m\.onnx: not an ONNX file"):
        open_model(tmp_path)


def test_a_folder_that_is_called_as_a_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(UsageError, match="not a file at all"):
        open_model(tmp_path)
