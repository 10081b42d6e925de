import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.errors import DataError, UsageError
from paretune.data.catalog import DataCatalog, DataSpec, Example, Split
from paretune.data.splitting import divide
from tests.rows import read_rows

ROWS = [{"phrase": f"phrase {i}", "tone": "ab"[i % 2]} for i in range(10)]
TEMPLATES = {"prompt": "Text: {phrase}\n", "answer": "{tone}"}


def lines(path: Path, rows: list[dict[str, str]] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def catalog(folder: Path, **spec: object) -> DataCatalog:
    lines(folder / "d.jsonl")
    return DataCatalog({"d": DataSpec(**{"file": "d.jsonl", **TEMPLATES, **spec})}, folder)  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["jsonl", "lines.json", "array.json", "csv", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"d.{format}"
    if format == "array.json":
        path.write_text(json.dumps(ROWS))
    elif format == "csv":
        path.write_text("phrase,tone\n" + "".join(f"{r['phrase']},{r['tone']}\n" for r in ROWS))
    elif format == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        lines(path)
    assert read_rows(path) == ROWS


def test_templates_are_filled(tmp_path: Path) -> None:
    data = catalog(tmp_path).load("d")
    assert data.examples[3] == Example("Text: phrase 3\n", "b", 3)
    assert data.labels == ("a", "b")
    assert catalog(tmp_path, prompt="{{x}} {phrase}").load("d").examples[0].prompt == "{x} phrase 0"


def test_rows_are_left_out_at_the_beginning_and_keep_their_numbers(tmp_path: Path) -> None:
    data = catalog(tmp_path, skip=4, limit=3).load("d")
    assert [(e.prompt, e.row) for e in data.examples] == [
        (f"Text: phrase {i}\n", i) for i in (4, 5, 6)
    ]
    assert len(catalog(tmp_path, skip=4).load("d").examples) == 6
    with pytest.raises(DataError, match="has no rows"):
        catalog(tmp_path, skip=10).load("d")


def test_plain_text_has_no_prompt(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("one\n\ntwo\n")
    data = DataCatalog({"t": DataSpec(file="t.txt", text="{text}")}, tmp_path).load("t")
    assert [(e.prompt, e.answer) for e in data.examples] == [("", "one"), ("", "two")]


@given(
    st.lists(st.text("abc ", min_size=1, max_size=3), min_size=2, max_size=30),
    st.floats(0.05, 0.95),
    st.integers(0, 5),
)
def test_no_text_is_on_both_sides_and_none_is_lost(
    texts: list[str], share: float, seed: int
) -> None:
    split = Split(test=share, seed=seed)
    sides = divide(split, texts)
    assert sorted(sides["train"] + sides["test"]) == list(range(len(texts)))
    same = [{" ".join(texts[n].split()) for n in side} for side in sides.values()]
    assert not same[0] & same[1]
    assert len(same[1]) == round(share * len(same[0] | same[1]))
    assert divide(split, texts) == sides


@given(
    st.lists(st.sampled_from([*"abcdefghijklmnop"]), min_size=1, max_size=40),
    st.floats(0.05, 0.6),
    st.floats(0.05, 0.35),
    st.integers(0, 5),
)
def test_what_is_kept_aside_shares_no_text_with_the_other_sides_and_leaves_test_as_it_was(
    texts: list[str], test: float, confirm: float, seed: int
) -> None:
    spaced = [text + " " * (i % 3) for i, text in enumerate(texts)]
    three = divide(Split(test=test, confirm=confirm, seed=seed), spaced)
    two = divide(Split(test=test, seed=seed), spaced)
    assert three["test"] == two["test"]
    assert sorted(n for side in three.values() for n in side) == list(range(len(spaced)))
    same = {name: {spaced[n].strip() for n in side} for name, side in three.items()}
    assert not same["train"] & same["confirm"]
    assert not same["test"] & same["confirm"]
    assert not same["train"] & same["test"]


def test_a_part_that_is_kept_aside(tmp_path: Path) -> None:
    made = catalog(tmp_path, split={"test": 0.3, "confirm": 0.3})
    assert "d.confirm" in made.references
    assert made.kept_aside("d.test") == made.kept_aside("d") == "d.confirm"
    assert made.load("d.confirm").examples
    without = catalog(tmp_path, split={"test": 0.3})
    assert without.kept_aside("d.test") is None
    assert "d.confirm" not in without.references
    assert without.digest("d.test") == made.digest("d.test")
    with pytest.raises(ValueError, match="leave nothing to train on"):
        Split(test=0.6, confirm=0.4)
    with pytest.raises(ValueError, match="divides one file"):
        DataSpec(hub="x", split={"test": 0.2}, **TEMPLATES)  # type: ignore[arg-type]


def test_another_seed_and_another_column_divide_otherwise(tmp_path: Path) -> None:
    first = catalog(tmp_path, split={"test": 0.3, "seed": 0}).load("d.test")
    other = catalog(tmp_path, split={"test": 0.3, "seed": 1}).load("d.test")
    assert first.digest != other.digest
    grouped = catalog(tmp_path, split={"test": 0.5, "group": "tone"})
    assert len(grouped.load("d.test").labels) == 1
    assert not set(grouped.load("d.test").labels) & set(grouped.load("d.train").labels)


def test_duplicates_across_given_splits_are_reported(tmp_path: Path) -> None:
    lines(tmp_path / "train.jsonl", ROWS[:6])
    lines(tmp_path / "test.jsonl", ROWS[5:])
    spec = DataSpec(files={"train": "train.jsonl", "test": "test.jsonl"}, **TEMPLATES)  # type: ignore[arg-type]
    note = DataCatalog({"d": spec}, tmp_path).overlap("d.train", "d.test")
    assert note is not None
    told = f"1 of {len(ROWS[5:])} rows of d.test have a text that d.train has too"
    assert note.startswith(told)


def test_a_split_shares_nothing_and_the_whole_shares_everything(tmp_path: Path) -> None:
    divided = catalog(tmp_path, split={"test": 0.3})
    assert divided.overlap("d.train", "d.test") is None
    assert divided.overlap("d", "d.test") is not None


def test_a_catalog_travels_as_json(tmp_path: Path) -> None:
    here = catalog(tmp_path, split={"test": 0.3})
    there = DataCatalog.from_json(json.loads(json.dumps(here.to_json())))
    assert there.digest("d.test") == here.digest("d.test")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"phrase": "a", "tone": "b"}\n{"phrase": \n', "line 2 is not JSON"),
        ("[1]\n", "line 1 is a list"),
        ("1\n", "line 1 is a int"),
        ("", "no rows"),
        ('{"phrase": "a", "tone": ""}', "row 1 has no answer"),
        ('{"phrase": "a", "tone": null}', "row 1 has no answer"),
        ('{"phrase": "a", "tonne": "b"}', "row 1 has no column 'tone'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "d.jsonl").write_text(content)
    made = DataCatalog({"d": DataSpec(file="d.jsonl", **TEMPLATES)}, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=told):
        made.load("d")


def test_other_broken_files(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(DataError, match="line 3 does not have the 2 columns"):
        read_rows(tmp_path / "bad.csv")
    (tmp_path / "latin.jsonl").write_bytes(b'{"a": 1}\n{"a": "\xe9"}\n')
    with pytest.raises(DataError, match="line 2 is not UTF-8"):
        read_rows(tmp_path / "latin.jsonl")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="not a Parquet file"):
        read_rows(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="no such file"):
        read_rows(tmp_path / "absent.jsonl")
    (tmp_path / "what.xyz").write_text("")
    with pytest.raises(DataError, match=r"suffix '\.xyz'"):
        read_rows(tmp_path / "what.xyz")


@given(st.binary(max_size=60), st.sampled_from(["json", "jsonl", "csv", "text"]))
def test_any_bytes_are_rows_or_a_clean_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, format: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.write_bytes(content)
    with contextlib.suppress(UsageError):
        read_rows(path, format)


def test_the_hub_is_off_unless_allowed(tmp_path: Path) -> None:
    made = DataCatalog({"d": DataSpec(hub="org/name", **TEMPLATES)}, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="the network is off"):
        made.load("d.train")


def test_an_unknown_reference_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Did you mean 'd\.train'"):
        catalog(tmp_path, split={"test": 0.3}).load("d.trian")


def made(folder: Path, content: str, **spec: object) -> DataCatalog:
    (folder / "d.jsonl").write_text(content)
    return DataCatalog({"d": DataSpec(**{"file": "d.jsonl", **TEMPLATES, **spec})}, folder)  # type: ignore[arg-type]


def test_blank_rows_are_passed_over_and_counted(tmp_path: Path) -> None:
    rows = [
        '{"phrase": "", "tone": ""}',
        '{"phrase": "a", "tone": "b"}',
        '{"phrase": null, "tone": NaN}',
    ]
    data = made(tmp_path, "\n".join(rows))
    assert [example.row for example in data.load("d").examples] == [1]
    assert data.notes(["d"]) == ("data set 'd': d.jsonl: 2 rows (1, 3) are blank, passed over",)
    text = made(
        tmp_path, '{"t": ""}\n{"t": " "}\n{"t": "x"}\n', prompt=None, answer=None, text="{t}"
    )
    assert [example.answer for example in text.load("d").examples] == ["x"]
    blank = made(tmp_path, '{"t": ""}\n', prompt=None, answer=None, text="{t}")
    with pytest.raises(DataError, match=r"no rows \(row 1 is blank"):
        blank.load("d")


def test_a_missing_value_is_no_text(tmp_path: Path) -> None:
    data = made(tmp_path, '{"phrase": NaN, "tone": "x"}\n{"phrase": "a", "tone": "y"}\n')
    assert data.load("d").examples[0].prompt == "Text: \n"
    (note,) = data.notes(["d", "d"])
    assert "row 1 has nothing in 'phrase'" in note
    with pytest.raises(DataError, match="row 1 has no answer"):
        made(tmp_path, '{"phrase": "a", "tone": NaN}').load("d")


def test_several_kinds_of_values_and_constant_templates_are_told(tmp_path: Path) -> None:
    rows = '{"phrase": "a", "tone": 1}\n{"phrase": "b", "tone": "1"}\n'
    (note,) = made(tmp_path, rows).notes(["d"])
    assert "column 'tone' holds numbers (row 1) and text (row 2)" in note
    (note,) = made(tmp_path, rows.replace('"1"', "2"), prompt="phrase").notes(["d"])
    assert "the prompt 'phrase' names no column" in note


@pytest.mark.parametrize("name", ["tone.v2", "a.b.c", "Best Answer", "7", "é", "train", "x.train"])
def test_a_data_set_of_any_name(tmp_path: Path, name: str) -> None:
    lines(tmp_path / "d.jsonl")
    spec = DataSpec(file="d.jsonl", split={"test": 0.3}, **TEMPLATES)  # type: ignore[arg-type]
    data = DataCatalog({name: spec}, tmp_path)
    assert set(data.references) == {name, f"{name}.train", f"{name}.test"}
    parts = data.load(f"{name}.train").examples + data.load(f"{name}.test").examples
    assert sorted(parts, key=lambda e: e.row) == list(data.load(name).examples)
    assert data.name_of(f"{name}.test") == name


def test_a_conversation_is_an_example(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    for value in (turns, json.dumps(turns)):
        data = made(
            tmp_path,
            json.dumps({"c": value}) + '\n{"c": null}\n',
            prompt=None,
            answer=None,
            messages="c",
        )
        (example,) = data.load("d").examples
        assert (example.prompt, example.answer) == ("user: hi", "hello")
        assert [turn.to_json() for turn in example.turns] == turns
        assert data.load("d").form == "conversations"
    row = json.dumps({"c": [*turns, turns[0]]})
    with pytest.raises(DataError, match=r"row 1, column 'c': the last turn \(user\)"):
        made(tmp_path, row, prompt=None, answer=None, messages="c").load("d")


def test_one_conversation_at_several_lengths_stays_on_one_side(tmp_path: Path) -> None:
    rows = []
    for i in range(12):
        turns: list[dict[str, str]] = [{"role": "system", "content": "be kind"}]
        for n in range(3):
            turns.append({"role": "user", "content": f"question {i}" if n == 0 else "go on"})
            turns.append({"role": "assistant", "content": f"answer {n}"})
            rows.append(json.dumps({"c": list(turns)}))
    spec = {"prompt": None, "answer": None, "messages": "c", "split": {"test": 0.5}}
    data = made(tmp_path, "\n".join(rows), **spec)
    sides = [{e.turns[1].content for e in data.load(f"d.{s}").examples} for s in ("train", "test")]
    assert len(sides[0] | sides[1]) == 12
    assert not sides[0] & sides[1]
