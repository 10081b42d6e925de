"""Rows of codes and the candidates that are compared."""

import random
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from random_spaces import spaces

from paretune.search.space import AnyOf, Chain, PassSlot, Space
from paretune.search.strategies.proposing import choices_of
from paretune.search.surrogate import encoding as encoding_module
from paretune.search.surrogate.encoding import Encoding
from paretune.search.surrogate.layout import ABSENT
from paretune.search.surrogate.pool import WHOLE, Pool
from paretune.testing.strategies import LARGE

SPACE = Space(
    (
        PassSlot("lora", {"r": (4, 8, 16), "epochs": (1,)}),
        AnyOf((PassSlot("a", {"bits": (4, 8)}), PassSlot("b", {"size": (32, 64, 128)}))),
    ),
    threads=(1, 2),
)


def test_ordered_choices_are_numbers_and_absent_ones_are_marked() -> None:
    encoding = Encoding(SPACE)
    assert encoding.layout.stages == (0, 1, 1, 1, 2)
    assert encoding.layout.ordered == (True, False, True, True, True)
    assert encoding.recipe_columns == [0, 1, 2, 3]
    rows = encoding.rows(list(SPACE))
    assert len({tuple(row) for row in rows}) == SPACE.size
    assert sorted(set(rows[:, 0])) == pytest.approx([0.0, 0.5, 1.0])
    assert ((rows[:, 2] == ABSENT) != (rows[:, 3] == ABSENT)).all()


def test_a_candidate_outside_of_the_space_has_no_row() -> None:
    other = LARGE.at(3)
    assert Encoding(SPACE).row(other) is None


def test_a_small_space_is_compared_whole_but_for_what_was_seen() -> None:
    pool = Pool(SPACE, Encoding(SPACE), seed=0)
    first = SPACE.at(0)
    assert pool.whole
    assert set(pool.candidates(0, [], set())) == set(SPACE)
    assert set(pool.candidates(1, [], {first.digest})) == set(SPACE) - {first}


def test_of_a_large_space_a_sample_and_what_is_like_good_candidates_is_compared() -> None:
    encoding = Encoding(LARGE)
    assert LARGE.size > WHOLE
    good = LARGE.at(123_456)
    found = Pool(LARGE, encoding, seed=0).candidates(7, [good], set())
    again = Pool(LARGE, Encoding(LARGE), seed=0).candidates(7, [good], set())
    assert found == again
    assert len(found) == len({c.digest for c in found}) > 300
    near = [c for c in found if int((encoding.row(c) != encoding.row(good)).sum()) <= 3]
    assert near, "none is like the good one"
    # What was noted when it was drawn is what the space says.
    plain = Encoding(LARGE)
    assert np.array_equal(encoding.rows(found), plain.rows(found))


def test_rows_of_what_is_only_compared_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding_module, "_MOST_DRAWN", 20)
    encoding, plain = Encoding(LARGE), Encoding(LARGE)
    observed = LARGE.at(5)
    encoding.row(observed)
    for start in range(0, 300, 30):
        compared = [LARGE.at(start + n) for n in range(30)]
        assert np.array_equal(encoding.rows(compared), plain.rows(compared))
    assert len(encoding._drawn) == 20
    assert observed.digest in encoding._rows


def test_half_of_the_neighbours_keep_the_first_choices() -> None:
    pool = Pool(SPACE, Encoding(SPACE), seed=0)
    good = SPACE.at(SPACE.size - 1)
    taken = choices_of(SPACE, good)
    assert taken is not None
    children = pool.around([good], random.Random(0))
    assert sum(child.recipe[0] == good.recipe[0] for child in children) >= len(children) // 3


def test_a_parent_has_the_codes_of_its_stages_only() -> None:
    space = Space(
        (
            PassSlot("lora", {"r": (4, 8), "rate": (1e-4, 1e-3)}),
            PassSlot("merge"),
            AnyOf((PassSlot("genai", {"precision": ("int4", "fp32")}), PassSlot("other"))),
        )
    )
    encoding = Encoding(space)
    candidate = next(iter(space))
    row, parent = encoding.row(candidate), encoding.parent_row(candidate, 2)
    assert row is not None
    assert parent is not None
    assert list(parent[:2]) == list(row[:2])
    assert set(parent[2:]) == {ABSENT}
    assert encoding.parent_row(candidate, 3) is None, "it is no parent but the build"


@given(spaces)
def test_a_parent_of_no_steps_has_no_code_and_each_candidate_has_its_own_row(space: Space) -> None:
    encoding = Encoding(space)
    rows: dict[str, tuple[float, ...]] = {}
    for candidate in islice(space, 50):
        row = encoding.row(candidate)
        assert row is not None
        rows[candidate.digest] = tuple(row)
        if candidate.recipe:
            parent = encoding.parent_row(candidate, 0)
            assert parent is not None
            assert set(parent) <= {ABSENT}
    assert len(set(rows.values())) == len(rows)


def test_alternatives_of_one_pass_share_its_parameters() -> None:
    builds = (
        PassSlot("genai", {"precision": ("int8",)}),
        PassSlot("genai", {"precision": ("int4",), "block_size": (16, 32)}),
        Chain((PassSlot("genai", {"precision": ("fp32",)}), PassSlot("nbits", {"bits": (4,)}))),
    )
    encoding = Encoding(Space((AnyOf(builds),)))
    rows = [list(encoding.row(c)) for c in Space((AnyOf(builds),))]  # type: ignore[arg-type]
    # Which passes run, the precision, the size of the blocks.
    assert rows == [[0, 0, ABSENT], [0, 1, 0], [0, 1, 1], [1, 2, ABSENT]]


def test_a_pass_may_come_more_often_in_a_stage_than_there_are_ways_to_count() -> None:
    again = Chain(tuple(PassSlot("p", {"x": (1, 2)}, optional=True) for _ in range(10)))
    encoding, space = Encoding(Space((again,))), Space((again,))
    assert len(encoding.layout.ordered) == 11, "the way, and x of each of the ten"
    rows = encoding.rows([space.at(n * 997) for n in range(50)])
    assert len({tuple(row) for row in rows}) == len({space.at(n * 997).digest for n in range(50)})


def test_the_ways_through_alternatives_of_optional_passes_are_not_listed() -> None:
    optional = Chain(tuple(PassSlot(f"p{n}", optional=True) for n in range(60)))
    space = Space((AnyOf((Chain((AnyOf((optional, PassSlot("q"))), PassSlot("r"))),)),))
    encoding = Encoding(space)  # 2^60 of them would never end
    assert not encoding._ways
    assert encoding.row(space.at(12_345)) is not None
