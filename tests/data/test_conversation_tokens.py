"""The assistant's turns in what a chat template renders, for templates of every habit."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.data.catalog import Example
from paretune.data.conversation_tokens import ConversationEncoder
from paretune.data.conversations import ConversationError, Turn
from paretune.data.example_tokens import ExampleEncoder
from paretune.models.chat_template import ChatTemplateError
from tests.tiny_models import make_tiny_llama

_GO = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    + _GO
)
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m['content'] }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}" + _GO
)
MISTRAL = (
    "<s>{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] | trim }}</s>{% endif %}{% endfor %}"
)
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% set text = m['content'] %}"
    "{% if m['role'] == 'assistant' %}{% set text = text.split('</think>')[-1] %}"
    "{% if loop.last %}{% set text = '<think>\n\n</think>\n\n' + text %}{% endif %}{% endif %}"
    "{{ text }}<|im_end|>\n{% endfor %}" + _GO
)
PLAIN = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
STRICT = (
    "{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}" + _GO
)
SUMMARY = (
    "<|im_start|>{{ messages | length }} turns\n"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    + _GO
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("tiny"))


def tokenizer(folder: Path, template: str) -> Any:
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(folder)
    made.chat_template = template
    return made


def turns(*contents: str, system: str | None = None) -> tuple[Turn, ...]:
    first = () if system is None else (Turn("system", system),)
    roles = ("user", "assistant") * len(contents)
    return (*first, *(Turn(r, c) for r, c in zip(roles, contents, strict=False)))


def learned(made: Any, conversation: tuple[Turn, ...]) -> list[str]:
    found = ConversationEncoder(made).encode(conversation)
    return [made.decode(list(found.ids[begin:end])) for begin, end in found.spans]


@pytest.mark.parametrize("template", [CHATML, MARKED, STRICT, THINKING])
def test_the_answers_and_their_ends_are_learned(folder: Path, template: str) -> None:
    made = tokenizer(folder, template)
    assert learned(made, turns("hi", "hello you", "and?", "the sun")) == [
        "hello you<|im_end|>",
        "the sun<|im_end|>",
    ]


def test_a_template_that_puts_a_space_before_an_answer(folder: Path) -> None:
    made = tokenizer(folder, MISTRAL)
    assert learned(made, turns("hi", "hello", "and?", "sun")) == [" hello</s>", " sun</s>"]
    assert learned(made, turns("hi", "hello")) == [" hello</s>"]


def test_a_template_without_an_end_in_the_middle(folder: Path) -> None:
    made = tokenizer(folder, PLAIN)
    assert learned(made, turns("hi", "hello", "and?", "sun")) == [" hello", " sun</s>"]


@pytest.mark.parametrize("template", [CHATML, STRICT, MISTRAL, PLAIN, THINKING])
def test_every_answer_follows_the_very_prompt_it_is_generated_after(
    folder: Path, template: str
) -> None:
    made = tokenizer(folder, template)
    encoder = ConversationEncoder(made)
    conversation = turns("what a day", "the sun is out", "and now?", "rain", "oh", "sadness")
    found = encoder.encode(conversation)
    for (begin, _), place in zip(found.spans, (1, 3, 5), strict=True):
        assert list(found.ids[:begin]) == encoder.prompt_ids(conversation[:place])


def test_thoughts_that_are_taken_away_later_are_refused(folder: Path) -> None:
    made = tokenizer(folder, THINKING)
    thought = "<think>it shines</think>the sun"
    with pytest.raises(ConversationError, match=r"turn 2 \(assistant\).*takes thoughts away"):
        ConversationEncoder(made).encode(turns("hi", thought, "and?", "the rain"))
    assert learned(made, turns("hi", thought)) == [f"{thought}<|im_end|>"]


def test_a_template_that_writes_the_beginning_otherwise_is_refused(folder: Path) -> None:
    with pytest.raises(ConversationError, match="writes what stands before it otherwise"):
        ConversationEncoder(tokenizer(folder, SUMMARY)).encode(turns("a", "b", "c", "d"))


def test_what_a_template_refuses_is_told_with_the_row(folder: Path) -> None:
    made = tokenizer(folder, STRICT)
    conversation = turns("hi", "hello", system="be kind")
    with pytest.raises(ChatTemplateError, match="System role not supported"):
        ConversationEncoder(made).encode(conversation)
    encoder = ExampleEncoder(made, False, "d.train")
    with pytest.raises(Exception, match=r"d\.train: row 4: .*System role not supported"):
        encoder.tokens(Example("hi", "hello", 3, conversation), None)


def test_marks_that_mark_nothing_are_told(folder: Path) -> None:
    template = CHATML + "{% if false %}{% generation %}{% endgeneration %}{% endif %}"
    with pytest.raises(ConversationError, match="marks no token"):
        ConversationEncoder(tokenizer(folder, template)).encode(turns("hi", "hello"))


WORDS = st.text("abc sun\n.", min_size=1, max_size=12).filter(lambda text: text.strip() == text)


@given(WORDS, WORDS)
def test_one_question_and_answer_is_the_same_as_chat_true(
    folder: Path, question: str, answer: str
) -> None:
    made = tokenizer(folder, CHATML)
    pair = ExampleEncoder(made, True, "d").tokens(Example(question, answer, 0), None)
    conversation = Example("", answer, 0, turns(question, answer))
    assert ExampleEncoder(made, False, "d").tokens(conversation, None) == pair


@given(st.lists(WORDS, min_size=2, max_size=8).filter(lambda c: len(c) % 2 == 0))
def test_marks_and_prompts_find_the_same(folder: Path, contents: list[str]) -> None:
    conversation = turns(*contents)
    by_marks = ConversationEncoder(tokenizer(folder, MARKED)).encode(conversation)
    by_prompts = ConversationEncoder(tokenizer(folder, CHATML)).encode(conversation)
    assert by_marks.spans == by_prompts.spans
    last = by_prompts.spans[-1][1]
    assert by_marks.ids[:last] == by_prompts.ids[:last]


def test_a_long_conversation_ends_with_the_last_answer_that_fits(folder: Path) -> None:
    made = tokenizer(folder, CHATML)
    encoder = ExampleEncoder(made, False, "d")
    example = Example("", "rain", 0, turns("what a day", "the sun", "and now?", "rain"))
    whole = encoder.tokens(example, None)
    assert not whole.cut
    first = whole.spans[0][1]
    for room in range(first, len(whole.ids)):
        short = encoder.tokens(example, room)
        assert (short.ids, short.spans, short.cut) == (whole.ids[:first], whole.spans[:1], True)
    with pytest.raises(Exception, match=rf"d: row 1 needs {first} tokens at least"):
        encoder.tokens(example, first - 1)
