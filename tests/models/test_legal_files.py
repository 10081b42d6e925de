"""Licences and notices of the input model go with its packages, and change no figure."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_study import search, write_fake_study

from paretune.models.legal_files import add_legal, keep_legal, legal_files
from paretune.reporting.picking import pick_again


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("LICENSE", True),
        ("LICENSE.txt", True),
        ("License.MIT", True),
        ("LICENCE-2.0", True),
        ("UNLICENSE", True),
        ("MODEL_LICENSE", True),
        ("THIRD_PARTY_NOTICES.txt", True),
        ("NOTICE", True),
        ("Notice.md", True),
        ("USE_POLICY.md", True),
        ("COPYING", True),
        ("COPYING.LESSER", True),
        ("Gemma_Terms_of_Use.pdf", True),
        ("Community License for Some Model.pdf", True),
        ("ACCEPTABLE_USE_POLICY.md", True),
        ("README.md", False),
        ("license.json", False),
        ("license.py", False),
        ("licensed.txt", False),
        ("model.license.safetensors", False),
        ("unnoticed.txt", False),
        ("vocab.txt", False),
        (".license", False),
    ],
)
def test_which_files_are_legal_ones(tmp_path: Path, name: str, legal: bool) -> None:
    (tmp_path / name).write_text("x")
    assert [file.name for file in legal_files(tmp_path)] == ([name] if legal else [])


def test_nothing_outside_of_the_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (tmp_path / "secret").write_text("s")
    (folder / "LICENSE").symlink_to(tmp_path / "secret")
    (folder / "NOTICE").mkdir()
    assert legal_files(folder) == []
    assert legal_files(tmp_path / "gone") == []


def test_an_adapters_and_its_bases_are_both_kept(tmp_path: Path) -> None:
    for name, text in (("adapter", "mine"), ("base", "theirs")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "LICENSE.txt").write_text(text)
        (tmp_path / name / "NOTICE").write_text("same")
    study, package = tmp_path / "study", tmp_path / "package"
    study.mkdir()
    package.mkdir()
    (package / "NOTICE").write_text("the package's own")
    keep_legal(study, [tmp_path / "adapter", tmp_path / "base"])
    names = add_legal(package, [study / "legal"])
    assert names == ["LICENSE-base.txt", "LICENSE.txt", "NOTICE"]
    assert (package / "LICENSE.txt").read_text() == "mine"
    assert (package / "LICENSE-base.txt").read_text() == "theirs"
    assert (package / "NOTICE").read_text() == "the package's own"


def test_a_package_has_them_and_its_figures_do_not(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "legal").mkdir()
    found = []
    for place in (tmp_path / "plain", tmp_path / "legal"):
        config = write_fake_study(place, {"x": [1]})
        model = place / "model"
        if place.name == "legal":
            (model / "LICENSE").write_text("terms " * 100_000)
        result = search(config)
        found.append(
            [(r["artifact"], r["metrics"].get("size_mb")) for r in result.results["candidates"]]
        )
        assert result.best is not None
        assert (result.best / "LICENSE").is_file() == (place.name == "legal")
        told = "files in this folder: LICENSE" in (result.best / "model_card.md").read_text()
        assert told == (place.name == "legal")
    assert found[0] == found[1]
    (tmp_path / "legal" / "model" / "LICENSE").unlink()  # what is picked later has it all the same
    picked = tmp_path / "picked"
    pick_again(tmp_path / "legal" / "study", out=picked, store=tmp_path / "legal" / "store")
    assert (picked / "LICENSE").read_text().startswith("terms")
