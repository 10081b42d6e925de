"""Data configurations: where rows come from, and how they become text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_study import write_stub_model

from paretune.config import load
from paretune.config.olive import Status
from paretune.data.catalog import DataCatalog
from tests.config.olive.olive_files import entry, flat, nested, refused, translation, whole

LOAD, PREPARE = "data_configs[0].load_dataset_config.", "data_configs[0].pre_process_data_config."


def data(load: Any = None, prepare: Any = None, form: Any = flat, **own: Any) -> dict[str, Any]:
    """Return a configuration whose one data set is loaded and prepared so."""
    value: dict[str, Any] = form()
    config = value["data_configs"][0]
    if form is nested:
        parameters = config["params_config"]
        parameters |= load or {}
        parameters["component_kwargs"]["pre_process_data"] |= prepare or {}
    else:
        config["load_dataset_config"] |= load or {}
        config["pre_process_data_config"] |= prepare or {}
    config |= own
    return value


def spec(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = whole(value)["data"]["tone"]
    return found


def reference(value: dict[str, Any]) -> Any:
    return whole(value)["passes"][0]["lora"]["train"]


def test_both_generations_and_the_one_between_say_the_same() -> None:
    between = nested()
    parameters = between["data_configs"][0].pop("params_config")
    prepare = parameters.pop("component_kwargs")["pre_process_data"]
    between["data_configs"][0] |= {
        "load_dataset_config": {"params": parameters},
        "pre_process_data_config": {"params": prepare},
    }
    assert whole(between) == whole(nested())
    by_name = nested()
    by_name["data_configs"] = {"tone": by_name["data_configs"][0]}
    assert whole(by_name) == whole(nested())
    assert spec(nested()) == {
        **spec(flat()),
        "corpus": {"strategy": "join", "max_length": 64, "joiner": ""},
    }


def test_olives_defaults_of_each_generation_hold() -> None:
    new = data({}, {"max_seq_len": None, "text_template": None})
    assert spec(new)["corpus"] == {"strategy": "join", "max_length": 1024}
    assert spec(new)["text"] == "{text}"
    old = data({}, {"corpus_strategy": None}, nested)
    assert spec(old)["corpus"] == {
        "strategy": "line-by-line",
        "max_length": 64,
        "pad_to_max_length": True,
    }
    del old["data_configs"][0]["params_config"]["component_kwargs"]["pre_process_data"][
        "source_max_len"
    ]
    assert "length of a piece" in "".join(refused(old).values())


STRATEGIES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {
            "strategy": "join",
            "pad_to_max_len": True,
            "use_attention_mask": False,
            "stride": 3,
            "random_seed": 1,
            "joiner": "\n",
        },
        {"strategy": "join", "joiner": "\n"},
    ),
    (
        {"strategy": "join-sliding-window", "stride": 16},
        {"strategy": "join-sliding-window", "stride": 16},
    ),
    (
        {"strategy": "join-random", "max_samples": 5, "random_seed": 1, "random_retries": 3},
        {"strategy": "join-random", "max_samples": 5, "random_seed": 1, "random_retries": 3},
    ),
    (
        {
            "strategy": "line-by-line",
            "pad_to_max_len": False,
            "drop_short_sequences": True,
            "joiner": "x",
            "max_samples": 7,
        },
        {
            "strategy": "line-by-line",
            "pad_to_max_length": False,
            "drop_short_sequences": True,
            "max_samples": 7,
        },
    ),
    (
        {
            "strategy": "line-by-line-random",
            "max_samples": 5,
            "random_seed": 1,
            "use_attention_mask": True,
            "add_special_tokens": False,
        },
        {
            "strategy": "line-by-line-random",
            "max_samples": 5,
            "random_seed": 1,
            "use_attention_mask": True,
            "add_special_tokens": False,
            "pad_to_max_length": True,
        },
    ),
]


@pytest.mark.parametrize(("given", "expected"), STRATEGIES)
def test_each_strategy_has_the_parameters_that_olive_reads_with_it(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    value = data({}, given)
    assert spec(value)["corpus"] == {"max_length": 64, **expected}
    unread = given.keys() - {
        {"pad_to_max_length": "pad_to_max_len"}.get(name, name) for name in expected
    }
    assert all(entry(value, PREPARE + name).status is Status.NO_EFFECT for name in unread)


def test_columns_without_a_template_have_a_space_between_them() -> None:
    value = data({}, {"text_template": None, "text_cols": ["phrase", "tone"]})
    assert spec(value)["text"] == "{phrase} {tone}"
    assert spec(data({}, {"text_template": None, "text_cols": "phrase"}))["text"] == "{phrase}"
    both = data({}, {"text_cols": ["phrase", "tone"]})
    assert spec(both)["text"] == "{phrase}\n{tone}"
    assert entry(both, PREPARE + "text_cols").status is Status.NO_EFFECT


def test_files_alone_and_by_split() -> None:
    assert spec(flat())["file"] == "tone.json"
    assert spec(data({"data_files": ["one.json"]}))["file"] == "one.json"
    parts = data(
        {"data_files": {"train": "a.csv", "more": ["b.csv"]}, "data_name": "csv", "split": "more"}
    )
    assert spec(parts)["files"] == {"train": "a.csv", "more": "b.csv"}
    assert spec(parts)["format"] == "csv"
    assert reference(parts) == "tone.more"
    rooted = nested(data_root="data/2024")
    assert whole(rooted)["data"]["tone"]["file"] == "data/2024/tone.json"


def test_hub_data_sets_their_splits_and_first_rows() -> None:
    hub = {"data_name": "org/set", "subset": "small", "data_files": None, "revision": "abc"}
    value = data({**hub, "split": "train[:4096]"})
    assert spec(value) | {"corpus": 0} == {
        "hub": "org/set",
        "config": "small",
        "revision": "abc",
        "limit": 4096,
        "text": "{phrase}\n{tone}",
        "corpus": 0,
    }
    assert reference(value) == "tone.train"
    assert entry(value, LOAD + "data_name").why == "needs --allow-network"
    default = data({**hub, "split": None})
    assert reference(default) == "tone.validation"
    assert spec(data({"split": "train[:9]"}))["limit"] == 9
    between = spec(data({"split": "train[4096:4224]"}))
    assert (between["skip"], between["limit"]) == (4096, 128)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"split": "train[9:9]"}, "split", "no rows"),
    ({"split": "train[:70%]"}, "split", "no shares"),
    ({"split": "train[-128:]"}, "split", "no shares"),
    ({"split": "test"}, "split", "expected train, found 'test'"),
    ({"data_files": ["a.json", "b.json"]}, "data_files", "several files"),
    ({"data_files": "https://example.org/a.json"}, "data_files", "nothing is fetched"),
    ({"data_files": {"type": "azureml_model", "config": {}}}, "data_files", "datastore"),
    ({"data_files": {}}, "data_files", "expected a file"),
    ({"data_name": "audiofolder"}, "data_name", "audiofolder"),
    ({"col_filters": {"a": 1}}, "col_filters", "does not choose rows"),
    ({"type": "my_loader"}, "type", "another component"),
]


@pytest.mark.parametrize(("given", "key", "told"), REFUSED)
def test_what_cannot_be_loaded(given: dict[str, Any], key: str, told: str) -> None:
    found = refused(data(given))
    assert found.keys() == {LOAD + key}
    assert told in found[LOAD + key]


@pytest.mark.parametrize(
    ("given", "key", "told"),
    [
        ({"text_template": "{a{b}"}, "text_template", "column's name"),
        ({"text_template": "{a"}, "text_template", ""),
        ({"text_formatting_func": "f"}, "text_formatting_func", "paretune runs none"),
        ({"chat_template": True}, "chat_template", "lists of messages"),
        ({"dataset_type": "tables"}, "dataset_type", "corpus or pair"),
        ({"strategy": "shuffle"}, "strategy", "expected line-by-line"),
        ({"padding_side": "left"}, "padding_side", "on the right"),
        ({"max_seq_len": 0}, "max_seq_len", "greater than or equal to 2"),
        ({"max_seq_length": 9}, "max_seq_length", "Did you mean 'max_seq_len'?"),
        ({"strategy": "join-sliding-window"}, "stride", "Olive needs it"),
        ({"type": "my_preparation"}, "type", "another component"),
    ],
)
def test_what_cannot_be_prepared(given: dict[str, Any], key: str, told: str) -> None:
    found = refused(data({}, given))
    assert found.keys() == {PREPARE + key}
    assert told in found[PREPARE + key]


def test_pairs_become_prompts_and_answers() -> None:
    pair = {"dataset_type": "pair", "text_template": None, "max_seq_len": None}
    value = data({}, pair)
    prepare = value["data_configs"][0]["pre_process_data_config"]
    del prepare["text_template"], prepare["max_seq_len"]
    assert spec(value) == {
        "file": "tone.json",
        "format": "json",
        "prompt": "{input}",
        "answer": "{output}",
    }
    prepare |= {
        "pair_format": "custom",
        "input_template": "Q: {q}",
        "output_col": "a",
        "max_samples": 5,
        "source_max_len": 9,
    }
    assert spec(value) == {
        "file": "tone.json",
        "format": "json",
        "prompt": "Q: {q}",
        "answer": "{a}",
        "limit": 5,
    }
    assert entry(value, PREPARE + "source_max_len").status is Status.APPROXIMATED
    prepare["pair_format"] = "alpaca"
    assert refused(value).keys() == {PREPARE + "pair_format"}


def test_what_nothing_refers_to_has_no_effect_and_never_runs() -> None:
    value = flat()
    value["data_configs"].append({"name": "other", "type": "DummyDataContainer", "x": {"y": 1}})
    assert entry(value, "data_configs[1]").status is Status.NO_EFFECT
    assert "other" not in whole(value)["data"]
    value["data_configs"][1]["user_script"] = "evil.py"
    assert refused(value).keys() == {"data_configs[1].user_script"}


def test_batches_are_our_own() -> None:
    value = data(dataloader_config={"batch_size": 4}, post_process_data_config={})
    assert entry(value, "data_configs[0].dataloader_config.batch_size").status is Status.NO_EFFECT
    assert spec(value) == spec(flat())


NAMES = [
    "a.b",
    "v0.02",
    ".",
    "..",
    "a.train",
    "{x}",
    "{",
    "%s",
    "a b",
    "",
    "a[0]",
    "1",
    "é",
    "a\nb",
    "x.y.z",
    "tone.train.test",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", [flat, nested])
def test_whatever_a_data_set_is_called_it_is_told_and_nothing_crashes(name: str, form: Any) -> None:
    value = form()
    metric = {
        "name": "m",
        "type": "accuracy",
        "data_config": name,
        "sub_types": [{"name": "accuracy_score", "priority": 1}],
    }
    value["data_configs"][0]["name"] = name
    lora = value["passes"]["l"]
    (lora.get("config") or lora)["train_data_config"] = name
    value["evaluators"] = {name: {"metrics": [metric]}}
    value["passes"]["b"]["evaluator"] = name
    value["passes"][name or "n"] = {"type": "ModelBuilder", "precision": "int4"}
    found = translation(value)
    assert found.entries
    if name not in ("1", "a.train"):
        assert any(entry.status is Status.UNSUPPORTED for entry in found.entries)


def test_names_are_as_olive_takes_them() -> None:
    value = flat()
    value["data_configs"][0]["name"] = value["passes"]["l"]["train_data_config"] = "a.b"
    assert refused(value).keys() == {"data_configs[0].name"}
    value = flat()
    value["data_configs"] += [value["data_configs"][0], {"type": "x"}]
    assert refused(value).keys() == {"data_configs[1]", "data_configs[2]"}
    assert translation(value).config["data"].keys() == {"tone"}


def test_the_types_of_two_components_are_two_keys() -> None:
    value = data(
        dataloader_config={"type": "no_auto_batch_dataloader", "batch_size": 4},
        post_process_data_config={"type": "text_classification_post_process"},
    )
    assert set(refused(value)) == {"data_configs[0].post_process_data_config.type"}
    loader = entry(value, "data_configs[0].dataloader_config.type")
    assert loader.status is Status.NO_EFFECT
    value = data(dataloader_config={"type": "my_loader"})
    assert set(refused(value)) == {"data_configs[0].dataloader_config.type"}


def test_columns_with_spaces_and_names_with_dots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The column ``Best Answer`` of many question sets, from the JSON to a row's text."""
    row = {"Question": "Why?", "Best Answer": "Because."}
    (tmp_path / "tone.json").write_text(json.dumps([row] * 4))
    write_stub_model(tmp_path / "models" / "tiny")
    monkeypatch.chdir(tmp_path)
    templates = {"text_template": "Q: {Question} A: {Best Answer}"}
    for prepare in (templates, {"text_template": None, "text_cols": ["Question", "Best Answer"]}):
        value = data({}, prepare)
        plan = load(value)
        found = DataCatalog(plan.data, tmp_path).load("tone")
        assert found.examples[0].answer.split() == (
            ["Q:", "Why?", "A:", "Because."] if prepare is templates else ["Why?", "Because."]
        )
    dotted = flat(
        evaluators={
            "e": {
                "metrics": [
                    {
                        "name": "a",
                        "type": "accuracy",
                        "data_config": "tone.v0.02",
                        "sub_types": [{"name": "accuracy_score"}],
                    }
                ]
            }
        },
        evaluator="e",
        search_strategy={"sampler": "random"},
    )
    dotted["data_configs"][0]["name"] = "tone.v0.02"
    assert "data_configs[0].name" in refused(dotted)
