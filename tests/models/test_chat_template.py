"""Chat templates of the forms that models come with: what they render, where an answer ends."""

from __future__ import annotations

from typing import Any

import pytest

from paretune.data.prompts import answer_ids, prompt_ids, prompt_text
from paretune.models.chat_template import ChatTemplateError, answer_end, render
from tests.tiny_models import _tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PHI3 = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}"
    "{{ eos_token }}{% endif %}{% endfor %}"
)
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}"
    "<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OLD_CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)
ALWAYS_ASKS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}A:"
WORDS_ONLY = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n### End\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
LINES_ONLY = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
USER_ONLY = (
    "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('users only') }}"
    "{% endif %}{{ m.content }}{% endfor %}"
)
FIRST_ONLY = "{{ messages[0].content }}\nanswer: "
ASKS_FOR_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ raise_exception('System prompt is required') }}"
    "{% endif %}{{ messages[0].content }}"
)


def tokenizer(template: Any, **changes: Any) -> Any:
    made = _tokenizer(bos=True, chat=False)
    made.chat_template = template
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("template", "text", "lead"),
    [
        (CHATML, "<|im_end|>", ""),
        (PHI3, "<|im_end|>", ""),
        (MISTRAL, "</s>", " "),
        (QWEN3, "<|im_end|>", "<think>\n\n</think>\n\n"),
        (OLD_CHATML, "<|im_end|>", "<|im_start|>assistant\n"),
    ],
    ids=["chatml", "phi3", "mistral", "qwen3", "without-a-switch"],
)
def test_an_answer_ends_with_the_templates_own_mark(template: str, text: str, lead: str) -> None:
    made = tokenizer(template)
    end = answer_end(made)
    assert (end.text, end.lead, end.from_template) == (text, lead, True)
    assert end.ids == (made.convert_tokens_to_ids(text),)
    whole = render(made, [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])
    assert f"a{text}" in whole


def test_the_mark_counts_only_as_a_token() -> None:
    """Where <|im_end|> is no token of the model, its letters are the end, and the end token."""
    made = tokenizer(CHATML.replace("im_end", "turn_is_over"))
    end = answer_end(made)
    assert end.text == "<|turn_is_over|>"
    letters = made("<|turn_is_over|>", add_special_tokens=False)["input_ids"]
    assert end.ids == (*letters, made.eos_token_id)


def test_words_that_end_a_turn_are_followed_by_the_end_token() -> None:
    made = tokenizer(WORDS_ONLY)
    end = answer_end(made)
    assert end.text == "\n### End"
    assert made.decode(list(end.ids)) == "\n### End</s>"
    assert end.from_template


@pytest.mark.parametrize("template", [LINES_ONLY, ALWAYS_ASKS, USER_ONLY, FIRST_ONLY])
def test_a_template_that_does_not_say_leaves_it_to_the_end_token(template: str) -> None:
    made = tokenizer(template)
    end = answer_end(made)
    assert (end.ids, end.text, end.from_template) == ((made.eos_token_id,), "", False)


def test_without_template_and_end_token_nothing_ends_an_answer() -> None:
    made = tokenizer(LINES_ONLY, eos_token=None, pad_token=None)
    assert answer_end(made).ids == ()
    assert answer_ids(made, "joy") == made("joy", add_special_tokens=False)["input_ids"]


def test_what_is_unknown_is_no_mark() -> None:
    made = tokenizer("{% for m in messages %}{{ m.content }}<unk>{% endfor %}")
    assert not answer_end(made).from_template


def test_added_blanks_are_no_marks() -> None:
    made = tokenizer(LINES_ONLY)
    made.add_tokens(["\n\n"])
    assert answer_end(made).ids == (made.eos_token_id,)


def test_an_end_token_that_is_the_unknown_one_ends_an_answer_once() -> None:
    template = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}{% if "
    made = tokenizer(template + "add_generation_prompt %}A:{% endif %}", unk_token="</s>")
    assert made.unk_token_id == made.eos_token_id
    assert answer_end(made).ids == (made.eos_token_id,)


def test_answers_of_a_chat_end_otherwise_than_plain_ones() -> None:
    made = tokenizer(CHATML)
    joy = made("joy", add_special_tokens=False)["input_ids"]
    assert answer_ids(made, "joy", True) == [*joy, made.convert_tokens_to_ids("<|im_end|>")]
    assert answer_ids(made, "joy", False) == [*joy, made.eos_token_id]


def test_a_changed_template_is_looked_at_again() -> None:
    made = tokenizer(CHATML)
    assert answer_end(made).text == "<|im_end|>"
    made.chat_template = MISTRAL
    assert answer_end(made).text == "</s>"


def test_prompt_and_answer_together_are_what_the_template_renders() -> None:
    made = tokenizer(CHATML)
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "joy"}]
    ids = prompt_ids(made, "hello", True) + answer_ids(made, "joy", True)
    assert made.decode(ids) + "\n" == render(made, turns)


def test_named_templates_use_the_default_one() -> None:
    made = tokenizer({"default": CHATML, "tool_use": "x"})
    assert answer_end(made).text == "<|im_end|>"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (None, "no chat template"),
        ("", "no chat template"),
        (ASKS_FOR_SYSTEM, "System prompt is required"),
        ("{% for m in messages %}{{ m['content'] }", "TemplateSyntaxError"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{{ nothing.at.all }}", "UndefinedError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ({"tool_use": "x"}, "no default"),
    ],
)
def test_a_refusal_bears_the_templates_own_words(template: Any, told: str) -> None:
    made = tokenizer(template)
    with pytest.raises(ChatTemplateError, match=told):
        prompt_text(made, "hello", True)
    with pytest.raises(ChatTemplateError, match=told):
        answer_end(made)
    assert prompt_text(made, "hello", False) == "hello"
