"""Rows of arrays in one file: the same rows come back, and the same rows make the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from paretune.core.errors import DataError, InputChangedError
from paretune.core.stamps import file_digest
from paretune.data.arrays import ArrayData, ArrayRow, inputs_digest
from paretune.data.catalog import DataCatalog
from paretune.data.kept_arrays import keep_rows, kept_rows
from paretune.data.spec import DataSpec

NUMBERS = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(endianness="<"),
    arrays.unsigned_integer_dtypes(endianness=">"),
    arrays.floating_dtypes(endianness="<"),
)
ARRAYS = arrays.arrays(NUMBERS, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
ROWS = st.lists(
    st.tuples(ARRAYS, ARRAYS, st.none() | st.integers() | st.text() | st.lists(st.integers())),
    min_size=1,
    max_size=5,
)


def made(rows: list[tuple[np.ndarray, np.ndarray, object]]) -> ArrayData:
    found = []
    for number, (one, two, target) in enumerate(rows):
        inputs = {"pixel values/0": one, "": two}
        digest = inputs_digest(inputs)
        found.append(ArrayRow(inputs, target, 3 * number, f"group {number}", digest))
    return ArrayData("rows.test", tuple(found))


@given(rows=ROWS)
def test_what_comes_back_is_what_was_written(
    rows: list[tuple[np.ndarray, np.ndarray, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    data = made(rows)
    keep_rows(data, folder / "one.zip")
    keep_rows(data, folder / "two.zip")
    assert file_digest(folder / "one.zip") == file_digest(folder / "two.zip")
    again = kept_rows(folder / "one.zip", "rows.test")
    assert again.digest == data.digest
    for row, before in zip(again.rows, data.rows, strict=True):
        assert (row.row, row.group, row.target) == (before.row, before.group, before.target)
        for name, array in before.inputs.items():
            assert row.inputs[name].dtype == array.dtype
            assert row.inputs[name].shape == array.shape
            assert row.inputs[name].tobytes() == array.tobytes()
            assert row.inputs[name].flags.writeable
    assert sorted(file.name for file in folder.iterdir()) == ["one.zip", "two.zip"]


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_a_damaged_file_is_named(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "rows.zip"
    keep_rows(made([(np.ones((4, 4)), np.ones(2), 1)]), file)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"rows\.test: the copy of its rows in .* cannot be read"):
        kept_rows(file, "rows.test")


def test_a_job_reads_the_copy_alone_and_notices_another_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.arange(8.0).reshape(4, 2), y=np.arange(4))
    spec = DataSpec(file="rows.npz", inputs={"x": "x"}, target="y", split={"test": 0.5})
    catalog = DataCatalog({"rows": spec}, tmp_path)
    file = catalog.keep("rows.test", tmp_path / "study" / "arrays")
    told = catalog.to_json()
    (tmp_path / "rows.npz").unlink()
    job = DataCatalog.from_json(told)
    assert job.arrays("rows.test").digest == catalog.digest("rows.test")
    assert [row.row for row in job.arrays("rows.test").rows] == [
        row.row for row in catalog.arrays("rows.test").rows
    ]
    keep_rows(made([(np.ones(2), np.ones(1), 1)]), file)
    with pytest.raises(InputChangedError, match=r"data rows\.test changed"):
        DataCatalog.from_json(told).arrays("rows.test")
