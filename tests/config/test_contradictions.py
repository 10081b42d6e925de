"""One text with several answers is told, within what is trained or measured on and between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paretune.config.contradictions import contradictions
from paretune.data.catalog import DataCatalog, DataSpec


def told(
    where: Path, train: list[Any], test: list[Any], by_label: set[str] | None = None, **spec: Any
) -> list[str]:
    for name, rows in (("a", train), ("b", test)):
        (where / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given: dict[str, Any] = spec or {"prompt": "Say: {t}", "answer": "{y}"}
    made = DataSpec(files={"train": "a.jsonl", "test": "b.jsonl"}, **given)
    catalog = DataCatalog({"d": made}, where)
    labels = {"d.test"} if by_label is None else by_label
    return list(contradictions(catalog, {"d.train"}, {"d.test"}, labels))


def rows(*pairs: str) -> list[dict[str, str]]:
    return [dict(zip("ty", pair.split(":"), strict=True)) for pair in pairs]


def test_nothing_is_told_of_rows_that_agree(tmp_path: Path) -> None:
    train = rows("one:a", "two:b", "one:a", "One:b", "on e:b")
    assert told(tmp_path, train, rows("one:a", "three:b")) == []


def test_texts_with_several_labels_are_counted_with_rows(tmp_path: Path) -> None:
    train = rows("one:a", "two:b", "one:b", "  one :a", "three:a", "two:a")
    (note,) = told(tmp_path, train, rows("four:a", "five:b"))
    assert note.startswith(
        "d.train: 2 texts with more than one answer: 5 rows (1, 2, 3, ...) are affected, such as "
        "row 1 ('a') and row 3 ('b') with the text 'Say: one'"
    )
    (note,) = told(tmp_path, rows("x:a", "y:b"), rows("one:a", "one:b"))
    assert "d.test: one text with more than one answer: 2 rows (1, 2) are affected" in note


def test_train_and_test_that_differ_are_told_with_both_rows(tmp_path: Path) -> None:
    train = rows("one:a", "two:b", "three:a")
    (note,) = told(tmp_path, train, rows("zero:a", "two:a", "three:a"))
    assert note.startswith(
        "d.test: row 2 has a different answer than d.train for the same text, such as row 2 ('a'; "
        "d.train: row 2, 'b') with the text 'Say: two'"
    )
    # An answer that training has too, beside another, is one of those that were learned.
    (note,) = told(tmp_path, rows("one:a", "one:b"), rows("one:b", "x:a"))
    assert note.startswith("d.train")


def test_a_prompt_without_columns_and_plain_text_are_passed_over(tmp_path: Path) -> None:
    data = rows("one:a", "two:b")
    assert told(tmp_path, data, data, set(), prompt="Say:", answer="{y}") == []
    assert told(tmp_path, data, data, set(), text="{t} {y}") == []


@pytest.mark.parametrize(("by_label", "count"), [({"d.test"}, 2), (set(), 0)])
def test_conversations_count_where_their_answers_are_labels(
    tmp_path: Path, by_label: set[str], count: int
) -> None:
    def talk(answer: str) -> dict[str, Any]:
        turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]
        return {"m": turns}

    train, test = [talk("a"), talk("b")], [talk("a"), talk("b")]
    assert len(told(tmp_path, train, test, by_label, messages="m")) == count


def test_a_configuration_notes_them(tmp_path: Path) -> None:
    import yaml

    from paretune.config import load
    from tests.tiny_models import make_tiny_llama

    make_tiny_llama(tmp_path / "m")
    (tmp_path / "d.csv").write_text("t,y\none,a\none,b\ntwo,a\nthree,b\n")
    config = {
        "model": "m",
        "data": {"d": {"file": "d.csv", "prompt": "{t}", "answer": "{y}"}},
        "passes": [],
        "evaluate": [{"classification": {"data": "d"}}],
        "objectives": {"maximize": "accuracy"},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert sum("with more than one answer" in note for note in load(tmp_path / "c.yaml").notes) == 1
