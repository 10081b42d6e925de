"""Strategies that the fuzz tests share: values of any shape, and valid documents gone wrong.

``PARETUNE_FUZZ=50 pytest tests/security`` tries fifty times as many examples.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EDGES = (
    None,
    True,
    "",
    "\0",
    "..",
    "/",
    "x" * 300,
    -1,
    0,
    1 << 70,
    1e308,
    [],
    {},
    [[[]]],
    {"": {}},
)
"""Values at which readers stumble."""


def fuzz(examples: int) -> settings:
    """Return the settings of a fuzz test: so many examples, and no deadline to be missed."""
    return settings(
        max_examples=examples * int(os.environ.get("PARETUNE_FUZZ", "1")),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def json_values(words: Sequence[str] = ()) -> st.SearchStrategy[Any]:
    """Return values that JSON can hold.

    Args:
        words: Texts that mean something to the reader.
    """
    texts = st.text(max_size=8)
    named = texts | st.sampled_from(words) if words else texts
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-3, 20),
        st.floats(),
        named,
        named,
        st.sampled_from(EDGES),
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(named, inner, max_size=3),
        max_leaves=6,
    )


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield (*place, key)
        yield from _places(inner, (*place, key))


def mutated(valid: Any, words: Sequence[str] = ()) -> st.SearchStrategy[Any]:
    """Return copies of a valid document with one to three places changed, added to or removed.

    Args:
        valid: A document of dicts and lists.
        words: As for `json_values`.
    """
    change = st.tuples(
        st.sampled_from(list(_places(valid))),
        st.sampled_from(["set", "remove", "add"]),
        json_values(words),
        st.sampled_from(["x", *words]),
    )

    def apply(changes: list[tuple[Any, ...]]) -> Any:
        document = copy.deepcopy(valid)
        for place, how, value, key in changes:
            try:
                here = document
                for step in place[:-1]:
                    here = here[step]
                if how == "remove":
                    del here[place[-1]]
                elif how == "set":
                    here[place[-1]] = value
                elif isinstance(here, dict):
                    here[key] = value
                else:
                    here.append(value)
            except (AttributeError, IndexError, KeyError, TypeError):
                pass  # an earlier change took the place away
        return document

    return st.lists(change, min_size=1, max_size=3).map(apply)


def damaged(valid: bytes) -> st.SearchStrategy[bytes]:
    """Return copies of a file with some bytes changed, cut out or put in."""
    change = st.tuples(
        st.integers(0, len(valid)), st.integers(0, 8), st.binary(max_size=8)
    )  # where, how many go, what comes

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        content = valid
        for at, gone, come in changes:
            content = content[:at] + come + content[at + gone :]
        return content

    return st.lists(change, min_size=1, max_size=6).map(apply)
