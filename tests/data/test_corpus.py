"""Each strategy on examples that were worked out by hand.

The tokenizer of these examples splits at spaces; ``<s>`` is token 1, ``</s>`` 2, the joiner ``+``
9, a digit stands for 10 more than itself.
"""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from paretune.data.corpus import CorpusSpec, sequences

TEXTS = ["0 1 2", "3 4", "", "5 6 7 8"]
# Joined with the joiner, without special tokens: 3 + 1, 2 + 1, 4 + 1 tokens.
JOINED = [10, 11, 12, 9, 13, 14, 9, 15, 16, 17, 18, 9]


class Spaces:
    bos_token: str | None = "<s>"
    eos_token = "</s>"

    def __call__(self, text: str, **given: Any) -> dict[str, list[int]]:
        assert given == {"add_special_tokens": False, "truncation": False}
        known = {"<s>": 1, "</s>": 2, "+": 9}
        return {"input_ids": [known.get(w) or 10 + int(w) for w in text.split()]}


class NoBegin(Spaces):
    bos_token = None


def made(tokenizer: Spaces | None = None, **given: Any) -> list[tuple[list[int], int]]:
    spec = CorpusSpec(**{"joiner": "+", "add_special_tokens": False, **given})
    return [(list(s.ids), s.context) for s in sequences(TEXTS, tokenizer or Spaces(), spec)]


def test_join_cuts_what_is_joined_and_leaves_the_rest() -> None:
    assert made(max_length=5) == [(JOINED[:5], 0), (JOINED[5:10], 0)]


def test_join_leaves_out_a_sequence_that_ends_with_the_last_token() -> None:
    assert made(max_length=6) == [(JOINED[:6], 0)]
    assert made(max_length=12) == []


def test_join_without_a_joiner() -> None:
    assert made(max_length=8, joiner="") == [([10, 11, 12, 13, 14, 15, 16, 17], 0)]


def test_join_takes_no_more_than_max_samples() -> None:
    assert made(max_length=3, max_samples=2) == [(JOINED[:3], 0), (JOINED[3:6], 0)]


def test_special_tokens_frame_each_text() -> None:
    assert made(max_length=5, add_special_tokens=True)[0] == ([1, 10, 11, 12, 2], 0)
    assert made(max_length=6, add_special_tokens=True)[1] == ([1, 13, 14, 2, 9, 1], 0)


def test_a_tokenizer_without_a_begin_token_frames_with_the_end_token() -> None:
    assert made(NoBegin(), max_length=4, add_special_tokens=True)[0] == ([10, 11, 12, 2], 0)


def test_a_sliding_window_learns_from_its_new_tokens() -> None:
    assert made(strategy="join-sliding-window", max_length=6, stride=4) == [
        (JOINED[:6], 2),
        (JOINED[4:10], 2),
    ]


def test_line_by_line_cuts_long_lines() -> None:
    assert made(strategy="line-by-line", max_length=3) == [
        ([10, 11, 12], 0),
        ([13, 14], 0),
        ([15, 16, 17], 0),
    ]


def test_line_by_line_may_leave_out_short_lines() -> None:
    assert made(strategy="line-by-line", max_length=3, drop_short_sequences=True) == [
        ([10, 11, 12], 0),
        ([15, 16, 17], 0),
    ]


def test_padding_and_masks_change_no_token_that_is_learned() -> None:
    plain = made(strategy="line-by-line", max_length=4)
    assert made(strategy="line-by-line", max_length=4, pad_to_max_length=True) == plain
    assert made(strategy="line-by-line", max_length=4, use_attention_mask=False) == plain


def test_random_lines_are_the_same_for_the_same_seed() -> None:
    """Random(0).randint(0, 2) gives 1, 1, 0, 1, 2."""
    drawn = made(strategy="line-by-line-random", max_length=9, max_samples=4, random_seed=0)
    assert [ids for ids, _ in drawn] == [[13, 14], [13, 14], [10, 11, 12], [13, 14]]


def test_random_lines_are_drawn_again_while_they_are_too_short() -> None:
    drawn = made(
        strategy="line-by-line-random",
        max_length=3,
        max_samples=1,
        random_seed=0,
        drop_short_sequences=True,
    )
    assert drawn == [([10, 11, 12], 0)]


def test_random_runs_begin_with_a_text_and_are_full() -> None:
    """The same draws: from text 1 on there are 8 tokens, from text 0 on 12."""
    drawn = made(strategy="join-random", max_length=8, max_samples=2, random_seed=0)
    assert drawn == [(JOINED[4:12], 0), (JOINED[4:12], 0)]
    longer = made(strategy="join-random", max_length=9, max_samples=1, random_seed=0)
    assert longer == [(JOINED[:9], 0)]
    assert made(strategy="join-random", max_length=99, max_samples=3, random_seed=0) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"strategy": "join-sliding-window"}, "needs `stride`"),
        ({"strategy": "join-sliding-window", "stride": 9, "max_length": 8}, "longer than"),
        ({"strategy": "join-random", "max_samples": 3}, "random_seed"),
        ({"strategy": "line-by-line-random", "random_seed": 3}, "max_samples"),
        ({"pad_to_max_length": True, "drop_short_sequences": True}, "not both"),
        ({"max_len": 5}, "max_len"),
    ],
)
def test_what_contradicts_itself_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        CorpusSpec(**given)
