"""Plain ONNX networks in ONNX Runtime: real ones, made by the test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import paretune
from onnx import TensorProto, helper

from paretune.core.candidate import Candidate, RuntimeSettings, describe
from paretune.core.errors import InvalidArtifactError, UsageError
from paretune.models.handle import open_model
from paretune.runtimes.base import Runs
from paretune.runtimes.package import lay_out
from paretune.runtimes.sample_program import write_sample
from paretune.runtimes.serving import load_session, open_session, required_runtime
from tests.onnx_networks import write_network

CPU = RuntimeSettings("cpu", 1)
LEVELS = ("disable", "basic", "extended", "all")


def network_of(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    found = onnx.load(folder / "model.onnx").graph.initializer
    w1, w2 = (onnx.numpy_helper.to_array(tensor) for tensor in found)
    return w1, w2


def write_graph(
    folder: Path, op: str, shape: list[str | int], kind: int, **attributes: int
) -> Path:
    """Write a network of one node, ``x`` to ``y``."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
    )
    folder.mkdir()
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(made, folder / "model.onnx")
    return folder


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_network_computes_what_it_says(tmp_path: Path, level: str, threads: int) -> None:
    folder = write_network(tmp_path / "n")
    settings = RuntimeSettings("cpu", threads, (("graph_optimization", level),))
    session = load_session(open_model(folder), settings)
    assert isinstance(session, Runs)
    x = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    w1, w2 = network_of(folder)
    found = session.run({"x": x})
    assert list(found) == ["y"]
    assert np.allclose(found["y"], np.maximum(x @ w1, 0) @ w2, atol=1e-5)


@pytest.mark.parametrize("inputs", [{}, {"z": [1.0]}, {"x": np.ones((2, 7), np.float32)}])
def test_arrays_that_do_not_fit_are_told(tmp_path: Path, inputs: dict[str, object]) -> None:
    session = load_session(open_model(write_network(tmp_path / "n")), CPU)
    with pytest.raises(InvalidArtifactError, match="loads, but does not run"):
        session.run(inputs)


def test_settings_have_names_and_values(tmp_path: Path) -> None:
    model = open_model(write_network(tmp_path / "n"))
    for options, told in (
        (("graph_optimization", "al"), "expected one of disable, basic, extended, all"),
        (("graph_optimisation", "all"), "no setting 'graph_optimisation'"),
    ):
        with pytest.raises(UsageError, match=told):
            load_session(model, RuntimeSettings("cpu", 1, (options,)))
    with pytest.raises(InvalidArtifactError, match="no DmlExecutionProvider"):
        load_session(model, RuntimeSettings("dml", 1))


def test_settings_survive_json_and_leave_what_was_as_it_was() -> None:
    assert CPU.to_json() == {"provider": "cpu", "threads": 1}
    settings = RuntimeSettings("cpu", 2, (("graph_optimization", "basic"),))
    candidate = Candidate((), settings)
    assert RuntimeSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert describe(candidate) == "unchanged @ cpu x2 graph_optimization=basic"
    assert candidate.digest != Candidate((), RuntimeSettings("cpu", 2)).digest


def test_what_needs_tokens_is_told_that_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidArtifactError, match="neither generates tokens nor scores"):
        open_session(open_model(write_network(tmp_path / "n")), CPU)


@pytest.mark.parametrize(
    ("op", "shape", "kind", "attributes", "ran"),
    [
        ("Relu", ["n", 4], TensorProto.FLOAT, {}, [1, 4]),
        ("Relu", [3, 4], TensorProto.FLOAT16, {}, [3, 4]),
        ("Neg", ["n", "m"], TensorProto.INT64, {}, [1, 1]),
        ("Not", [], TensorProto.BOOL, {}, []),
        ("SpaceToDepth", ["n", 3, "h", "w"], TensorProto.FLOAT, {"blocksize": 4}, [1, 48, 2, 2]),
        ("SpaceToDepth", ["n", 3, "h", "w"], TensorProto.FLOAT, {"blocksize": 5}, None),
    ],
)
def test_a_network_is_run_on_arrays_that_fit_it(
    tmp_path: Path,
    op: str,
    shape: list[str | int],
    kind: int,
    attributes: dict[str, int],
    ran: list[int] | None,
) -> None:
    model = open_model(write_graph(tmp_path / "n", op, shape, kind, **attributes))
    runtime = required_runtime(model.kind)
    found = runtime.smoke(model, runtime.load(model, CPU, False))
    assert found == {"outputs": None if ran is None else {"y": ran}}


def test_a_network_that_cannot_run_is_invalid(tmp_path: Path) -> None:
    folder = write_graph(
        tmp_path / "n", "SpaceToDepth", ["n", 3, 7, 7], TensorProto.FLOAT, blocksize=2
    )
    model = open_model(folder)
    runtime = required_runtime(model.kind)
    with pytest.raises(InvalidArtifactError, match=r"does not (run|load)"):
        runtime.smoke(model, runtime.load(model, CPU, False))


def test_what_is_no_network_is_invalid(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a")
    with pytest.raises(InvalidArtifactError, match="does not load"):
        load_session(open_model(tmp_path), CPU)


def test_a_package_runs_its_sample_program(tmp_path: Path) -> None:
    folder = write_network(tmp_path / "n")
    settings = RuntimeSettings("cpu", 2, (("graph_optimization", "basic"),))
    package = lay_out(open_model(folder), settings, tmp_path / "package", link=False)
    assert required_runtime(package.kind).configured_threads(package.path) == 2
    assert required_runtime(package.kind).configured_threads(folder) is None
    write_sample(package.path / "sample.py", "onnx", "unused", False, 8)
    x = np.random.default_rng(2).normal(size=(3, 8)).astype(np.float32)
    np.savez(tmp_path / "inputs.npz", x=x)
    np.savez(tmp_path / "other.npz", z=x)

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(package.path / "sample.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = ran("inputs.npz")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("y: shape [3, 3]\n")
    w1, w2 = network_of(folder)
    shown = done.stdout.partition("\n")[2].replace("[", " ").replace("]", " ").split()
    wanted = (np.maximum(x @ w1, 0) @ w2).reshape(-1)
    assert np.allclose([*map(float, shown)], wanted, atol=1e-4)
    without = ran()
    assert without.returncode == 0, without.stderr
    assert "taken as ones of shape [1, 8]\ny: shape [1, 3]" in without.stdout
    failed = ran("other.npz")
    assert failed.returncode == 1
    assert "has no array named x" in failed.stderr
    np.savez(tmp_path / "other.npz", x=x[:, :7])
    assert "does not run on these arrays" in ran("other.npz").stderr


@pytest.mark.slow
def test_a_search_over_a_network_ends_with_a_package_that_runs(tmp_path: Path) -> None:
    write_network(tmp_path / "network")
    config = {
        "model": "network",
        "passes": [],
        "evaluate": [{"footprint": {"loads": 1}}],
        "target": {"threads": [1, 2]},
        "objectives": {"minimize": "load_s"},
        "search": {"finals": 0},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    ended = paretune("search", "c.yaml", "--study", "study", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    results = json.loads((tmp_path / "study" / "results.json").read_text())
    assert [row["outcome"] for row in results["candidates"]] == ["ok", "ok"]
    assert results["candidates"][0]["metrics"]["load_s"]["value"] > 0
    best = tmp_path / "study" / "best"
    assert "sample.py inputs.npz" in (best / "model_card.md").read_text()
    command = [sys.executable, str(best / "sample.py")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "y: shape [1, 3]" in shown


def test_the_probe_loads_and_runs(tmp_path: Path) -> None:
    folder = write_network(tmp_path / "n")
    assert required_runtime(open_model(folder).kind).load_s(folder, RuntimeSettings()) > 0


@pytest.mark.parametrize(
    ("names", "file"), [(["a"], "a"), (["model", "other"], "model"), (["a", "b"], None)]
)
def test_which_file_is_the_network(tmp_path: Path, names: list[str], file: str | None) -> None:
    network = write_network(tmp_path / "n") / "model.onnx"
    content = network.read_bytes()
    network.unlink()
    for name in names:
        (network.parent / f"{name}.onnx").write_bytes(content)
    if file is None:
        with pytest.raises(UsageError, match=r"2 ONNX files in it: a\.onnx, b\.onnx"):
            load_session(open_model(network.parent), CPU)
    else:
        assert load_session(open_model(network.parent), CPU).run({"x": np.ones((1, 8), np.float32)})
