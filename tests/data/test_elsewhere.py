"""Data that another machine reads: this one has digests and counts, and no rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paretune.core.errors import DataError, InputChangedError
from paretune.core.stamps import take
from paretune.data.catalog import DataCatalog, DataSpec
from paretune.data.described import FOLDER, described
from paretune.data.elsewhere import Elsewhere, FarFile, FarPart

ADDRESS = "azureml://datastores/store/paths/a/train.jsonl"
SPECS = {"tone": DataSpec(file=ADDRESS, text="{t}")}


def rows(file: Path, *texts: str) -> Path:
    file.write_text("".join(json.dumps({"t": text}) + "\n" for text in texts))
    return file


def part(file: Path) -> FarPart:
    read = take(file)
    here = DataCatalog({"tone": DataSpec(file=str(file), text="{t}")}, file.parent)
    where = FarFile(ADDRESS, read.sha256, read.stamp.size)
    return FarPart(here.digest("tone"), *here.count("tone"), (where,))


def catalog(file: Path) -> DataCatalog:
    return DataCatalog(SPECS, file.parent, elsewhere=Elsewhere("aml", {"tone": part(file)}))


def test_digest_and_counts_are_known_and_rows_are_not(tmp_path: Path) -> None:
    file = rows(tmp_path / "train.jsonl", "one", "three")
    found = catalog(file)
    assert found.digest("tone") == part(file).digest
    assert found.count("tone") == (2, 8)
    assert found.files("tone") == ()
    with pytest.raises(DataError, match="is read on 'aml' only"):
        found.load("tone")


def test_a_machine_that_has_the_file_reads_it_and_compares_the_digest(tmp_path: Path) -> None:
    file = rows(tmp_path / "train.jsonl", "one", "three")
    sent = json.loads(json.dumps(catalog(file).to_json()))
    (far,) = part(file).files
    assert sent["addresses"] == {far.sha256: ADDRESS}
    assert sent["specs"]["tone"]["file"] == str(far.path)
    assert DataCatalog.from_json(sent).digest("tone") == part(file).digest
    sent["specs"]["tone"]["file"] = str(file)  # what the far side puts there
    there = DataCatalog.from_json(sent)
    assert [example.answer for example in there.load("tone").examples] == ["one", "three"]
    rows(file, "one", "two")
    with pytest.raises(InputChangedError):
        DataCatalog.from_json(sent).load("tone")


def test_an_address_without_a_copy_is_not_taken_for_a_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is in Azure"):
        DataCatalog(SPECS, tmp_path).load("tone")
    file = rows(tmp_path / "copy.jsonl", "one")
    found = DataCatalog(SPECS, tmp_path, copied={ADDRESS: file}.__getitem__)
    assert found.count("tone") == (1, 3)
    assert found.files("tone") == (file,)


def test_a_worker_says_digests_and_counts_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = rows(tmp_path / "train.jsonl", "a secret", "another secret")
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "key").symlink_to(file)
    monkeypatch.setenv(FOLDER, str(folder))
    specs = {"tone": SPECS["tone"].model_dump(mode="json")}
    said = described(specs, ["tone"], {"key": ADDRESS})
    expected = part(file)
    assert said["files"] == {ADDRESS: {"sha256": take(file).sha256, "size": file.stat().st_size}}
    assert said["parts"] == {
        "tone": {"digest": expected.digest, "rows": 2, "characters": expected.characters}
    }
    assert "secret" not in json.dumps(said)
