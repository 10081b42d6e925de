"""Lengths that no candidate could be measured at are refused before anything is built."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune.config import Plan, load
from paretune.core.errors import ConfigError
from tests.tiny_models import make_tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("lengths")
    make_tiny_llama(found / "tiny", positions=256)
    return found


def plan_of(folder: Path, **generation: Any) -> Plan:
    config = {
        "model": "tiny",
        "passes": [{"genai": {"precision": "fp32"}}],
        "evaluate": ["footprint", {"generation": {"new_tokens": 8, **generation}}],
        "objectives": {"minimize": "decode_ms_p50"},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    return load(folder / "c.yaml")


def test_what_fits_is_let_pass(folder: Path) -> None:
    assert plan_of(folder, prompt_tokens=[8, 247]).evaluators[1].params["prompt_tokens"] == [8, 247]
    assert plan_of(folder, prompt_tokens=8, context=[0, 239])


@pytest.mark.parametrize(
    ("generation", "key", "told"),
    [
        ({"prompt_tokens": [8, 248]}, "prompt_tokens[1]", "257 tokens are needed (248 of the pro"),
        ({"prompt_tokens": 248}, "prompt_tokens", "Set prompt_tokens to 247 or less"),
        ({"prompt_tokens": 64, "new_tokens": 200}, "new_tokens", "Set new_tokens to 191 or less"),
        ({"new_tokens": 192}, "new_tokens", "Set new_tokens to 191 or less"),
        ({"context": [0, 4096], "prompt_tokens": 8}, "context[1]", "needed (4096 held, 8 of the p"),
        ({"context": 240, "prompt_tokens": 8}, "context", "Set context to 239 or less"),
        (
            {"context": 250, "prompt_tokens": 300},
            "prompt_tokens",
            "may be at most 255 tokens together: reduce new_tokens and context, too",
        ),
    ],
)
def test_what_does_not_is_refused_with_the_sum_and_the_largest_value(
    folder: Path, generation: dict[str, Any], key: str, told: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        plan_of(folder, **generation)
    assert refused.value.key == f"evaluate[1].generation.{key}"
    assert told in str(refused.value)
    assert "context holds 256" in str(refused.value)


@pytest.mark.parametrize(
    ("generation", "largest"),
    [
        ({"prompt_tokens": 248}, {"prompt_tokens": 247}),
        ({"context": 192}, {"context": 183}),
        ({"new_tokens": 250}, {"new_tokens": 191}),
    ],
)
def test_the_largest_value_that_is_told_works(
    folder: Path, generation: dict[str, Any], largest: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        plan_of(folder, **generation)
    assert plan_of(folder, **largest)


@pytest.mark.parametrize(("new", "refused"), [(255, False), (256, True), (5000, True)])
def test_answers_beside_which_no_prompt_fits(folder: Path, new: int, refused: bool) -> None:
    (folder / "q.jsonl").write_text('{"q": "one", "a": "two"}\n{"q": "three", "a": "four"}\n')
    config = {
        "model": "tiny",
        "data": {"q": {"file": "q.jsonl", "prompt": "{q}", "answer": "{a}"}},
        "passes": [{"genai": {"precision": "fp32"}}],
        "evaluate": ["footprint", {"exact_match": {"data": "q", "max_new_tokens": new}}],
        "objectives": {"maximize": "exact_match"},
    }
    (folder / "q.yaml").write_text(yaml.safe_dump(config))
    if not refused:
        assert load(folder / "q.yaml")
        return
    with pytest.raises(ConfigError, match="the model's context of 256") as told:
        load(folder / "q.yaml")
    assert told.value.key == "evaluate[1].exact_match.max_new_tokens"
    assert "Set max_new_tokens to 255 or less" in str(told.value)
    assert "-" not in str(told.value).split("max_new_tokens:")[1]


@pytest.mark.parametrize("text", ["[]", "{}", '{"max_position_embeddings": "many"}'])
def test_a_model_that_does_not_say_how_much_it_holds(tmp_path: Path, text: str) -> None:
    from paretune.core.model import Model, ModelKind
    from paretune.models.context_length import most_tokens

    (tmp_path / "config.json").write_text(text)
    assert most_tokens(Model(ModelKind.HF, tmp_path, "")) is None


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ('{"n_positions": 64}', 64),
        ('{"text_config": {"max_position_embeddings": 32}}', 32),
        ('{"max_position_embeddings": 16, "text_config": {"max_position_embeddings": 32}}', 16),
    ],
)
def test_where_a_model_says_how_much_it_holds(tmp_path: Path, content: str, held: int) -> None:
    from paretune.core.model import Model, ModelKind
    from paretune.models.context_length import most_tokens

    (tmp_path / "config.json").write_text(content)
    assert most_tokens(Model(ModelKind.HF, tmp_path, "")) == held


def test_a_window_that_is_longer_than_the_context(folder: Path) -> None:
    (folder / "w.txt").write_text("some text\n")
    config = {
        "model": "tiny",
        "data": {"w": {"file": "w.txt", "text": "{text}"}},
        "passes": [{"genai": {"precision": "fp32"}}],
        "evaluate": [{"perplexity": {"data": "w", "window": 257}}],
        "objectives": {"minimize": "perplexity"},
    }
    (folder / "w.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="257 tokens exceed the model's context of 256"):
        load(folder / "w.yaml")


def test_windows_are_never_longer_than_the_context(folder: Path) -> None:
    from types import SimpleNamespace

    from transformers import AutoTokenizer

    from paretune.data.catalog import Example
    from paretune.evaluators.text.perplexity import Perplexity, PerplexityParams

    tokenizer = AutoTokenizer.from_pretrained(folder / "tiny")
    data = SimpleNamespace(examples=(Example("", "the sun and the rain " * 40, 0),), chat=False)
    found = list(Perplexity(PerplexityParams(data="w")).windows(tokenizer, data, 40))
    assert max(len(ids) for ids, _ in found) == 40
