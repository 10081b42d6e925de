"""Whatever stands in a results document: the document, or a StateError that names the file."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.errors import StateError
from paretune.study.results import read_results
from tests.security.documents import document
from tests.security.fuzzing import damaged, fuzz, json_values, mutated

VALID = document("text")
WORDS = ("ok", "failed", "full", "schema", "candidates", "metrics", "value", "id", "pass", "<=")


def check(folder: Path, content: bytes) -> None:
    (folder / "results.json").write_bytes(content)
    try:
        found = read_results(folder / "results.json")
    except StateError as error:
        assert error.exit_status == 4
        assert "results.json" in error.message
        assert error.hint is not None
    else:
        assert found.schema_ == 1
        assert {candidate.outcome for candidate in found.candidates} <= {"ok", "failed"}


@fuzz(60)
@given(st.binary(max_size=100) | damaged(json.dumps(VALID).encode()))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    check(tmp_path, content)


@fuzz(60)
@given(json_values(WORDS))
def test_any_structure(tmp_path: Path, value: Any) -> None:
    check(tmp_path, json.dumps(value).encode())


@fuzz(120)
@given(mutated(VALID, WORDS))
def test_a_valid_one_gone_wrong(tmp_path: Path, value: Any) -> None:
    check(tmp_path, json.dumps(value).encode())


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, "", "null", '"\\ud800"', "9" * 5000]
)
def test_what_no_reader_should_be_given(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(StateError, match=r"results\.json"):
        read_results(tmp_path / "results.json")


def test_a_document_beyond_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "results.json", "wb") as file:
        file.truncate(1 << 40)  # takes no space on disk
    with pytest.raises(StateError, match="larger than"):
        read_results(tmp_path / "results.json")
