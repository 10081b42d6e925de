"""Small random spaces for property tests: alternatives in chains in alternatives, and kinds."""

from collections.abc import Mapping

from hypothesis import strategies as st

from paretune.core.jsontools import Json
from paretune.search.runtime_grids import Runtimes, RuntimesByKind, SettingsGrid
from paretune.search.space import AnyOf, Chain, PassSlot, Space, Stage

NAMES = ("a", "b", "c", "d")
MOST = 400


def slots() -> st.SearchStrategy[PassSlot]:
    """Return passes with up to two parameters; numbers stand in any order, words among them."""
    values = st.one_of(st.integers(0, 3), st.sampled_from([0.5, "word", None, True, [1, 2]]))
    grids = st.dictionaries(
        st.sampled_from(["x", "y"]),
        st.lists(values, min_size=1, max_size=3, unique_by=repr).map(tuple),
        max_size=2,
    )
    return st.builds(PassSlot, st.sampled_from(NAMES), grids, st.booleans())


stages: st.SearchStrategy[Stage] = st.recursive(
    slots(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2).map(lambda s: Chain(tuple(s))),
        st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple), st.booleans()),
    ),
    max_leaves=4,
)
_threads = st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True).map(tuple)
_grids = st.builds(
    lambda threads, modes: {"provider": ("cpu",), "threads": threads, "mode": modes},
    _threads,
    st.sampled_from([("fast",), ("fast", "small")]),
)


def _without_effect(settings: Mapping[str, Json]) -> frozenset[str]:
    return frozenset({"mode"} if settings["threads"] == 1 else ())


_runtimes = st.lists(
    st.tuples(_grids, st.sampled_from([None, _without_effect])), min_size=1, max_size=2
).map(lambda made: Runtimes(tuple(SettingsGrid("xy"[i], *each) for i, each in enumerate(made))))
_by_kind = st.builds(
    RuntimesByKind,
    st.just("k"),
    st.fixed_dictionaries({name: st.sampled_from(["k", "l"]) for name in NAMES}),
    st.fixed_dictionaries({"k": _runtimes, "l": _runtimes}),
)
spaces = st.builds(
    Space,
    st.lists(stages, max_size=3).map(tuple),
    st.just(("cpu",)),
    _threads,
    st.one_of(st.none(), _by_kind),
).filter(lambda space: space.size <= MOST)
