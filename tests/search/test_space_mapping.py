"""What stands in a space for the candidates of another study."""

import random

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.search.space import AnyOf, Chain, PassSlot, Space
from paretune.search.space_mapping import Mapped, SpaceMapping
from paretune.testing.strategies import SMALL

Defaults = dict[str, dict[str, object]]
HERE = Space(
    (
        PassSlot("lora", {"r": (4, 16), "epochs": (1,)}),
        AnyOf(
            (
                PassSlot("genai", {"precision": ("fp32", "int8")}),
                PassSlot("genai", {"precision": ("int4",), "block_size": (32, 128)}),
                Chain((PassSlot("genai", {"precision": ("fp32",)}), PassSlot("nbits", {}))),
            )
        ),
    ),
    ("cpu",),
    (1, 2),
)


def there(r: int = 4, epochs: int = 1, threads: int = 1, **genai: object) -> Candidate:
    steps = (
        Step("lora", {"r": r, "epochs": epochs}),
        Step("genai", genai or {"precision": "int8"}),
    )
    return Candidate(steps, RuntimeSettings("cpu", threads))


def mapped(*others: Candidate, defaults: Defaults | None = None) -> list[Mapped | str]:
    mapping = SpaceMapping(HERE, others, lambda name: (defaults or {}).get(name, {}))
    return [mapping.of(other) for other in others]


def test_every_candidate_of_a_space_stands_for_itself() -> None:
    for space in (HERE, SMALL):
        mapping = SpaceMapping(space, space, lambda name: {})
        for candidate in space:
            assert mapping.of(candidate) == Mapped(candidate, 0.0, True)


def test_a_number_between_those_of_the_grid_gets_the_nearest_one() -> None:
    near, exact = mapped(there(r=6), there(r=16))
    assert isinstance(near, Mapped)
    assert near.candidate.recipe[0].params["r"] == 4
    assert near.distance > 0
    assert isinstance(exact, Mapped)
    assert exact.distance == 0


def test_a_number_beyond_the_grid_and_a_word_that_is_not_in_it_are_left_out() -> None:
    found = mapped(there(r=64), there(r=4), there(precision="fp8"))
    assert found[0] == "lora.r = 64 is not in this space"
    assert found[2] == 'genai.precision = "fp8" is not in this space'


def test_what_the_whole_other_study_had_in_common_may_differ() -> None:
    for found in mapped(there(epochs=3), there(r=16, epochs=3)):
        assert isinstance(found, Mapped)
        assert found.candidate.recipe[0].params["epochs"] == 1
        assert found.distance == 0
    kept, left = mapped(there(epochs=1), there(epochs=3))
    assert isinstance(kept, Mapped)
    assert left == "lora.epochs = 3 is not in this space"


def test_the_alternative_is_the_one_that_has_the_values() -> None:
    (found,) = mapped(there(precision="int4", block_size=100))
    assert isinstance(found, Mapped)
    assert found.candidate.recipe[1].params == {"precision": "int4", "block_size": 128}


def test_other_passes_stand_for_nothing() -> None:
    other = Candidate((Step("prune", {}),))
    assert mapped(other) == ["this space has no recipe of prune"]


def test_a_parameter_that_one_side_leaves_out_has_the_default_of_its_pass() -> None:
    bare = Candidate((Step("lora", {"r": 4}), Step("genai", {"precision": "int8"})))
    defaults: Defaults = {"lora": {"r": 8, "epochs": 1, "bias": "none"}}
    assert all(isinstance(m, Mapped) for m in mapped(bare, there(r=16), defaults=defaults))
    biased = Candidate((Step("lora", {"r": 4, "epochs": 1, "bias": "all"}), bare.recipe[1]))
    assert mapped(bare, biased, defaults=defaults)[1] == 'lora.bias = "all" is not in this space'


def test_settings_that_the_space_lacks_are_reported() -> None:
    one, many = mapped(there(threads=2), there(threads=8))
    assert isinstance(one, Mapped)
    assert one.settings
    assert isinstance(many, Mapped)
    assert not many.settings
    assert HERE.index(many.candidate) is not None


def test_what_is_found_is_in_the_space_whatever_the_other_one_was() -> None:
    draw = random.Random(0)
    others = [
        there(draw.choice([2, 4, 9, 16, 40]), draw.choice([1, 2]), draw.choice([1, 2, 7]))
        for _ in range(40)
    ]
    found = mapped(*others)
    assert any(isinstance(each, Mapped) for each in found)
    for each in found:
        assert isinstance(each, str) or HERE.index(each.candidate) is not None
