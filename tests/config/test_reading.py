from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.config.reading import read_configuration, read_source
from paretune.config.schema import ConfigFile
from paretune.core.errors import ConfigError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | TEXT | st.floats(-1e18, 1e18),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(
    value=st.dictionaries(TEXT, VALUES, max_size=4),
    indent=st.sampled_from([None, 0, 2, "\t", "\t\t", " \t"]),
    separators=st.sampled_from([(",", ":"), (", ", ": "), ("\t,", "\t:\t"), (" , ", "\n:")]),
    ascii=st.booleans(),
)
def test_what_json_writes_is_read_as_json_reads_it(
    value: Any, indent: Any, separators: tuple[str, str], ascii: bool
) -> None:
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=ascii)
    found = read_source(text, "c.json").value
    assert found == json.loads(text)
    assert repr(found) == repr(json.loads(text))  # 1 is not 1.0, nor True


@pytest.mark.parametrize("number", ["1e-4", "1E5", "-2e+3", "5e-05", "1.5e3", "0.5", "12", "-0.0"])
def test_every_form_of_a_number(number: str) -> None:
    assert read_source(f'{{"a":\t{number}}}', "c.json").value == {"a": json.loads(number)}


def test_lines_are_those_of_the_file() -> None:
    source = read_source('{\n\t"a": "x\\ty",\n\t"b":\n\t\t[1,\n\t\t2e3]\n}', "c.json")
    assert source.value == {"a": "x\ty", "b": [1, 2000.0]}
    assert [source.line(path) for path in (("a",), ("b",), ("b", 1))] == [2, 3, 5]


def test_yaml_that_begins_as_json_does_stays_yaml() -> None:
    assert read_source("{a: 'x\ty', b: [1, 2]}  # note", "c.yaml").value == {
        "a": "x\ty",
        "b": [1, 2],
    }


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: caf\xe9\n", "c.yaml:1: not UTF-8 text"),
        (b"a: 1\nb: \xff\n", "c.yaml:2: not UTF-8 text"),
        (b"#" * (4 << 20) + b"##", "larger than"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=told.split("c.yaml")[-1]):
        read_configuration(tmp_path / "c.yaml")


def test_an_endless_file_ends(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than"):
        read_configuration(Path("/dev/zero"))


@pytest.mark.parametrize("value", [0, "0s", "0", 0.0])
def test_the_finals_can_be_turned_off(value: object) -> None:
    rest = {"model": "m", "evaluate": ["footprint"], "objectives": {"minimize": "size_mb"}}
    assert ConfigFile.model_validate({**rest, "search": {"finals": value}}).search.finals == 0
    with pytest.raises(ValueError, match="greater than 0"):
        ConfigFile.model_validate({**rest, "search": {"time": value}})
