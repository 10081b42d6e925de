"""A PyTorch module that a function makes, and an exported program: described, refused, exported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.config.model_source import find_model, find_module
from paretune.config.plan import EvaluatorChoice
from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError, UsageError
from paretune.core.model import Model
from paretune.core.permissions import Permissions
from paretune.data.catalog import DataCatalog
from paretune.data.context import Context
from paretune.data.spec import DataSpec
from paretune.models.described_module import DescribedModule, ModuleInput, read_described
from paretune.models.handle import inspect, open_model
from paretune.passes.onnx.export import OnnxExport
from paretune.runtimes.package import lay_out
from paretune.runtimes.sample_program import write_sample
from paretune.runtimes.serving import load_session
from paretune.study.raw_rows import add_raw_rows, keep_raw_rows
from paretune.testing import check_kind

pytest.importorskip("torch", reason="torch is not installed")

CPU = RuntimeSettings("cpu", 1)
TRUSTED = Permissions(remote_code=True)
NETS = """
from pathlib import Path
import torch
import layers_of_it

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = layers_of_it.made()
        self.drop = torch.nn.Dropout(0.5)
        self.scale = float(Path(__file__).with_name("scale.txt").read_text())

    def forward(self, x, mask):
        h = self.drop(torch.relu(self.inner(x))) * mask.unsqueeze(-1)
        return {"sum": h.sum(1) * self.scale, "each": h}

def make():
    return Net()

def fails():
    raise RuntimeError("no weights")

def number():
    return 3

def nothing():
    import os
    os._exit(3)

class Odd(torch.nn.Module):
    def forward(self, x):
        return [x.sum(), "text"]

class Random(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.dropout(x, 0.5, training=True)

class Counting(torch.nn.Module):
    runs = 0
    def forward(self, x):
        self.runs += 1
        return x * self.runs

def drawn():
    torch.seed()
    return Drawn()

class Drawn(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(x)

class Wide(torch.nn.Module):
    def forward(self, x):
        return {0: x, 1: x.bfloat16()}

class Reused(torch.nn.Module):
    held = torch.zeros(2, 4)
    def forward(self, x):
        x.mul_(2)
        self.held.copy_(x)
        return {0: self.held}

class Two(torch.nn.Module):
    def forward(self, x, s):
        return x.sum(1) * s.sum()

def of_another_folder():
    return torch.load("weights.pt")

class Narrow(torch.nn.Module):
    def forward(self, x):
        return x.reshape(-1, 3)
"""
LAYERS = """
import torch
def made():
    torch.manual_seed(0)
    return torch.nn.Linear(4, 3)
"""
INPUTS = {
    "x": ModuleInput(("batch", "steps", 4)),
    "mask": ModuleInput(("batch", "steps")),
}


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARETUNE_STORE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    (folder / "nets.py").write_text(NETS)
    (folder / "layers_of_it.py").write_text(LAYERS)
    (folder / "scale.txt").write_text("2.5")
    return folder


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return find_module("nets.py:make", INPUTS, ["scale.txt"], root, TRUSTED)


def exported(model: Any, out: Path, **params: Any) -> Model:
    (out / "scratch").mkdir(parents=True)
    (out / "made").mkdir()
    catalog = DataCatalog({}, out)
    context = Context(out / "made", out / "scratch", catalog, permissions=TRUSTED)
    OnnxExport().run(model, OnnxExport.Params(**params), context)
    return open_model(out / "made")


def expected(x: Any, mask: Any) -> Any:
    import torch

    torch.manual_seed(0)
    inner = torch.nn.Linear(4, 3)
    with torch.inference_mode():
        each = torch.relu(inner(torch.tensor(x))) * torch.tensor(mask).unsqueeze(-1)
    return each.sum(1).numpy() * 2.5


def arrays(rows: int, steps: int) -> dict[str, Any]:
    draw = np.random.default_rng(steps)
    return {
        "x": draw.normal(size=(rows, steps, 4)).astype(np.float32),
        "mask": np.ones((rows, steps), np.float32),
    }


def test_a_module_is_described_and_its_digest_covers_its_code(root: Path, folder: Path) -> None:
    said = read_described(folder)
    assert said.outputs == ("sum", "each")
    assert inspect(folder).parameters == 15
    check_kind("module", folder)
    assert {path.name for path in open_model(folder).parts} == {
        "nets.py",
        "layers_of_it.py",
        "scale.txt",
        "paretune_module.json",
    }
    assert find_module("nets.py:make", INPUTS, ["scale.txt"], root, TRUSTED) == folder
    session = load_session(open_model(folder), CPU, trust_remote_code=True)
    given = arrays(3, 5)
    assert np.allclose(session.run(given)["sum"], expected(**given), atol=1e-6)
    with pytest.raises(InvalidArtifactError, match="does not run by default"):
        load_session(open_model(folder), CPU)
    with pytest.raises(UsageError, match="does not run by default"):
        find_model(str(folder), root)


def packaged(folder: Path, out: Path) -> Path:
    """Write the package of a model; returns its program."""
    package = lay_out(open_model(folder), CPU, out / "package", link=False)
    write_sample(package.path / "sample.py", package.kind, "unused", False, 8)
    return package.path / "sample.py"


def ran(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a package's program in the folder of the package's."""
    command = [sys.executable, str(program), *arguments]
    where = program.parents[1]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)


def test_a_package_of_a_module_runs(folder: Path, tmp_path: Path) -> None:
    given = arrays(2, 3)
    np.savez(tmp_path / "in.npz", **given)
    program = packaged(folder, tmp_path)
    done = ran(program, "in.npz")
    wanted = f"sum: shape [2, 3]\n{expected(**given)}\neach: shape [2, 3, 3]\n"
    assert done.stdout.startswith(wanted), done.stderr
    np.savez(tmp_path / "part.npz", x=given["x"])
    for file, why in (("part.npz", "no array for the input mask"), ("none.npz", "by name, as")):
        done = ran(program, file)
        assert done.returncode == 1
        assert why in done.stderr
        assert "Traceback" not in done.stderr


def test_raw_rows_are_given_as_they_were_measured(root: Path, tmp_path: Path) -> None:
    inputs = {"x": ModuleInput((2, 4)), "s": ModuleInput((3,), "int64")}
    folder = find_module("nets.py:Two", inputs, [], root, TRUSTED)
    row = {"a": [1, 2, 3, 4], "b": [1, 2, 3], "y": 60}
    (tmp_path / "d.jsonl").write_text(json.dumps(row))
    spec = DataSpec(file="d.jsonl", inputs={"x": "a", "s": "b"}, target="y")
    catalog, choice = (
        DataCatalog({"d": spec}, tmp_path),
        EvaluatorChoice("regression", {"data": "d"}),
    )
    keep_raw_rows(tmp_path, [choice], catalog, Permissions())
    program = packaged(folder, tmp_path)
    add_raw_rows(program.parent, tmp_path)
    # x has two rows, which are the same; s has no axis that counts rows.
    done = ran(program, "a=[1, 2, 3, 4]", "b=[1, 2, 3]")
    assert "output: shape [2]\n[60. 60.]" in done.stdout, done.stderr
    done = ran(program, "a=[1, 2, 3, 4]", "b=[1.5, 2, 3]")
    assert "input 's' is float64" in done.stderr
    assert done.returncode == 1


def test_what_a_module_writes_into_is_copied(root: Path) -> None:
    folder = find_module("nets.py:Reused", {"x": ModuleInput((2, 4))}, [], root, TRUSTED)
    session = load_session(open_model(folder), CPU, trust_remote_code=True)
    x = np.ones((2, 4), np.float32)
    first = session.run({"x": x})["0"]
    session.run({"x": 5 * x})
    assert (first == 2).all()
    assert (x == 1).all()


@pytest.mark.parametrize("dynamo", [True, False])
def test_an_export_computes_what_the_module_does(
    folder: Path, tmp_path: Path, dynamo: bool
) -> None:
    built = exported(open_model(folder), tmp_path, dynamo=dynamo)
    session = load_session(built, CPU)
    assert set(session.inputs) == {"x", "mask"}
    assert session.inputs["x"][1] == (None, None, 4)
    for rows, steps in ((1, 3), (4, 9)):
        given = arrays(rows, steps)
        assert np.allclose(session.run(given)["sum"], expected(**given), atol=1e-5)
    assert {path.suffix for path in built.parts} == {".onnx"}


def test_a_program_is_described_run_and_exported(root: Path, tmp_path: Path) -> None:
    import torch

    class Net(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x.cumsum(1), x.mean(1)

    dims = {0: torch.export.Dim("rows", min=1, max=64)}
    program = torch.export.export(Net().eval(), (torch.randn(3, 5),), dynamic_shapes=(dims,))
    torch.export.save(program, root / "net.pt2")
    with pytest.raises(UsageError, match="does not run by default"):
        find_model("net.pt2", root)
    made = find_model("net.pt2", root, TRUSTED)
    check_kind("pt2", made)
    said = read_described(made)
    assert list(said.inputs) == ["x"]
    assert said.inputs["x"].shape[1] == 5
    assert said.outputs == ("output_0", "output_1")
    model = open_model(made)
    session = load_session(model, CPU, trust_remote_code=True)
    assert session.inputs["x"][1] == (None, 5)
    assert ran(packaged(made, tmp_path)).stdout.startswith(
        "output_0: shape [1, 5]\n[[1. 2. 3. 4. 5.]]\n"
    )
    built = load_session(exported(model, tmp_path), CPU)
    for rows in (1, 7):
        x = np.random.default_rng(rows).normal(size=(rows, 5)).astype(np.float32)
        for name, value in session.run({"x": x}).items():
            assert np.allclose(built.run({"x": x})[name], value, atol=1e-6)


X = {"x": ModuleInput(("batch", 4))}


@pytest.mark.parametrize(
    ("place", "inputs", "files", "why"),
    [
        ("none.py:make", X, [], "no file 'none.py'"),
        ("nets.py:make", X, ["weights.bin"], "no file 'weights.bin'"),
        ("nets.py:make", X, ["../nets.py"], "no file '../nets.py'"),
        ("nets.py:fails", X, [], "nets.py:fails failed: RuntimeError: no weights"),
        ("nets.py:nothing", X, [], "ended its process with status 3"),
    ],
)
def test_what_cannot_be_made_is_refused(
    root: Path, place: str, inputs: Any, files: list[str], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        find_module(place, inputs, files, root, TRUSTED)


@pytest.mark.parametrize(
    ("function", "inputs", "why"),
    [
        ("maek", X, "has no function 'maek'"),
        ("make", {"x": INPUTS["x"]}, "takes 'mask', which `inputs`"),
        ("Narrow", {"y": X["x"], **X}, "takes no 'y'; it takes x"),
        ("Narrow", X, r"does not run on x \[2, 4\]: RuntimeError"),
        ("Odd", X, "the module gives str: expected a tensor"),
        ("Random", X, "'output' is another one when it runs again"),
        ("Counting", X, "'output' is another one when it runs again"),
        ("drawn", X, "'output' is another one when it is made again"),
        ("Wide", X, r"'1' is of the type torch\.bfloat16"),
        ("number", X, "returned a int, expected a torch.nn.Module"),
    ],
)
def test_what_does_not_fit_is_told(root: Path, function: str, inputs: Any, why: str) -> None:
    from paretune.models.torch_module import described

    said = DescribedModule(f"nets.py:{function}", inputs)
    (root / "paretune_module.json").write_text(json.dumps(said.to_json()))
    with pytest.raises(InvalidArtifactError, match=why):
        described(root)


def test_files_of_the_working_folder_are_no_part_of_the_model(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    torch.save(torch.nn.Linear(4, 4).state_dict(), root / "weights.pt")
    monkeypatch.chdir(root)
    with pytest.raises(UsageError, match=r"No such file or directory: 'weights\.pt'") as told:
        find_module("nets.py:of_another_folder", X, [], root, TRUSTED)
    assert "Path(__file__).with_name(NAME)" in str(told.value.hint)


def test_untrusted_code_is_not_even_looked_for(root: Path) -> None:
    with pytest.raises(UsageError, match="does not run by default"):
        find_module("none.py:make", X, [], root, Permissions())
