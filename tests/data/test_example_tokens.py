from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.data.catalog import Example
from paretune.data.example_tokens import ExampleEncoder, TooLongError
from tests.tiny_models import make_tiny_llama

HEAD, TAIL = "Read this: ", "\nTone: "


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(make_tiny_llama(tmp_path_factory.mktemp("tiny")))


def example(text: str, answer: str = "joy") -> Example:
    return Example(HEAD + text + TAIL, answer, 2, span=(len(HEAD), len(HEAD) + len(text)))


TEXTS = st.text("abc sun é\n", min_size=2, max_size=80)


@pytest.mark.parametrize("chat", [False, True])
@given(text=TEXTS, room=st.integers(1, 80))
def test_what_is_cut_fits_and_keeps_all_but_the_beginning_of_the_text(
    tokenizer: Any, chat: bool, text: str, room: int
) -> None:
    encoder = ExampleEncoder(tokenizer, chat, "d")
    whole = encoder.tokens(example(text), None)
    try:
        found = encoder.tokens(example(text), room)
    except TooLongError as error:
        least = encoder.tokens(example(text[-1:]), None)
        assert len(least.ids) > room or len(text) < 2
        assert "d: row 3 needs" in error.message
        return
    assert len(found.ids) <= room
    assert found.cut == (len(whole.ids) > room)
    begin, end = found.spans[0]
    assert found.ids[begin:end] == whole.ids[slice(*whole.spans[0])]
    prompt, fitted = encoder.fitted(example(text), room - (end - begin))
    assert tuple(prompt) == found.ids[:begin]
    left = fitted.prompt[len(HEAD) : -len(TAIL)]
    assert fitted.prompt == HEAD + left + TAIL
    assert text.endswith(left)
    assert left
    assert found.ids[0] == whole.ids[0]  # the first token stays


def test_a_cut_is_at_a_word_where_one_is_near(tokenizer: Any) -> None:
    encoder = ExampleEncoder(tokenizer, False, "d")
    text = " ".join(["sunshine"] * 20)
    _, fitted = encoder.fitted(example(text), 40)
    assert fitted.prompt.startswith(f"{HEAD}sunshine ")


def test_a_row_that_cannot_be_cut_is_told(tokenizer: Any) -> None:
    encoder = ExampleEncoder(tokenizer, False, "d")
    with pytest.raises(TooLongError, match=r"d: row 1 needs \d+ tokens at least, and 5 fit"):
        encoder.tokens(Example("", "a very long text " * 9, 0), 5)
    with pytest.raises(TooLongError, match="row 3"):
        encoder.tokens(example("text", "a very long answer " * 9), 20)


def test_training_and_scoring_cut_alike(tokenizer: Any, tmp_path: Path) -> None:
    from types import SimpleNamespace

    from paretune.evaluators.text.perplexity import Perplexity, PerplexityParams
    from paretune.passes.lora.params import LoraParams
    from paretune.passes.lora.rows import encode

    long = example("the sun and the rain " * 9)
    data = SimpleNamespace(corpus=None, examples=(long,), chat=False, form="pairs")
    for room in (40, 60):
        (row,), cut = encode(tokenizer, data, "d", LoraParams(train="d", max_length=room))
        assert cut == 1
        ((ids, scored),) = Perplexity(PerplexityParams(data="d")).windows(tokenizer, data, room)
        assert tuple(ids) == row.ids
        assert scored == list(range(row.start, len(ids)))
