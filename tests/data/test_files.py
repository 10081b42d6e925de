"""What stands in data files: each form that is read, and each that is refused with its place."""

import bz2
import datetime
import gzip
import json
import resource
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from paretune.core.errors import DataError
from paretune.data.catalog import DataCatalog, DataSpec
from paretune.data.files import iter_rows
from tests.rows import read_rows

PAIR = {"prompt": "Say: {t}", "answer": "{y}"}


def catalog(folder: Path, file: str, **spec: Any) -> DataCatalog:
    return DataCatalog({"d": DataSpec(**{"file": file, **PAIR, **spec})}, folder)


def parquet(path: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_a_long_field_is_read(tmp_path: Path) -> None:
    long = "x" * 300_000
    (tmp_path / "d.csv").write_text(f't,y,notes\na,b,"{long}, {long}"\nc,d,e\n')
    assert read_rows(tmp_path / "d.csv")[0]["notes"] == f"{long}, {long}"
    assert len(catalog(tmp_path, "d.csv").load("d").examples) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("format", ["csv", "tsv", "txt", "jsonl", "json"])
def test_line_ends_and_encodings(tmp_path: Path, format: str, encoding: str, end: str) -> None:
    lines = {
        "csv": ["text,n", "é,1", "b,2"],
        "tsv": ["text\tn", "é\t1", "b\t2"],
        "txt": ["é", "b"],
        "jsonl": ['{"text": "é"}', '{"text": "b"}'],
        "json": ['[{"text": "é"},', '{"text": "b"}]'],
    }[format]
    path = tmp_path / f"d.{format}"
    path.write_bytes((end.join(lines) + end).encode(encoding))
    if format == "jsonl" and end == "\r":
        with pytest.raises(DataError, match="line 1 is not JSON"):
            read_rows(path)
        return
    assert [row["text"] for row in read_rows(path)] == ["é", "b"]


@pytest.mark.parametrize(("pack", "told"), [(gzip.compress, "gunzip"), (bz2.compress, "bunzip2")])
@pytest.mark.parametrize("name", ["d.csv", "d.jsonl", "d.json", "d.txt", "d.jsonl.gz"])
def test_what_is_compressed_is_told_how_to_unpack(
    tmp_path: Path, name: str, pack: Any, told: str
) -> None:
    (tmp_path / name).write_bytes(pack(b'{"t": "a", "y": "b"}\n'))
    with pytest.raises(DataError, match=f"compressed.*\n.*{told}"):
        read_rows(tmp_path / name)


@pytest.mark.parametrize("name", ["d.csv", "d.txt", "d.jsonl"])
def test_a_nul_byte_is_told_by_its_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b'"t"\n' if name == "d.csv" else b'{"t": "a"}\n')
    with open(tmp_path / name, "ab") as file:
        file.write(b"a\0b\n")
    with pytest.raises(DataError, match="line 2 holds a NUL byte"):
        read_rows(tmp_path / name)
    (tmp_path / "w.txt").write_bytes("ab".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"line 1 holds a NUL byte.*\n.*UTF-16"):
        read_rows(tmp_path / "w.txt")


def test_columns_without_a_name_and_columns_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "pandas.csv").write_text(",t,y\n0,a,b\n1,c,d\n")
    assert read_rows(tmp_path / "pandas.csv") == [{"t": "a", "y": "b"}, {"t": "c", "y": "d"}]
    (tmp_path / "d.csv").write_text("t,y,t\na,b,c\n")
    with pytest.raises(DataError, match="columns 1 and 3 are both named 't'"):
        read_rows(tmp_path / "d.csv")
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, names=["t", "t"])
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(DataError, match="columns 1 and 2 are both named 't'"):
        read_rows(tmp_path / "d.parquet")
    for name, text in (("d.jsonl", '{"t": 1, "t": 2}\n'), ("d.json", '[{"t": 1, "t": 2}]')):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="the key 't' is given twice"):
            read_rows(tmp_path / name)


def test_a_header_alone_and_another_sign_between_columns(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("t,y\n")
    with pytest.raises(DataError, match=r"d\.csv has no rows"):
        catalog(tmp_path, "d.csv").load("d")
    (tmp_path / "d.csv").write_text("t;y\na;b\n")
    with pytest.raises(DataError, match=r"no column 't'.*\n.*one column, 't;y'"):
        catalog(tmp_path, "d.csv").load("d")


def test_one_object_over_the_whole_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(json.dumps({"data": [{"t": "a"}]}, indent=1))
    with pytest.raises(DataError, match="one object with the keys 'data', expected an array"):
        read_rows(tmp_path / "d.json")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (["a"], "a list of 1 values"),
        ({"a": 1}, "an object with the keys 'a'"),
        (float("inf"), "an infinity"),
        ("a\0b", "text with a NUL character"),
    ],
)
@pytest.mark.parametrize("column", ["t", "y"])
def test_a_value_that_is_no_text_is_told_by_row_and_column(
    tmp_path: Path, column: str, value: Any, what: str
) -> None:
    rows = [{"t": "a", "y": "b"}, {"t": "c", "y": "d", column: value}]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "d.json").write_text(json.dumps(rows))
    for name in ("d.jsonl", "d.json"):
        with pytest.raises(DataError, match=rf"row 2, column '{column}': {what}"):
            catalog(tmp_path, name).load("d")


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (pyarrow.array([None, ["a"]]), "a list of 1 values"),
        (pyarrow.array([None, {"a": 1}]), "an object with the keys 'a'"),
        (pyarrow.array([None, b"ab"]), "2 bytes"),
        (pyarrow.array([None, datetime.date(2020, 1, 2)]), "a date"),
        (pyarrow.array([None, datetime.datetime(2020, 1, 2)]), "a datetime"),
        (pyarrow.array([None, datetime.timedelta(1)]), "a timedelta"),
        (pyarrow.array([None, float("inf")]), "an infinity"),
    ],
)
def test_a_parquet_column_of_another_type(tmp_path: Path, values: Any, what: str) -> None:
    parquet(tmp_path / "d.parquet", t=values, y=["b", "c"])
    with pytest.raises(DataError, match=f"row 2, column 't': {what}"):
        catalog(tmp_path, "d.parquet").load("d")


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pyarrow.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pyarrow.array([Decimal("1.10"), Decimal("2.00"), None]), ["1.10", "2.00", ""]),
        (pyarrow.array([0.1, 1.0, float("nan")], pyarrow.float32()), ["0.1", "1.0", ""]),
        (pyarrow.array([1, None, 3], pyarrow.uint64()), ["1", "", "3"]),
        (pyarrow.array([True, False, None]), ["True", "False", ""]),
        (pyarrow.array(["x", "y", "z"], pyarrow.large_string()), ["x", "y", "z"]),
        (pyarrow.array([None, None, None]), ["", "", ""]),
    ],
)
def test_parquet_types_that_are_text(tmp_path: Path, values: Any, texts: list[str]) -> None:
    parquet(tmp_path / "d.parquet", t=values, y=["a", "b", "c"])
    found = catalog(tmp_path, "d.parquet").load("d").examples
    assert [example.prompt for example in found] == [f"Say: {text}" for text in texts]


def test_columns_that_no_template_names_do_not_matter(tmp_path: Path) -> None:
    odd = {"{b}": [b"x"], "a.b": [[1]], "": [1], "Best Answer": ["good"], "0": ["zero"]}
    parquet(tmp_path / "d.parquet", **odd)
    spec = {"prompt": "{0}", "answer": "{Best Answer}"}
    (found,) = catalog(tmp_path, "d.parquet", **spec).load("d").examples
    assert (found.prompt, found.answer) == ("zero", "good")
    (tmp_path / "d.csv").write_text("0,Best Answer,a.b,{b}\nzero,good,dot,x\n")
    found = catalog(tmp_path, "d.csv", **spec | {"prompt": "{0} {a.b}"}).load("d").examples[0]
    assert (found.prompt, found.answer) == ("zero dot", "good")


def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    parquet(tmp_path / "d.parquet", text=["a"], label=["b"], a=[{"b": 1}])
    for template in ("{t}", "{a.b}", "{Text}"):
        spec = {"prompt": template, "answer": "{label}"}
        with pytest.raises(DataError, match=r"row 1 has no column .*\n  (Known|Did you).*text"):
            catalog(tmp_path, "d.parquet", **spec).load("d")


def test_a_limit_stops_reading(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(b'{"t": "a"}\n{"t": "b"}\nbroken\xff\n')
    assert [row["t"] for row in read_rows(tmp_path / "d.jsonl", limit=2)] == ["a", "b"]
    assert next(iter(iter_rows(tmp_path / "d.jsonl"))) == {"t": "a"}
    with pytest.raises(DataError, match="line 3"):
        read_rows(tmp_path / "d.jsonl")


def _small_file_of_much(path: Path) -> None:
    """Write a file of some KB that means 4 GB of text: one page of one value, again and again."""
    words = pyarrow.array(["x" * 100_000])
    indices = pyarrow.array([0] * 40_000, pyarrow.int32())
    column = pyarrow.DictionaryArray.from_arrays(indices, words)
    pyarrow.parquet.write_table(pyarrow.table({"t": column, "y": ["a"] * 40_000}), path)


@pytest.mark.parametrize("limit", [10, None])
def test_a_small_parquet_file_does_not_take_gigabytes(tmp_path: Path, limit: int | None) -> None:
    _small_file_of_much(tmp_path / "d.parquet")
    assert (tmp_path / "d.parquet").stat().st_size < 1_000_000
    code = (
        "from pathlib import Path\n"
        "from paretune.data.files import iter_rows\n"
        f"rows = iter_rows(Path({str(tmp_path / 'd.parquet')!r}), limit={limit})\n"
        "print(sum(len(row['t']) for row in rows))\n"
    )

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=limited,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 100_000 * (limit or 40_000)


def test_more_than_can_be_held_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import paretune.data.rows as module

    (tmp_path / "d.jsonl").write_text('{"t": "a", "y": "b"}\n' * 6)
    monkeypatch.setattr(module, "MAX_ROWS", 5)
    with pytest.raises(DataError, match=r"more than 5 rows.*row 6.*\n.*limit"):
        catalog(tmp_path, "d.jsonl").load("d")
    assert len(catalog(tmp_path, "d.jsonl", limit=5).load("d").examples) == 5
