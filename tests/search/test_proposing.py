import time

import pytest
from hypothesis import given
from random_spaces import spaces

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.jsontools import canonical
from paretune.search.sample import covering, spread
from paretune.search.space import AnyOf, Chain, PassSlot, Space
from paretune.search.strategies.proposing import Choice, candidate_of, choices, choices_of


@given(spaces)
def test_the_encoding_leads_there_and_back(space: Space) -> None:
    known = choices(space)
    for candidate in space:
        found = choices_of(space, candidate)
        assert found is not None
        assert candidate_of(space, found.positions) == candidate
        assert found.labels == {n: known[n].labels[p] for n, p in found.positions.items()}


@given(spaces)
def test_a_choice_exists_where_its_parent_says_so(space: Space) -> None:
    known = choices(space)
    order = list(known)
    for choice in known.values():
        assert choice.parent is None or order.index(choice.parent[0]) < order.index(choice.name)
        assert len(set(choice.labels)) == len(choice.values)
    for candidate in space:
        found = choices_of(space, candidate)
        assert found is not None
        taken = found.positions
        assert {name for name, choice in known.items() if choice.always} <= taken.keys()
        for name in taken:
            parent = known[name].parent
            assert parent is None or taken[parent[0]] == parent[1]


@given(spaces)
def test_neither_forks_nor_labels_hide_a_value(space: Space) -> None:
    """Every position of every choice is taken by a candidate, if the choice is ever reached."""
    taken: dict[str, set[int]] = {}
    for candidate in space:
        found = choices_of(space, candidate)
        assert found is not None
        for name, position in found.positions.items():
            taken.setdefault(name, set()).add(position)
    firsts = {canonical(c.to_json()) for c in space}
    if len(firsts) == space.size:  # no recipe has two ways
        expected = {name: set(range(len(choices(space)[name].values))) for name in taken}
        if any(grid.without_effect for grid in space.every_grid):  # it may have one value only
            expected |= {name: taken[name] for name in taken if name.endswith(".mode")}
        assert taken == expected


@pytest.mark.parametrize(
    ("values", "ordered", "log"),
    [
        ((4, 8, 16), True, True),
        ((1, 2, 3), True, False),
        ((128, 32, 64), True, True),
        ((1e-5, 3e-5, 1e-4), True, True),
        ((0, 1, 2, 4), True, False),
        ((1, 100), True, False),
        ((7,), True, False),
        ((True, False), False, False),
        ((1, 1.0), False, False),
        (("int4", "int8"), False, False),
        ((None, 1), False, False),
    ],
)
def test_numbers_are_ordered(values: tuple[object, ...], ordered: bool, log: bool) -> None:
    choice = Choice("x", values)
    assert (choice.ordered, choice.log) == (ordered, log)
    assert not ordered or [values[i] for i in choice.by_rank] == sorted(values)  # type: ignore[type-var]
    assert [choice.by_rank[rank] for rank in choice.ranks] == list(range(len(values)))


def test_a_range_is_logarithmic_as_it_says() -> None:
    slot = PassSlot("p", {"x": (1, 2, 3)}, ranges={"x": {"low": 1, "high": 3, "log": True}})
    assert choices(Space((slot,)))["0.p.x"].log


def test_threads_are_ordered() -> None:
    assert choices(Space((), ("cpu", "cuda"), (1, 2, 4)))["runtime.threads"].numbers == (1, 2, 4)


def test_it_costs_as_much_as_the_tree() -> None:
    """10^60 candidates, and 10^12 ways to a recipe that does not exist."""
    grid = {f"x{i}": tuple(range(10_000)) for i in range(5)}
    options = tuple(PassSlot(f"q{i}", {"y": tuple(range(1000))}) for i in range(1000))
    space = Space((PassSlot("p", grid), AnyOf(options), PassSlot("p", grid, optional=True)))
    number = space.size * 2 // 3
    candidate = space.at(number)
    assert space.index(candidate) == number
    found = choices_of(space, candidate)
    assert found is not None
    assert candidate_of(space, found.positions) == candidate
    twice = AnyOf((PassSlot("a", {}, optional=True), PassSlot("a", {}, optional=True)))
    deep = Space((Chain((twice,) * 40),))
    start = time.monotonic()
    assert deep.index(Candidate((Step("a"),) * 41)) is None
    assert deep.index(Candidate((Step("a"),) * 40, RuntimeSettings("cpu", 1))) == 0
    assert time.monotonic() - start < 60  # by trying one after the other: 10^12 ways


def test_a_sample_has_every_alternative_and_every_value_of_a_short_list() -> None:
    options = tuple(PassSlot(f"q{i}", {"y": ("a", "b")}) for i in range(30))
    space = Space(
        (PassSlot("p", {"x": tuple(range(10_000))}, True), AnyOf(options)), ("cpu",), (1, 2)
    )
    some = covering(space)
    assert len(some) < 1000
    taken: dict[str, set[int]] = {}
    for candidate in some:
        found = choices_of(space, candidate)
        assert found is not None
        for name, position in found.positions.items():
            taken.setdefault(name, set()).add(position)
    for name, choice in choices(space).items():
        if len(choice.values) <= 20:
            assert taken[name] == set(range(len(choice.values)))
    assert {0, 9999} <= taken["0.p.x"]
    assert len(set(spread(space))) == 200
    small = Space((PassSlot("p", {"x": (1, 2)}),))
    assert covering(small) == list(small)
