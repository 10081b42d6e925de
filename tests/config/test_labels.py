import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.config.labels import check_labels, labels_of
from paretune.core.errors import DataError
from paretune.data.catalog import DataCatalog, DataSpec

TEMPLATES: dict[str, Any] = {"prompt": "{t}", "answer": "{y}"}


def catalog(folder: Path, **sides: list[str]) -> DataCatalog:
    """Return data sets whose rows have these labels: `train` and `test` are parts of `d`."""
    files = {}
    for side, labels in sides.items():
        rows = [{"t": f"{side} {i}", "y": label} for i, label in enumerate(labels)]
        (folder / f"{side}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        files[side] = f"{side}.jsonl"
    parts = {side: files.pop(side) for side in ("train", "test") if side in files}
    specs = {name: DataSpec(file=file, **TEMPLATES) for name, file in files.items()}
    return DataCatalog({"d": DataSpec(files=parts, **TEMPLATES), **specs}, folder)


def notes(found: DataCatalog, *train: str, given: list[str] | None = None) -> list[str]:
    return list(check_labels(found, "d.test", train, given))


def test_a_class_that_the_split_left_out_is_a_label_all_the_same(tmp_path: Path) -> None:
    found = catalog(tmp_path, train=["a", "b", "c"], test=["a", "b"])
    assert labels_of(found, "d.test", []) == ("a", "b", "c")
    (note,) = notes(found, "d.train")
    assert "no row with the label 'c' (d.train: row 3 has it)" in note


def test_a_split_of_one_file_knows_both_sides(tmp_path: Path) -> None:
    rows = [{"t": str(i), "y": "rare" if i == 0 else "ab"[i % 2]} for i in range(20)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for seed in range(5):
        spec = DataSpec(file="d.jsonl", split={"test": 0.3, "seed": seed}, **TEMPLATES)  # type: ignore[arg-type]
        assert labels_of(DataCatalog({"d": spec}, tmp_path), "d.test", []) == ("a", "b", "rare")


def test_another_data_set_that_is_trained_on_for_the_same_task(tmp_path: Path) -> None:
    found = catalog(tmp_path, test=["a", "b"], more=["a", "b", "c"], other=["x", "y"])
    assert labels_of(found, "d.test", ["more", "other"]) == ("a", "b", "c")
    told = " ".join(notes(found, "more", "other"))
    assert "other has no label of d.test (its answers: 'x', 'y')" in told


def test_a_label_that_training_never_shows(tmp_path: Path) -> None:
    found = catalog(tmp_path, train=["a", "b"], test=["a", "B"])
    with pytest.raises(
        DataError, match=r"row 2 has the answer 'B', which does not occur in d\.train"
    ):
        notes(found, "d.train")
    with pytest.raises(DataError, match="It has 'b'"):
        notes(found, "d.train")
    assert any("equal except for case" in note for note in notes(found))


def test_plain_text_that_is_trained_on_has_no_labels(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("some text\n")
    found = catalog(tmp_path, test=["a", "b"])
    both = DataCatalog({**found._specs, "w": DataSpec(file="w.txt", text="{text}")}, tmp_path)
    assert notes(both, "w") == []
    with pytest.raises(DataError, match="plain text without answers"):
        list(check_labels(both, "w", [], None))


def test_only_one_label_is_left(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'a' is the only label"):
        notes(catalog(tmp_path, test=["a", "a"]))
    with pytest.raises(DataError, match="'a' is the only label"):
        notes(catalog(tmp_path, test=["a", "a"]), given=["a"])
    (note, *_) = notes(catalog(tmp_path, train=["a", "b"], test=["a", "a"]))
    assert "every row has the answer 'a'" in note


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        ("joy", "joy ", "spaces"),
        ("a b", "a  b", "spaces"),
        ("a b", "a\u00a0b", "spaces"),
        ("joy", "joy\u200b", "invisible"),
        ("joy", "\ufeffjoy", "invisible"),
        ("é", "e\u0301", "Unicode form"),
    ],
)
def test_labels_that_nobody_can_tell_apart(tmp_path: Path, one: str, other: str, how: str) -> None:
    with pytest.raises(DataError, match=rf"row \d.*row \d.*{how}"):
        notes(catalog(tmp_path, test=[one, other, "x"]))


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("Joy", "joy", "except for case"),
        ("STRASSE", "straße", "except for case"),
        ("ﬁn", "fin", "form"),
        ("1", "1.0", "as numbers"),
        ("0.5", ".50", "as numbers"),
        ("nan", "x", "missing value"),
        ("None", "x", "missing value"),
    ],
)
def test_labels_that_somebody_may_have_meant_as_one(
    tmp_path: Path, one: str, other: str, told: str
) -> None:
    assert any(told in note for note in notes(catalog(tmp_path, test=[one, other])))


@given(st.text(min_size=1).filter(lambda t: t.strip() and "\0" not in t))
def test_two_forms_of_one_text_are_never_two_labels(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    forms = {unicodedata.normalize(form, text) for form in ("NFC", "NFD")}
    if len(forms) == 2:
        folder = tmp_path_factory.mktemp("labels")
        with pytest.raises(DataError, match=r"Unicode form|spaces"):
            notes(catalog(folder, test=[*forms, "another label"]))


def test_labels_that_are_given(tmp_path: Path) -> None:
    found = catalog(tmp_path, test=["a", "b"])
    assert notes(found, given=["b", "a", "c"]) == []
    for given_, told in (
        (["a", "x"], "row 2 has the answer 'b', which is not in `labels:`"),
        (["a", "b", "a"], "'a' is given twice"),
        (["a", "b", " "], "' ' is empty"),
    ):
        with pytest.raises(DataError, match=told):
            notes(found, given=given_)


def test_very_many_labels_are_told(tmp_path: Path) -> None:
    (note,) = notes(catalog(tmp_path, test=[f"answer {i}" for i in range(120)]))
    assert "120 labels" in note
    assert "exact_match" in note
