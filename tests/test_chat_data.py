"""Conversations from a file to figures: trained on, scored, classified and generated."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune.data.catalog import DataCatalog, DataSpec
from paretune.data.example_tokens import ExampleEncoder
from paretune.passes.lora.params import LoraParams
from paretune.passes.lora.rows import IGNORED, encode, joined, left_padded
from tests.tiny_models import make_tiny_llama


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("tiny"))


def conversations(count: int = 24, share: bool = False) -> list[dict[str, Any]]:
    """Return rows whose last answer depends on one word of the last question."""
    words = {"joy": "sun", "fear": "dark"}
    rows = []
    for i in range(count):
        label = ("joy", "fear")[i % 2]
        turns = [
            ("system", "one word"),
            ("user", f"day {i}"),
            ("assistant", "the rain"),
            ("user", f"the {words[label]} today {i}"),
            ("assistant", label),
        ]
        names = {"user": "human", "assistant": "gpt", "system": "system"}
        rows.append(
            {
                "c": [
                    {"from": names[role], "value": text}
                    if share
                    else {"role": role, "content": text}
                    for role, text in turns[i % 3 and 1 :]
                ]
            }
        )
    return rows


def data_in(folder: Path, rows: list[dict[str, Any]]) -> DataCatalog:
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return DataCatalog({"d": DataSpec(file="d.jsonl", messages="c")}, folder)


def test_both_ways_to_write_a_conversation_are_the_same_data(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    one, other = (
        data_in(tmp_path, conversations()),
        data_in(tmp_path / "share", conversations(share=True)),
    )
    assert one.load("d").examples == other.load("d").examples
    assert one.digest("d") == other.digest("d")
    assert one.labels("d") == ("fear", "joy")


@pytest.mark.parametrize("batch", [joined, lambda rows: left_padded(rows, 0)])
def test_only_the_assistants_turns_have_a_loss(folder: Path, tmp_path: Path, batch: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    data = data_in(tmp_path, conversations(6)).load("d")
    rows, cut = encode(tokenizer, data, "d", LoraParams(train="d"), 256)
    assert cut == 0
    made = batch(rows)
    learned = [int(token) for token in made["shift_labels"].flatten() if token != IGNORED]
    answers = [
        turn.content
        for example in data.examples
        for turn in example.turns
        if turn.role == "assistant"
    ]
    assert tokenizer.decode(learned) == "".join(f"{answer}<|im_end|>" for answer in answers)
    assert len(learned) == sum(row.targets for row in rows)


def test_training_classification_and_generation_know_the_same_prompt(
    folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    data = data_in(tmp_path, conversations(6)).load("d")
    encoder = ExampleEncoder(tokenizer, False, "d")
    rows, _ = encode(tokenizer, data, "d", LoraParams(train="d"), 256)
    for row, example in zip(rows, data.examples, strict=True):
        begin, end = row.learned[-1]
        assert list(row.ids[:begin]) == encoder.prompt(example)
        assert list(row.ids[begin:end]) == encoder.answer(example, example.answer)


@pytest.mark.slow  # a training and three evaluators in processes of their own
def test_a_search_over_conversations(folder: Path, tmp_path: Path) -> None:
    from paretune.api import optimize

    data_in(tmp_path, conversations(40))
    config = {
        "model": str(folder),
        "data": {"d": {"file": "d.jsonl", "messages": "c", "split": {"test": 0.3}}},
        "passes": [
            {
                "lora": {
                    "train": "d.train",
                    "r": 8,
                    "learning_rate": 1e-2,
                    "epochs": 3,
                    "batch_size": 4,
                }
            },
            "merge",
        ],
        "evaluate": [
            {"perplexity": {"data": "d.test"}},
            {"classification": {"data": "d.test"}},
            {"exact_match": {"data": "d.test", "max_new_tokens": 8}},
        ],
        "objectives": {"minimize": "perplexity"},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    found = optimize(tmp_path / "c.yaml", study=tmp_path / "study", store=tmp_path / "store")
    trained = found.results["candidates"][-1]["metrics"]
    base = found.results["baseline"]["metrics"]
    assert trained["perplexity"]["value"] < 0.5 * base["perplexity"]["value"]
    # Two tokens each: a label and the end of the turn; more where there are earlier answers.
    assert trained["perplexity"]["n"] > 2 * 12
    assert trained["accuracy"]["n"] == trained["exact_match"]["n"] == 12


def test_a_file_in_both_ways_is_noted_with_rows(tmp_path: Path) -> None:
    rows = conversations(12)
    rows[4:6] = conversations(6, share=True)[4:6]
    catalog = data_in(tmp_path, rows)
    assert catalog.load("d").examples == data_in(tmp_path, conversations(12)).load("d").examples
    (note,) = catalog.notes(["d"])
    assert "turns are written in two ways, and both are read" in note
    assert "2 rows (5, 6) have 'from' and 'value'; 10 rows (1, 2, 3, ...) have 'role'" in note
    mixed = [*rows[0]["c"][:-1], {"from": "gpt", "value": "joy"}]
    (note,) = data_in(tmp_path, [{"c": mixed}]).notes(["d"])  # within one conversation, too
    assert "row 1 has 'from' and 'value'; row 1 has 'role' and 'content'" in note
    assert data_in(tmp_path, conversations(12)).notes(["d"]) == ()
