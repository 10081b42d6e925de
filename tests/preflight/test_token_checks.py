"""What is told of data by the model's tokenizer, before anything is trained."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune.core.errors import DataError
from paretune.data.catalog import DataCatalog, DataSpec
from paretune.preflight.token_checks import looked_at
from tests.tiny_models import make_tiny_llama

PAIRS: dict[str, Any] = {"file": "d.jsonl", "prompt": "{t}", "answer": "{y}"}
TRAIN = {"kind": "train", "name": "lora", "ref": "d", "max_length": 1024, "loss_on": "answer"}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("tiny"), positions=64)


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer has no end token, and puts nothing before a text."""
    made = make_tiny_llama(tmp_path_factory.mktemp("endless"), bos=False, chat=False)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (made / name).exists():
            settings = json.loads((made / name).read_text())
            settings.pop("eos_token", None)
            (made / name).write_text(json.dumps(settings))
    return made


def look(model: Path, where: Path, rows: list[Any], *uses: dict[str, Any], **spec: Any) -> Any:
    (where / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = DataSpec(**({**PAIRS, **spec} if "prompt" in PAIRS | spec else spec))
    return looked_at(str(model), DataCatalog({"d": made}, where).to_json(), uses, False)


def use(kind: str, **params: Any) -> dict[str, Any]:
    return {"kind": kind, "ref": "d", "params": {"data": "d", **params}}


def rows(*texts: str, answers: str = "ab") -> list[dict[str, str]]:
    return [{"t": text, "y": answers[i % len(answers)]} for i, text in enumerate(texts)]


def test_nothing_is_told_of_data_that_fits(folder: Path, tmp_path: Path) -> None:
    uses = (TRAIN, use("classification"), use("exact_match"), use("perplexity"))
    assert look(folder, tmp_path, rows("one", "two"), *uses) == {"wrong": [], "notes": []}


def test_rows_that_are_cut_are_told_by_number(folder: Path, tmp_path: Path) -> None:
    data = rows("short", "the rain and the sun " * 20, "short too", "a long road " * 30)
    found = look(folder, tmp_path, data, {**TRAIN, "max_length": 32}, use("classification"))
    assert found["wrong"] == []
    training, scoring = found["notes"]
    assert training.startswith("d: 2 rows (2, 4) are longer than max_length 32, and shortened")
    assert scoring.startswith("d: 2 rows (2, 4) are longer than the model's context (64")
    (note,) = look(folder, tmp_path, data, TRAIN)["notes"]
    assert "longer than the context of 64 tokens" in note


def test_a_row_that_fits_nowhere_is_refused_before_training(folder: Path, tmp_path: Path) -> None:
    data = [*rows("one", "two"), *({"t": "x", "y": "long answer " * 40} for _ in range(3))]
    for what in (TRAIN, use("perplexity")):
        (wrong,) = look(folder, tmp_path, data, what)["wrong"]
        assert "d: row 3 needs" in wrong["message"]
    (wrong,) = look(folder, tmp_path, data, TRAIN)["wrong"]
    assert "this concerns 3 rows (3, 4, 5)" in wrong["message"]


def test_a_length_that_some_trainings_have_only_is_noted(folder: Path, tmp_path: Path) -> None:
    data = [*rows("one", "two"), {"t": "x", "y": "an answer of some more tokens"}]
    short = {**TRAIN, "max_length": 4}
    found = look(folder, tmp_path, data, TRAIN, short)
    assert found["wrong"] == []
    assert "lora with max_length 4 cannot train: d: row 3 needs" in found["notes"][0]
    assert look(folder, tmp_path, data, short)["wrong"]


def test_sequences_of_a_corpus_are_held_against_the_context(folder: Path, tmp_path: Path) -> None:
    spec = {"file": "d.jsonl", "text": "{t}", "prompt": None, "answer": None}
    data = rows(*["the rain and the sun and the road " * 9] * 9)
    corpus = {"strategy": "join", "max_length": 65}
    (wrong,) = look(folder, tmp_path, data, TRAIN, **spec, corpus=corpus)["wrong"]
    assert "65 tokens, and the model's context holds 64" in wrong["message"]
    assert not look(folder, tmp_path, data, TRAIN, **spec, corpus={**corpus, "max_length": 64})[
        "wrong"
    ]


def test_answers_that_can_never_match_are_counted(folder: Path, tmp_path: Path) -> None:
    data = [*rows("one", "two"), {"t": "x", "y": "an answer of far too many tokens"}]
    (note,) = look(folder, tmp_path, data, use("exact_match", max_new_tokens=4))["notes"]
    assert "exact_match: row 3 has an answer of d longer than max_new_tokens 4" in note
    assert "they can never match (1 of 3 rows)" in note


def test_an_empty_prompt_is_told_by_its_row(folder: Path, endless: Path, tmp_path: Path) -> None:
    data = rows("one", "", "two", "")
    for what in (TRAIN, use("classification"), use("exact_match"), use("perplexity")):
        (wrong,) = look(endless, tmp_path, data, what)["wrong"]
        assert wrong["message"].startswith("d: 2 rows (2, 4) have an empty prompt")
    # Where the tokenizer puts a token before every text, it is scored from there.
    assert look(folder, tmp_path, data, use("classification"))["wrong"] == []


def test_without_an_end_token_a_label_that_begins_another_is_refused(
    folder: Path, endless: Path, tmp_path: Path
) -> None:
    data = [{"t": "one", "y": "a"}, {"t": "two", "y": "ax"}]
    (wrong,) = look(endless, tmp_path, data, use("classification"))["wrong"]
    assert "label 'a' are the beginning of those of 'ax'" in wrong["message"]
    assert "'ax' can never be chosen" in wrong["message"]
    assert look(folder, tmp_path, data, use("classification"))["wrong"] == []
    apart = [{"t": "one", "y": "x"}, {"t": "two", "y": "ax"}]
    assert look(endless, tmp_path, apart, use("classification"))["wrong"] == []


def test_a_conversation_that_the_template_refuses_is_told(
    folder: Path, endless: Path, tmp_path: Path
) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    spec = {"file": "d.jsonl", "messages": "c", "prompt": None, "answer": None}
    data = [{"c": turns}, {"c": [*turns, *turns]}]
    uses = (TRAIN, use("perplexity"), use("exact_match", max_new_tokens=8))
    assert look(folder, tmp_path, data, *uses, **spec) == {"wrong": [], "notes": []}
    found = look(endless, tmp_path, data, *uses, **spec)["wrong"]
    assert "no chat template" in found[0]["message"]
    assert len({wrong["message"] for wrong in found}) == len(found)


def test_the_largest_number_of_new_tokens_that_leaves_room_is_told(
    folder: Path, tmp_path: Path
) -> None:
    """The template's head cannot be cut: what fits beside it is found, and works."""
    data, head = rows("one", "two", "three"), "read this and answer it now please "
    spec = {"prompt": head + "{t}", "answer": "{y}"}
    (wrong,) = look(folder, tmp_path, data, use("exact_match", max_new_tokens=60), **spec)["wrong"]
    assert wrong["key"] == ["evaluate", "exact_match", "max_new_tokens"]
    assert (
        "60 new tokens leave 4 tokens of the model's context of 64 for a prompt" in wrong["message"]
    )
    assert "in d, 3 rows (1, 2, 3) need up to" in wrong["message"]
    largest = int(wrong["hint"].split("max_new_tokens to ")[1].split()[0])
    assert 1 <= largest < 60
    for new, fits in ((largest, True), (largest + 1, False)):
        found = look(folder, tmp_path, data, use("exact_match", max_new_tokens=new), **spec)
        assert (found["wrong"] == []) is fits


def test_a_row_that_no_number_of_new_tokens_helps_is_the_data_s_fault(
    folder: Path, tmp_path: Path
) -> None:
    data = [*rows("one", "two")]
    spec = {"prompt": "a head of many words that stay " * 12 + "{t}", "answer": "{y}"}
    (wrong,) = look(folder, tmp_path, data, use("exact_match", max_new_tokens=8), **spec)["wrong"]
    assert "key" not in wrong
    assert "d: row 1 needs" in wrong["message"]
    assert "and 56 fit" in wrong["message"]


def test_a_label_beside_which_no_prompt_fits(folder: Path, tmp_path: Path) -> None:
    data = [{"t": "x", "y": "a very long label " * 20}, {"t": "y", "y": "b"}]
    (wrong,) = look(folder, tmp_path, data, use("classification"))["wrong"]
    assert "the label 'a very long label" in wrong["message"]
    assert "context of 64" in wrong["message"]


def test_the_key_is_named_by_dry_run_and_search(folder: Path, tmp_path: Path) -> None:
    from paretune.api import optimize
    from paretune.core.errors import ConfigError
    from paretune.preflight.dry_run import foresee

    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows("one", "two"))))
    config = {
        "model": str(folder),
        "data": {"d": {**PAIRS, "prompt": "many words before it: {t}"}},
        "passes": [{"genai": {"precision": "fp32"}}],
        "evaluate": ["footprint", {"exact_match": {"data": "d", "max_new_tokens": 62}}],
        "objectives": {"maximize": "exact_match"},
    }
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    told = []
    for run in (
        lambda: foresee(file, store=tmp_path / "store"),
        lambda: optimize(file, study=tmp_path / "study", store=tmp_path / "store"),
    ):
        with pytest.raises(
            ConfigError, match="62 new tokens leave 2 tokens of the model's"
        ) as error:
            run()
        assert error.value.key == "evaluate[1].exact_match.max_new_tokens"
        assert error.value.line is not None
        told.append(str(error.value))
    assert told[0] == told[1]


def test_the_dry_run_and_the_search_tell_the_same(folder: Path, tmp_path: Path) -> None:
    from paretune.api import optimize
    from paretune.preflight.dry_run import foresee

    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows("one", "two"))))
    config = {
        "model": str(folder),
        "data": {"d": {**PAIRS, "chat": True}},
        "passes": [{"lora": {"train": "d", "max_length": 8}}, "merge"],
        "evaluate": [{"classification": {"data": "d"}}],
        "objectives": {"maximize": "accuracy"},
    }
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(config))
    told = []
    for run in (
        lambda: foresee(file, store=tmp_path / "store"),
        lambda: optimize(file, study=tmp_path / "study", store=tmp_path / "store"),
    ):
        with pytest.raises(DataError, match=r"d: row 1 needs \d+ tokens at least, and 8 fit") as e:
            run()
        told.append(str(e.value))
    assert told[0] == told[1]
    assert not list((tmp_path / "study").glob("candidates/*"))
