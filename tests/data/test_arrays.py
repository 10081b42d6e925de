"""Data sets of arrays: what a network is given, from every form of file, with errors by row."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.core.errors import DataError, InputChangedError, UsageError
from paretune.data.catalog import DataCatalog
from paretune.data.spec import DataSpec

N = 10


def catalog(folder: Path, trusted: bool = False, **spec: Any) -> DataCatalog:
    made = DataSpec(**{"inputs": {"x": "a"}, **spec})
    return DataCatalog({"d": made}, folder, trust_remote_code=trusted)


def archive(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "d.npz", **arrays)
    return "d.npz"


def table(folder: Path, *rows: dict[str, Any]) -> str:
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "d.jsonl"


def numbers(folder: Path) -> dict[str, Any]:
    return {"a": np.arange(N * 3, dtype=np.float32).reshape(N, 3), "y": np.arange(N) % 2}


def test_rows_of_an_archive(tmp_path: Path) -> None:
    arrays = numbers(tmp_path)
    data = catalog(tmp_path, file=archive(tmp_path, **arrays), target="y").arrays("d")
    assert len(data.rows) == N
    assert data.rows[3].inputs["x"].dtype == np.float32
    assert data.rows[3].inputs["x"].tolist() == [9, 10, 11]
    assert [row.target for row in data.rows] == [0, 1] * (N // 2)
    few = catalog(tmp_path, file="d.npz", limit=4)
    assert few.count("d") == (4, 12)
    assert few.arrays("d").rows[0].target is None


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "npy"])
def test_a_table_gives_the_rows_of_the_archive(tmp_path: Path, format: str) -> None:
    arrays = numbers(tmp_path)
    whole = catalog(tmp_path, file=archive(tmp_path, **arrays), target="y").arrays("d")
    rows = [
        {"a": list(map(float, a)), "y": int(y)}
        for a, y in zip(arrays["a"], arrays["y"], strict=True)
    ]
    file = f"d.{format}"
    if format == "parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / file)
    elif format == "csv":
        (tmp_path / file).write_text("a,y\n" + "".join(f'"{r["a"]}",{r["y"]}\n' for r in rows))
    elif format == "npy":
        (tmp_path / "parts").mkdir()
        for n, row in enumerate(rows):
            np.save(tmp_path / "parts" / f"{n}.npy", np.array(row["a"], np.float32))
        named = [{"a": f"{n}.npy", "y": row["y"]} for n, row in enumerate(rows)]
        file = f"parts/{table(tmp_path / 'parts', *named)}"  # paths start at the table's folder
    else:
        table(tmp_path, *rows)
    data = catalog(tmp_path, file=file, target="y").arrays("d")
    for mine, theirs in zip(data.rows, whole.rows, strict=True):
        assert mine.inputs["x"].tolist() == theirs.inputs["x"].tolist()
        assert int(str(mine.target)) == theirs.target


def test_a_split_keeps_equal_rows_on_one_side_and_groups_together(tmp_path: Path) -> None:
    file = archive(tmp_path, a=np.arange(12).reshape(12, 1) % 6, g=np.arange(12) % 3)
    made = catalog(tmp_path, file=file, split={"test": 0.5})
    sides = [{int(row.inputs["x"][0]) for row in made.arrays(f"d.{p}").rows} for p in made_parts()]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == set(range(6))
    by_group = catalog(tmp_path, file=file, split={"test": 0.34, "group": "g"})
    assert len({int(row.inputs["x"][0]) % 3 for row in by_group.arrays("d.test").rows}) == 1
    again = catalog(tmp_path, file=file, split={"test": 0.5})
    assert made.digest("d.test") == again.digest("d.test") != made.digest("d.train")


def made_parts() -> tuple[str, str]:
    return "train", "test"


def test_the_digest_covers_arrays_types_and_answers(tmp_path: Path) -> None:
    def found(**arrays: Any) -> str:
        return catalog(tmp_path, file=archive(tmp_path, **arrays), target="y").digest("d")

    a, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 1])
    same = found(a=a, y=y)
    assert found(a=a, y=y) == same
    others = [
        found(a=a + 1e-9, y=y),
        found(a=a.astype(np.float32), y=y),
        found(a=a.reshape(3, 2, 1), y=y),
        found(a=a, y=1 - y),
    ]
    assert len({same, *others}) == 5


def test_what_changed_since_the_search_began_is_refused(tmp_path: Path) -> None:
    file = archive(tmp_path, a=np.zeros((3, 2)))
    made = catalog(tmp_path, file=file)
    made.check("d")
    told = made.to_json()
    assert DataCatalog.from_json(told).arrays("d").digest == made.digest("d")  # type: ignore[arg-type]
    archive(tmp_path, a=np.ones((3, 2)))
    with pytest.raises(InputChangedError, match="changed during the search"):
        DataCatalog.from_json(told).arrays("d")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "spec", "why"),
    [
        ([{"a": [1, 2]}, {"a": [1, [2]]}], {}, r"row 2, column 'a': no array"),
        ([{"a": [1]}, {"b": [1]}], {}, r"row 2 has no column 'a'"),
        ([{"a": [1]}, {"a": [[1]]}], {}, r"row 2, input 'x': 2 axes"),
        ([{"a": ["x"]}], {}, r"row 1, column 'a': an array of <U1, expected numbers"),
        ([{"a": "missing.npy"}], {}, r"row 1, column 'a': 'missing.npy': no such file"),
        ([{"a": "cat"}], {}, r"row 1, column 'a': the text 'cat'"),
        ([{"a": None}], {}, r"row 1, column 'a': nothing"),
        ([{"a": 5}], {"read": {"a": "audio"}}, r"row 1, column 'a': a int, expected an audio file"),
        ([{"a": "d.jsonl"}], {"read": {"a": "audio"}}, r"not read as audio"),
        ([{"a": [1], "y": 1}, {"a": [1]}], {"target": "y"}, r"row 2 has no column 'y'"),
        ([{"a": [1], "y": None}], {"target": "y"}, r"row 1, column 'y': nothing"),
        ([], {}, r"has no rows"),
    ],
)
def test_errors_name_row_and_column(
    tmp_path: Path, rows: list[dict[str, Any]], spec: dict[str, Any], why: str
) -> None:
    with pytest.raises(DataError, match=why):
        catalog(tmp_path, file=table(tmp_path, *rows), **spec).check("d")


def test_archives_that_are_none(tmp_path: Path) -> None:
    for arrays, why in (
        ({"b": np.zeros(3)}, "no array 'a'"),
        ({"a": np.array([{}], dtype=object)}, "not an .npz file of plain arrays"),
        ({"a": np.float32(1)}, "no axis"),
    ):
        with pytest.raises(DataError, match=why):
            catalog(tmp_path, file=archive(tmp_path, **arrays)).check("d")
    file = archive(tmp_path, a=np.zeros(3), y=np.zeros(2))
    with pytest.raises(DataError, match=r"different numbers of rows \(a: 3, y: 2\)"):
        catalog(tmp_path, file=file, target="y").check("d")
    (tmp_path / "d.npz").write_text("no archive")
    with pytest.raises(DataError, match=r"not an \.npz file"):
        catalog(tmp_path, file="d.npz").check("d")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"target": "y"}, "`target` belongs to `inputs`"),
        ({"inputs": {"x": "a"}, "text": "{t}"}, "found text and inputs"),
        ({"inputs": {"x": "a"}, "answer": "b"}, "of `inputs`, `target` names the labels"),
        ({"inputs": {"x": "a"}, "chat": True}, "`chat` does not go together"),
        ({"inputs": {"x": "a"}, "read": {"b": "image"}}, "'b', which is none of `inputs`"),
        ({"inputs": {"x": "a"}, "read": {"a": "text"}}, "give `process`"),
    ],
)
def test_keys_that_do_not_go_together(spec: dict[str, Any], why: str) -> None:
    text = {} if spec.keys() & {"text", "inputs"} else {"text": "{t}"}
    with pytest.raises(ValueError, match=why):
        DataSpec(file="d.jsonl", **text, **spec)


def test_texts_and_arrays_are_not_taken_for_each_other(tmp_path: Path) -> None:
    file = archive(tmp_path, a=np.zeros((3, 2)))
    specs = {"d": DataSpec(file=file, inputs={"x": "a"}), "t": DataSpec(file="t", text="{t}")}
    made = DataCatalog(specs, tmp_path)
    with pytest.raises(DataError, match="d is a data set of arrays, expected one of texts"):
        made.load("d")
    with pytest.raises(DataError, match="t is a data set of texts, expected one of arrays"):
        made.arrays("t")


def test_what_is_not_finite_and_what_is_in_both_parts_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", a=np.array([[1.0], [np.nan], [2.0]]))
    np.savez(tmp_path / "two.npz", a=np.array([[2.0], [5.0]]))
    made = catalog(tmp_path, files={"train": "one.npz", "test": "two.npz"})
    (note,) = made.notes(["d.train", "d.test"])
    assert "row 2 is not finite" in note
    assert "1 of 2 rows of d.test" in str(made.overlap("d.train", "d.test"))


def write_sound(path: Path, samples: Any, width: int, channels: int = 1, rate: int = 8000) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        whole = np.round(np.asarray(samples) * (1 << (8 * width - 1))).astype(np.int64)
        whole = whole + 128 if width == 1 else whole
        little = whole.astype("<i8").reshape(-1, 1).view(np.uint8)[:, :width]
        sound.writeframes(little.tobytes())


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_sounds_are_mono_between_minus_one_and_one(tmp_path: Path, width: int) -> None:
    left, right = [0.5, -1.0, 0.25], [0.0, -0.5, 0.25]
    write_sound(tmp_path / "s.wav", np.stack([left, right], 1).ravel(), width, channels=2)
    file = table(tmp_path, {"a": "s.wav"})
    (row,) = catalog(tmp_path, file=file, read={"a": "audio"}).arrays("d").rows
    assert row.inputs["x"].dtype == np.float32
    assert row.inputs["x"].tolist() == [0.25, -0.75, 0.25]


def test_sounds_of_different_rates_are_refused(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", [0.0], 2)
    write_sound(tmp_path / "b.wav", [0.0], 2, rate=16000)
    file = table(tmp_path, {"a": "a.wav"}, {"a": "b.wav"})
    with pytest.raises(DataError, match="row 2, column 'a': 16000 samples per second"):
        catalog(tmp_path, file=file, read={"a": "audio"}).check("d")


def test_images_are_rgb(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    image.fromarray(pixels).save(tmp_path / "rgb.png")
    image.fromarray(np.full((2, 3), 40_000, np.uint16)).save(tmp_path / "wide.png")
    image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    file = table(tmp_path, {"a": "rgb.png"}, {"a": "grey.png"})
    rows = catalog(tmp_path, file=file, read={"a": "image"}).arrays("d").rows
    assert (rows[0].inputs["x"] == pixels).all()
    assert (rows[1].inputs["x"] == pixels[..., :1]).all()
    for name, why in (("wide.png", "one channel in I;16"), ("d.jsonl", "not read as an image")):
        with pytest.raises(DataError, match=why):
            catalog(tmp_path, file=table(tmp_path, {"a": name}), read={"a": "image"}).check("d")


STEPS = """
import random
import beside

def twice(row):
    return {"x": row["a"] * beside.FACTOR}

def other(row):
    return {"z": row["a"]}

def dice(row):
    return {"x": row["a"] * 0 + random.random()}

def fails(row):
    return {"x": 1 / len([])}
"""


def test_a_function_prepares_rows_if_it_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(STEPS)
    (tmp_path / "beside.py").write_text("FACTOR = 2\n")
    file = archive(tmp_path, a=np.ones((3, 2)))
    with pytest.raises(UsageError, match="does not run by default"):
        catalog(tmp_path, file=file, process="steps.py:twice").check("d")
    made = catalog(tmp_path, trusted=True, file=file, process="steps.py:twice")
    assert made.arrays("d").rows[0].inputs["x"].tolist() == [2, 2]
    assert {path.name for path in made.files("d")} == {"d.npz", "steps.py"}
    for name, why in (
        ("other", r"row 1: process returned \['z'\], expected arrays by input: \['x'\]"),
        ("dice", "process gives other arrays when it is given the first row again"),
        ("fails", "row 1: process failed: ZeroDivisionError"),
        ("twise", "has no function 'twise'"),
    ):
        with pytest.raises(UsageError, match=why):
            catalog(tmp_path, trusted=True, file=file, process=f"steps.py:{name}").check("d")


def test_a_folder_without_a_processor_is_refused(tmp_path: Path) -> None:
    file = table(tmp_path, {"a": "a sentence"})
    (tmp_path / "empty").mkdir()
    for process, why in (
        ("none", "no folder 'none'"),
        ("empty", "empty has no tokenizer: none of"),
    ):
        with pytest.raises(DataError, match=why):
            catalog(tmp_path, file=file, read={"a": "text"}, process=process).check("d")


@pytest.mark.slow
def test_a_tokenizer_and_an_image_processor(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    (tmp_path / "model").mkdir()
    words = {word: n for n, word in enumerate(("[UNK]", "[PAD]", "a", "red", "square"))}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"},
    }
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps(tokenizer))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps(kind))
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 4, "width": 4},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (tmp_path / "model" / "preprocessor_config.json").write_text(json.dumps(processor))
    image.fromarray(np.full((8, 6, 3), 255, np.uint8)).save(tmp_path / "white.png")
    file = table(tmp_path, {"p": "white.png", "t": "a red square"})
    made = catalog(
        tmp_path,
        file=file,
        inputs={"pixel_values": "p", "input_ids": "t"},
        read={"p": "image", "t": "text"},
        process="model",
    )
    (row,) = made.arrays("d").rows
    assert row.inputs["pixel_values"].shape == (3, 4, 4)
    assert (row.inputs["pixel_values"] == 1).all()
    assert row.inputs["input_ids"].tolist() == [2, 3, 4]
    wrong = catalog(
        tmp_path, file=file, inputs={"pixels": "p"}, read={"p": "image"}, process="model"
    )
    with pytest.raises(DataError, match="makes no 'pixels'"):
        wrong.check("d")
