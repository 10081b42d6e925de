"""Token ids that the embedding has no row for, in each place where one may stand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.models.checks import Finding, check_folder
from paretune.models.checks.vocabulary import read_vocabulary
from tests.models.checks.conftest import Change, drop, put

Broken = Callable[..., tuple[Finding, ...]]


def fatal(found: tuple[Finding, ...]) -> list[str]:
    return [finding.message for finding in found if finding.fatal]


def notes(found: tuple[Finding, ...]) -> list[str]:
    return [finding.message for finding in found if not finding.fatal]


def test_a_whole_model_gives_no_finding(whole: Path) -> None:
    assert check_folder(whole) == ()


def test_a_padding_token_of_minus_one_is_taken_for_none(broken: Broken) -> None:
    found = broken(config=put(pad_token_id=-1))
    assert not fatal(found)
    assert "pad_token_id is -1, which is taken for none" in notes(found)[0]


@pytest.mark.parametrize("value", [None, 319, 0])
@pytest.mark.parametrize("file", ["config", "generation_config"])
def test_ids_that_are_there_and_ids_for_none_are_let_pass(
    broken: Broken, file: str, value: Any
) -> None:
    assert broken(**{file: put(pad_token_id=value, bos_token_id=value)}) == ()


@pytest.mark.parametrize("key", ["pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id"])
@pytest.mark.parametrize("value", [320, 50000])
def test_an_id_beyond_the_embedding_is_refused_with_key_and_size(
    broken: Broken, key: str, value: int
) -> None:
    (told,) = fatal(broken(config=put(**{key: value})))
    assert f"config.json: {key} is {value}" in told
    assert "320 tokens (0 to 319; model.embed_tokens.weight" in told


def test_a_list_of_ends_with_one_that_is_there_is_only_noted(broken: Broken) -> None:
    found = broken(generation_config=put(eos_token_id=[2, 320]))
    assert not fatal(found)
    assert "eos_token_id is 320" in notes(found)[0]


def test_a_list_of_ends_with_none_that_is_there_is_refused(broken: Broken) -> None:
    assert "is 320, 321" in fatal(broken(generation_config=put(eos_token_id=[320, 321])))[0]


def test_the_text_models_ids_are_looked_at_too(broken: Broken) -> None:
    found = broken(config=put(text_config={"pad_token_id": 400, "vocab_size": 320}))
    assert "text_config.pad_token_id is 400" in fatal(found)[0]


@pytest.mark.parametrize("value", ["2", 2.0, True, -2, [2, None], {"id": 2}])
def test_what_is_no_id_is_refused(broken: Broken, value: Any) -> None:
    (told,) = fatal(broken(config=put(eos_token_id=value)))
    assert "eos_token_id: expected a token's id" in told


def test_an_end_at_which_generation_does_not_stop_is_told(broken: Broken) -> None:
    (told,) = notes(broken(generation_config=put(eos_token_id=3)))
    assert "eos_token_id is 3, and the tokenizer's end token '</s>' is 2" in told


def test_generation_settings_count_before_the_configuration(broken: Broken) -> None:
    found = broken(config=put(eos_token_id=2), generation_config=put(eos_token_id=[3, 4]))
    assert "eos_token_id is 3, 4" in notes(found)[0]
    assert not broken(config=put(eos_token_id=3), generation_config=put(eos_token_id=[3, 2]))


@pytest.mark.parametrize("change", [put(eos_token=None), drop("eos_token")])
def test_no_end_token_is_told_with_what_it_means(broken: Broken, change: Change) -> None:
    found = broken(tokenizer_config=change)
    assert not fatal(found)
    assert "no end token" in notes(found)[0]


def add(token: str, number: int) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["added_tokens"].append(
            {
                "id": number,
                "content": token,
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
        )

    return change


def test_a_token_that_was_added_without_a_row_is_refused_by_name(broken: Broken) -> None:
    (told,) = fatal(broken(tokenizer=add("<|tool|>", 320)))
    assert "no row for: '<|tool|>' (320)" in told
    assert "320 tokens (0 to 319" in told


def test_a_padding_token_without_a_row_is_only_noted(broken: Broken) -> None:
    """Padding is masked, and its id is taken from the model's configuration."""
    found = broken(tokenizer=add("[PAD]", 320), tokenizer_config=put(pad_token="[PAD]"))
    assert not fatal(found)
    assert "'[PAD]' (320, its pad_token)" in notes(found)[0]


def test_a_special_token_that_no_vocabulary_has_is_added_after_the_others(broken: Broken) -> None:
    found = broken(tokenizer_config=put(eos_token="<|over|>", pad_token={"content": "[PAD]"}))
    (told,) = fatal(found)
    assert "'<|over|>' (320, its eos_token), '[PAD]' (321, its pad_token)" in told


def test_more_rows_than_tokens_are_padding(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tests.tiny_models import make_tiny_llama

    folder = make_tiny_llama(tmp_path / "m")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(352)
    model.save_pretrained(folder)
    assert check_folder(folder) == ()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|a|>", "<|b|>"]})
    tokenizer.save_pretrained(folder)
    assert check_folder(folder) == ()


def test_the_vocabulary_is_the_one_that_transformers_reads(
    whole: Path, broken: Broken, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    broken(tokenizer_config=put(pad_token="[PAD]"), tokenizer=add("<|tool|>", 320))
    for folder in (whole, tmp_path / "model"):
        tokenizer, read = AutoTokenizer.from_pretrained(folder), read_vocabulary(folder)
        assert read is not None
        for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
            assert read.id_of(name) == getattr(tokenizer, f"{name}_id")
        assert dict(read.ids).items() <= tokenizer.get_vocab().items()


def test_a_vocabulary_in_the_old_form(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1}')
    (tmp_path / "added_tokens.json").write_text('{"<|x|>": 2}')
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": "<|x|>"}')
    read = read_vocabulary(tmp_path)
    assert read is not None
    assert (read.size, read.id_of("eos_token"), read.added) == (3, 2, {2})


def test_a_folder_without_a_tokenizer_has_no_vocabulary(tmp_path: Path) -> None:
    assert read_vocabulary(tmp_path) is None
