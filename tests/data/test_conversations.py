from typing import Any

import pytest

from paretune.data.conversations import ConversationError, Turn, turns_of

USER = {"role": "user", "content": "hi"}
REPLY = {"role": "assistant", "content": "hello"}
SYSTEM = {"role": "system", "content": "be kind"}
TURNS = (Turn("user", "hi"), Turn("assistant", "hello"))


@pytest.mark.parametrize(
    "value",
    [
        [USER, REPLY],
        '[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]',
        [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}],
        [{**USER, "content": [{"type": "text", "text": part} for part in "hi"]}, REPLY],
        [{**USER, "name": None, "tool_calls": None}, {**REPLY, "weight": 1}],
    ],
)
def test_the_ways_in_which_a_conversation_is_written(value: Any) -> None:
    assert turns_of(value)[:2] == (TURNS, frozenset())


def test_a_system_turn_tools_and_several_turns() -> None:
    tool = {"role": "tool", "content": "42"}
    turns, unused, _ = turns_of([SYSTEM, USER, REPLY, tool, {**REPLY, "name": "x"}, USER, REPLY])
    assert [turn.role for turn in turns] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
    ]
    assert unused == {"name"}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("hello", "is text that is not JSON"),
        ('{"role": "user"}', "is dict, expected a list of turns"),
        (5, "is int, expected a list"),
        ([], "has no turns"),
        (["hi", "hello"], "turn 1 is str, expected an object"),
        ([USER, {"role": "assistant"}], r"turn 2 \(assistant\) has no 'content'"),
        ([USER, {"content": "x"}], "turn 2 has no 'role'"),
        ([USER, {"role": "bot", "content": "x"}], "turn 2 has the role 'bot', expected one of"),
        ([{"from": "alien", "value": "x"}], "turn 1 has the from 'alien', expected one of human"),
        ([USER, {"role": "assistant", "content": " "}], r"turn 2 \(assistant\) is empty"),
        ([USER, {"role": "assistant", "content": ""}], r"turn 2 \(assistant\) is empty"),
        ([{"role": "system", "content": ""}, USER, REPLY], r"turn 1 \(system\) is empty"),
        ([USER, {"role": "assistant", "content": 5}], "the content is int, expected text"),
        ([USER, {"role": "assistant", "content": float("nan")}], "has no 'content'"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, REPLY],
            "part 1 of the content is 'image_url', expected text",
        ),
        ([USER, REPLY, REPLY], "turns 2 and 3 are both the assistant's"),
        ([USER], r"the last turn \(user\) is not the assistant's"),
        ([USER, REPLY, USER], r"the last turn \(user\) is not the assistant's"),
        ([REPLY], "turn 1 is the assistant's, with no turn of the user before it"),
        ([SYSTEM, REPLY], "turn 2 is the assistant's, with no turn of the user"),
        ([USER, SYSTEM, REPLY], "turn 2 is a system turn, expected it first"),
        ([USER, {**REPLY, "tool_calls": [{"id": 1}]}], "turn 2 has 'tool_calls'"),
        ([USER, {**REPLY, "weight": 0}], "turn 2 has 'weight'"),
        ([USER, {"role": "assistant", "content": "a\0b"}], "text with a NUL character"),
    ],
)
def test_a_row_of_another_shape_is_told_by_its_turn(value: Any, told: str) -> None:
    with pytest.raises(ConversationError, match=told):
        turns_of(value)
