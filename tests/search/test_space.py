import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_spaces import spaces

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.search.space import PassSlot, Space, grid
from paretune.search.stages import slots_of


@given(spaces)
def test_size_counts_what_is_enumerated(space: Space) -> None:
    assert len(list(space)) == space.size


@given(spaces)
def test_every_number_leads_back_to_a_number_of_the_same_candidate(space: Space) -> None:
    for number, candidate in enumerate(space):
        index = space.index(candidate)
        assert index is not None
        assert index <= number
        assert space.at(index) == candidate


@given(spaces)
def test_index_is_the_first_number(space: Space) -> None:
    first: dict[str, int] = {}
    for number, candidate in enumerate(space):
        first.setdefault(candidate.digest, number)
    for candidate in space:
        assert space.index(candidate) == first[candidate.digest]


@given(st.integers(2, 4), st.integers(2, 4), st.integers(1, 3))
def test_neighbours_share_prefixes(a: int, b: int, threads: int) -> None:
    space = Space(
        (PassSlot("a", {"x": tuple(range(a))}), PassSlot("b", {"y": tuple(range(b))})),
        ("cpu",),
        tuple(range(1, threads + 1)),
    )
    changes = [x.recipe[0] != y.recipe[0] for x, y in zip(space, list(space)[1:], strict=False)]
    assert sum(changes) == a - 1  # each first step is left once, and never come back to
    assert len(set(space)) == space.size


def test_a_huge_space_costs_nothing() -> None:
    space = Space((PassSlot("p", {f"x{i}": tuple(range(10)) for i in range(12)}),))
    assert space.size == 10**12
    candidate = space.at(123_456_789_012)
    assert space.index(candidate) == 123_456_789_012


def test_what_is_not_in_the_space_has_no_number() -> None:
    space = Space((PassSlot("p", {"x": (1, 2)}),), ("cpu",), (1,))
    assert space.index(Candidate((Step("p", {"x": 1}),))) == 0
    assert space.index(Candidate((Step("p", {"x": 3}),))) is None
    assert space.index(Candidate((Step("p", {"x": 1}),), RuntimeSettings("cpu", 9))) is None
    assert space.index(Candidate((Step("p", {"x": 1}), Step("p", {"x": 1})))) is None
    with pytest.raises(IndexError):
        space.at(2)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"low": 1, "high": 4, "integer": True}, (1, 2, 3, 4)),
        ({"low": 0, "high": 1, "step": 0.25}, (0.0, 0.25, 0.5, 0.75, 1.0)),
        ({"low": 0, "high": 1, "points": 3}, (0.0, 0.5, 1.0)),
        ({"low": 0, "high": 1}, (0.0, 0.25, 0.5, 0.75, 1.0)),
        ({"low": 1e-4, "high": 1e-2, "log": True, "points": 3}, (1e-4, 1e-3, 1e-2)),
        ({"low": 4, "high": 32, "log": True, "step": 2, "integer": True}, (4, 8, 16, 32)),
        ({"low": 1, "high": 3, "log": True, "integer": True}, (1, 2, 3)),
        ({"low": 5, "high": 5}, (5.0,)),
        ({"low": 0, "high": 1, "step": 0.4}, (0.0, 0.4, 0.8)),
    ],
)
def test_a_range_becomes_a_grid(arguments: dict[str, float], expected: tuple[float, ...]) -> None:
    assert grid(**arguments) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"low": 2, "high": 1}, "above"),
        ({"low": 0, "high": 1, "log": True}, "begins above 0"),
        ({"low": 0, "high": 1, "step": 0}, "never arrives"),
    ],
)
def test_a_range_that_is_none(arguments: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        grid(**arguments)  # type: ignore[arg-type]


@given(spaces)
def test_the_names_of_the_passes_are_those_of_the_candidates(space: Space) -> None:
    used = {step.name for candidate in space for step in candidate.recipe}
    assert space.pass_names == used


@given(spaces)
def test_a_parameter_in_common_has_one_value_wherever_its_pass_stands(space: Space) -> None:
    common = space.params_in_common()
    for name, param in common:
        values = {
            repr(step.params[param])
            for candidate in space
            for step in candidate.recipe
            if step.name == name
        }
        assert len(values) == 1


def test_what_stands_beside_the_space_is_told_apart_too() -> None:
    space = Space((PassSlot("a", {"x": (1,), "y": (2, 3), "z": (4,)}),))
    assert space.params_in_common() == {("a", "x"), ("a", "z")}
    other = Candidate((Step("a", {"x": 9, "y": 2}),), RuntimeSettings())
    assert space.params_in_common([other]) == frozenset()


@given(spaces)
def test_what_begins_with_a_step_is_found_without_looking_through_the_space(space: Space) -> None:
    firsts = {repr(c.recipe[0]): c.recipe[0] for c in space if c.recipe}
    for step in firsts.values():
        found = [n for numbers in space.tree.beginning_with(step) for n in numbers]
        as_listed = [n for n, c in enumerate(space) if c.recipe and repr(c.recipe[0]) == repr(step)]
        assert found == as_listed


@given(spaces)
def test_builds_are_the_prefixes_of_recipes(space: Space) -> None:
    prefixes = {c.recipe[:depth] for c in space for depth in range(1, len(c.recipe) + 1)}
    counted = space.tree.builds
    assert counted.keys() == {prefix[-1].name for prefix in prefixes}
    recipes = {c.recipe for c in space}
    if sum(space.runtimes_of(space.kind_of(r)).size for r in recipes) == space.size:
        # Where two stages have the same pass, a prefix that is built in two ways counts twice.
        names = [slot.name for stage in space.stages for slot in slots_of(stage)]
        twice = len(set(names)) < len(names)
        assert sum(counted.values()) == len(prefixes) or (
            twice and sum(counted.values()) > len(prefixes)
        )
