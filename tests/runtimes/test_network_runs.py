"""Networks with state and sizes, in a session of ours and in the program of a package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError
from paretune.models.declared_network import FILE, DeclaredNetwork
from paretune.models.handle import open_model
from paretune.runtimes.package import lay_out
from paretune.runtimes.sample_program import write_sample
from paretune.runtimes.serving import load_session, required_runtime
from tests.onnx_networks import write_memory, write_network

CPU = RuntimeSettings("cpu", 1)
STATE = {"after": "before"}


def declared(folder: Path, sizes: dict[str, int], state: dict[str, str]) -> Path:
    (folder / FILE).write_text(json.dumps(DeclaredNetwork(sizes, state).to_json()))
    return folder


def test_state_is_fed_back_from_step_to_step_and_begins_with_zeros(tmp_path: Path) -> None:
    session = load_session(open_model(declared(write_memory(tmp_path / "n"), {}, STATE)), CPU)
    assert session.inputs == {"x": ("float32", (None, None))}
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    for _ in range(2):  # nothing is left of the run before
        found = session.run({"x": x})
        assert set(found) == {"y", "count", "last"}
        assert np.allclose(found["y"], 2 * np.cumsum(x, axis=1))
        assert found["count"].shape == (2, 5, 3)
        assert found["last"].shape == (2, 5)
    once = session.run({"x": x[:, 0]})
    assert np.allclose(once["y"], 2 * x[:, 0])


def test_a_sequence_without_steps_is_refused(tmp_path: Path) -> None:
    session = load_session(open_model(declared(write_memory(tmp_path / "n"), {}, STATE)), CPU)
    with pytest.raises(InvalidArtifactError, match="sequences of one length above 0"):
        session.run({"x": np.ones((2, 0, 3), np.float32)})


def test_sizes_are_fixed_and_shown(tmp_path: Path) -> None:
    folder = declared(write_memory(tmp_path / "n"), {"batch": 2, "x[1]": 3}, STATE)
    model = open_model(folder)
    session = load_session(model, CPU)
    assert session.inputs == {"x": ("float32", (2, 3))}
    runtime = required_runtime(model.kind)
    assert runtime.smoke(model, session)["outputs"]["y"] == [2, 3]
    with pytest.raises(InvalidArtifactError, match=r"(?s)x.*Got: 4 Expected: 2"):
        session.run({"x": np.ones((4, 3), np.float32)})


def test_a_network_that_does_not_run_is_refused_with_its_open_sizes(tmp_path: Path) -> None:
    session = load_session(open_model(write_network(tmp_path / "n")), CPU)
    with pytest.raises(InvalidArtifactError, match="does not run") as refused:
        session.run({"x": np.ones((2, 7), np.float32)})
    assert "leaves open: rows." in (refused.value.hint or "")


def test_the_program_of_a_package_feeds_the_state_back(tmp_path: Path) -> None:
    folder = declared(write_memory(tmp_path / "n"), {"x[1]": 3}, STATE)
    package = lay_out(open_model(folder), CPU, tmp_path / "package", link=False)
    write_sample(package.path / "sample.py", "onnx", "unused", False, 8)
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    np.savez(tmp_path / "in.npz", x=x)

    def shown(*arguments: str) -> str:
        command = [sys.executable, str(package.path / "sample.py"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    text = shown("in.npz")
    assert "y: shape [1, 2, 3]" in text
    assert str(2 * np.cumsum(x, axis=1)) in text
    text = shown()
    assert "taken as ones of shape [1, 3]" in text
    assert "input before: state" in text
