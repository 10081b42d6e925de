"""Whatever stands in a data file: rows of plain values, or a DataError that names the file."""

import io
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paretune.core.errors import DataError
from paretune.data.catalog import DataCatalog, DataSpec
from tests.rows import read_rows
from tests.security.fuzzing import damaged, fuzz

ROWS = [{"text": f"text {i}", "label": "ab"[i % 2], "n": i} for i in range(4)]
JSONL = b'{"text": "one", "label": "a"}\n{"text": "\\u00e9", "label": null}\n'
CSV = b'text,label\n"a ""quoted"", text",x\nb,y\n'
SIGNS = b'{}[]",:\\ \n\r\0\xff\xed\xa0\x80aud8e0-1'


def parquet() -> bytes:
    made = io.BytesIO()
    table = pyarrow.Table.from_pylist(ROWS)
    days = pyarrow.array([1, 2, 3, None], pyarrow.date32())
    table = table.append_column("day", days).append_column(
        "list", pyarrow.array([[1], [], None, [2]])
    )
    pyarrow.parquet.write_table(table, made)
    return made.getvalue()


def check(folder: Path, content: bytes, format: str) -> None:
    """Read a file, and what a data set of it would hold: its digest can be taken."""
    (folder / "rows").write_bytes(content)
    try:
        rows = read_rows(folder / "rows", format)
        assert all(isinstance(key, str) for row in rows for key in row)
        catalog = DataCatalog({"d": _spec(rows, format)}, folder)
        assert catalog.digest("d")
    except DataError as error:
        assert error.exit_status == 2
        assert "rows" in error.message
        str(error).encode("utf-8", "backslashreplace")


def _spec(rows: list[dict[str, Any]], format: Any) -> DataSpec:
    columns = [key for key in (rows[0] if rows else {}) if key.isidentifier()]
    text = "".join("{" + column + "}" for column in columns) or "{text}"
    return DataSpec(file="rows", format=format, text=text)


@pytest.mark.parametrize("format", ["json", "jsonl", "csv", "parquet", "text"])
@fuzz(40)
@given(content=st.binary(max_size=60))
def test_any_bytes(tmp_path: Path, format: str, content: bytes) -> None:
    check(tmp_path, content, format)


@pytest.mark.parametrize("format", ["json", "jsonl", "csv", "text"])
@fuzz(60)
@given(content=st.lists(st.sampled_from([bytes([b]) for b in SIGNS]), max_size=40).map(b"".join))
@example(content=b'{"text": "\\ud800"}')
@example(content=b'{"text": {"a": [NaN, 1e999, -0]}}')
@example(content=b'{"text": ' + b"9" * 5000 + b"}")
@example(content=b'{"text": ' + b"[" * 5000 + b"]" * 5000 + b"}")
@example(content=b'[{"text": ' + b"[" * 99 + b"]" * 99 + b"}]")
@example(content=b'{"text": 1, "text": "2"}')
@example(content=b"text\n" + b"x" * 200_000)
@example(content="text\na\u2028b\n".encode())
def test_the_signs_that_mean_something(tmp_path: Path, format: str, content: bytes) -> None:
    check(tmp_path, content, format)


@pytest.mark.parametrize(("format", "valid"), [("jsonl", JSONL), ("json", JSONL), ("csv", CSV)])
@fuzz(50)
@given(data=st.data())
def test_a_valid_text_gone_wrong(
    tmp_path: Path, format: str, valid: bytes, data: st.DataObject
) -> None:
    check(tmp_path, data.draw(damaged(valid)), format)


@fuzz(150)
@given(damaged(parquet()))
def test_a_valid_parquet_file_gone_wrong(tmp_path: Path, content: bytes) -> None:
    check(tmp_path, content, "parquet")


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([b"\xff\xfe"], pyarrow.binary()).view(pyarrow.string()),
        pyarrow.array([1 << 30], pyarrow.date32()),
        pyarrow.array([1 << 62], pyarrow.duration("s")),
    ],
)
def test_values_that_python_does_not_have(tmp_path: Path, column: Any) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="not a Parquet file"):
        read_rows(tmp_path / "rows.parquet")


def test_a_line_break_that_only_unicode_knows_stays_in_its_cell(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na\u2028b\x0cc,x\n", encoding="utf-8")
    assert read_rows(tmp_path / "rows.csv") == [{"text": "a\u2028b\x0cc", "label": "x"}]
