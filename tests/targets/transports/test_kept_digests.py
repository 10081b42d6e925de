"""Digests that are kept: a large file is read once, whatever process needs its digest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paretune.core import stamps
from paretune.core.candidate import RuntimeSettings
from paretune.core.job import Smoke
from paretune.core.model import Model, ModelKind
from paretune.targets.transports.tasks import Describer, files_of

ARTIFACT = "sha256:" + "a" * 64


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lists the names of the files that are read for their digest."""
    found: list[str] = []
    digest = stamps.file_digest

    def noting(path: Path) -> str:
        found.append(path.name)
        return digest(path)

    monkeypatch.setattr(stamps, "file_digest", noting)
    return found


def package(folder: Path, name: str, artifact: str = ARTIFACT) -> Smoke:
    """Return a job with a package: a link to the large file, and a small one of its own."""
    large = folder / "large"
    if not large.exists():
        large.write_bytes(os.urandom(2 << 20))
    (folder / name).mkdir()
    os.link(large, folder / name / "weights")
    (folder / name / "config.json").write_text(name)
    model = Model(ModelKind.ONNX, folder / name, artifact)
    return Smoke(model=model, runtime=RuntimeSettings())


def test_another_process_does_not_read_a_large_file_again(tmp_path: Path, read: list[str]) -> None:
    first = Describer(tmp_path).described(package(tmp_path, "one"))
    assert read == ["config.json", "weights"]
    read.clear()
    again = Describer(tmp_path).described(package(tmp_path, "two"))
    assert read == ["config.json"]
    weights = {file.name: file.sha256 for file in files_of(again).values()}["weights"]
    assert weights in files_of(first)
    assert weights == stamps.file_digest(tmp_path / "large")


@pytest.mark.parametrize("change", ["written", "artifact", "damaged", "another record"])
def test_a_file_that_may_be_another_one_is_read(
    tmp_path: Path, read: list[str], change: str
) -> None:
    Describer(tmp_path).described(package(tmp_path, "one"))
    (kept,) = (tmp_path / "digests").iterdir()
    artifact = ARTIFACT
    if change == "written":
        (tmp_path / "large").write_bytes(os.urandom(2 << 20))
        os.utime(tmp_path / "large", ns=(1, 1))
    elif change == "artifact":
        artifact = "sha256:" + "b" * 64
    else:
        kept.write_text("[" if change == "damaged" else '[[1, 2, 3, 4, "../x"], 5]')
    read.clear()
    found = files_of(Describer(tmp_path).described(package(tmp_path, "two", artifact)))
    assert read == ["config.json", "weights"]
    assert stamps.file_digest(tmp_path / "large") in found


@pytest.mark.parametrize("artifact", ["", "../../x", "sha256:0"])
def test_what_is_no_digest_has_no_record(tmp_path: Path, artifact: str) -> None:
    Describer(tmp_path).described(package(tmp_path, "one", artifact))
    assert not (tmp_path / "digests").exists()
