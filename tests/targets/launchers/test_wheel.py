"""Our own wheel: an environment that has nothing but it and the dependencies runs jobs."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

import paretune
from paretune.core.job import Call, Job
from paretune.targets.launchers.python import PythonTarget
from paretune.targets.launchers.wheel import build_wheel
from tests.environments import install, make_environment


def test_it_has_every_module_and_record_and_is_the_same_each_time(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path / "one")
    assert wheel.name == f"paretune-{paretune.__version__}-py3-none-any.whl"
    assert build_wheel(tmp_path / "two").read_bytes() == wheel.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"paretune-{paretune.__version__}.dist-info"
        assert {
            "paretune/cli/main.py",
            "paretune/targets/agent.py",
            "paretune/passes/lora/lora.py",
            "paretune/search/space.py",
            "paretune/schemas/protocol.schema.json",
            "paretune/reporting/templates/report.html.j2",
            "paretune/py.typed",
            f"{info}/METADATA",
            f"{info}/WHEEL",
        } <= names
        assert not [name for name in names if "tests" in name or "__pycache__" in name]
        recorded = {}
        for line in archive.read(f"{info}/RECORD").decode().splitlines():
            name, digest, size = line.rsplit(",", 2)
            recorded[name] = digest, size
        assert set(recorded) == names
        for name in names - {f"{info}/RECORD"}:
            content = archive.read(name)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            assert recorded[name] == (f"sha256={digest.decode()}", str(len(content)))


def test_pip_installs_it_without_an_index(tmp_path: Path) -> None:
    pytest.importorskip("pip")
    python = make_environment(tmp_path / "venv")
    wheel = build_wheel(tmp_path / "wheel")
    done = install(python, "--no-index", wheel)
    assert done.returncode == 0, done.stderr
    where = subprocess.run(
        [python, "-P", "-c", "import paretune.passes.lora.lora as m; print(m.__file__)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert where.startswith(str(tmp_path / "venv")), where
    with PythonTarget(python=str(python)) as target:
        job = Job(Call("paretune.testing.jobs:add", {"a": 1, "b": 2}))
        assert target.submit(job).result(300).value == 3


def test_the_metadata_of_a_checkout_is_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editable installation may leave an egg-info folder, where the file has another name."""
    folder = tmp_path / "paretune.egg-info"
    folder.mkdir()
    (folder / "PKG-INFO").write_text("Metadata-Version: 2.4\nName: paretune\nVersion: 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    with zipfile.ZipFile(build_wheel(tmp_path / "wheel")) as archive:
        info = f"paretune-{paretune.__version__}.dist-info"
        assert b"Version: 7" in archive.read(f"{info}/METADATA")
