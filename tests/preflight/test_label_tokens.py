"""Labels that scoring cannot choose are refused, by their tokens."""

from __future__ import annotations

import pytest

from paretune.core.errors import DataError
from paretune.preflight.label_tokens import check_labels

END = 2


@pytest.mark.parametrize(
    ("ids", "ended", "told"),
    [
        ([[END], [5, END]], True, "'joy' has no token"),
        ([[], [5]], False, "'joy' has no token"),
        ([[5, END], [5, END]], True, "the labels 'joy' and 'joyful' are the same tokens"),
        ([[5], [5, 6]], False, "'joyful' can never be chosen"),
    ],
)
def test_a_label_that_cannot_be_chosen_is_refused(
    ids: list[list[int]], ended: bool, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        list(check_labels("tone", ("joy", "joyful"), ids, ended))


def test_a_label_that_begins_another_is_noted_without_an_end_token_only() -> None:
    labels = ("joy", "joyful")
    assert list(check_labels("tone", labels, [[5, END], [5, 6, END]], True)) == []
    (note,) = check_labels("tone", labels, [[5], [7, 6]], False)
    assert "'joy' of 'joyful'" in note
