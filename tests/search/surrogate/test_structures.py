"""Which choices change the structure of a build."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.candidate import Step
from paretune.search.surrogate.structures import Structures

INT4, INT8 = Step("genai", {"precision": "int4"}), Step("genai", {"precision": "int8"})


def test_choices_of_training_are_ignored_once_two_builds_have_the_same_structure() -> None:
    """Columns: rank, learning rate, precision, threads."""
    seen = Structures([0, 1, 2])
    assert not seen.note(np.array([0.0, 0.0, 4.0, 1.0]), "a", INT4)
    assert not seen.note(np.array([1.0, 0.0, 8.0, 1.0]), "b", INT8)
    assert seen.note(np.array([1.0, 1.0, 4.0, 1.0]), "a", INT4)
    assert seen.ignored == {0, 1}
    assert seen.same(np.array([0.0, 0.0, 4.0, 1.0]), np.array([1.0, 0.5, 4.0, 1.0]))
    assert not seen.same(np.array([0.0, 0.0, 4.0, 1.0]), np.array([0.0, 0.0, 8.0, 1.0]))
    assert not seen.same(np.array([0.0, 0.0, 4.0, 1.0]), np.array([0.0, 0.0, 4.0, 2.0]))


def test_a_choice_that_once_made_no_difference_counts_again_when_it_makes_one() -> None:
    """A rank of 8 and one of 16 may be stored alike, and one of 64 not."""
    seen = Structures([0, 1])
    seen.note(np.array([8.0, 0.0]), "a", INT4)
    assert seen.note(np.array([16.0, 0.0]), "a", INT4)
    assert seen.ignored == {0}
    assert seen.note(np.array([64.0, 0.0]), "b", INT4)
    assert seen.ignored == frozenset()


def test_two_last_steps_that_build_the_same_say_nothing_of_their_own_choices() -> None:
    """A block size of 32 is what the builder takes without one."""
    seen = Structures([0])
    seen.note(np.array([-1.0]), "a", Step("genai", {}))
    assert not seen.note(np.array([32.0]), "a", Step("genai", {"block_size": 32}))
    assert seen.ignored == frozenset()


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 4), min_size=1, max_size=25), st.data())
def test_what_is_not_ignored_determines_the_structure(
    rows: list[tuple[int, ...]], data: st.DataObject
) -> None:
    of_row = data.draw(st.dictionaries(st.sampled_from(rows), st.sampled_from("ab")))
    seen = Structures(range(4))
    structures: dict[tuple[float, ...], set[str]] = {}
    for row in rows:
        seen.note(np.array(row, dtype=float), of_row.get(row, "c"), INT4)
    for row in rows:
        kept = tuple(v for c, v in enumerate(row) if c not in seen.ignored)
        structures.setdefault(kept, set()).add(of_row.get(row, "c"))
    assert all(len(each) == 1 for each in structures.values())
