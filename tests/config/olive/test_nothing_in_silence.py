"""Every key of every configuration ends up in the list, once, whatever the configuration holds."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.config.olive import Status, Translation, translate
from paretune.config.olive.source import TranslatedSource
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Source
from paretune.core.errors import ConfigError, UsageError, without_controls
from tests.config.olive.olive_files import OWN, PUBLIC, SEEDS, flat, leaves, nested
from tests.config.olive.vocabulary import unknown_names

FILES = [*OWN, *PUBLIC, *SEEDS]


def check(value: Any) -> Translation | None:
    """Translate; require that each leaf is spoken for once, and that refusals name all at once."""
    try:
        source = Source(json.dumps(value), "olive.json")
        found = translate(source)
    except ConfigError:  # no JSON object, no Olive configuration, or no text at all
        return None
    spoken = [e.path for e in found.entries if e.status is not Status.ADDED]
    for leaf in leaves(source.value):
        by = [path for path in spoken if leaf[: len(path)] == path]
        assert len(by) == 1, (leaf, by)
    wrong = found.of(Status.UNSUPPORTED)
    if not wrong:
        found.require_whole()
        assert unknown_names(found.config) == []
        assert TranslatedSource(found).value == found.config
        return found
    with pytest.raises(UsageError) as caught:
        found.require_whole()
    assert caught.value.exit_status == 2
    assert all(without_controls(str(entry.why)) in str(caught.value) for entry in wrong)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_key_of_a_whole_configuration_is_listed_once(file: Any) -> None:
    assert check(json.loads(file.read_text())) is not None


KNOWN = [json.loads(file.read_text()) for file in FILES] + [flat(), nested()]


def places(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(p for key, inner in inside for p in places(inner, (*path, key)))]


def at(value: Any, path: KeyPath) -> Any:
    for key in path:
        value = value[key]
    return value


NAMES = sorted({key for known in KNOWN for p in places(known) for key in p if isinstance(key, str)})
SEARCHED = {"olive_parameter_type": "SearchParameter", "type": "Categorical", "support": [1, "x"]}
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**18),
    st.floats(allow_nan=False),
    st.text(max_size=6),
    st.sampled_from(
        [
            "join",
            "line-by-line-random",
            "pair",
            "train[:5]",
            "DEFAULT_VALUE",
            "1e-4",
            [],
            {},
            ["a"],
            [[1]],
            [{}],
            {"type": "LoRA"},
            SEARCHED,
            "steps",
            "int8",
        ]
    ),
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """Take a configuration, and remove, replace, move and add some of its parts."""
    value = copy.deepcopy(draw(st.sampled_from(KNOWN)))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(places(value)))
        how = draw(st.sampled_from(["remove", "replace", "move", "add"]))
        inside = at(value, path)
        if how == "add" and isinstance(inside, dict):
            inside[draw(st.sampled_from(NAMES))] = copy.deepcopy(draw(values))
        elif path and how == "remove":
            at(value, path[:-1]).pop(path[-1])
        elif path and how == "replace":
            at(value, path[:-1])[path[-1]] = copy.deepcopy(draw(values))
        elif path:
            other = draw(st.sampled_from(KNOWN))
            part = at(other, draw(st.sampled_from(places(other))))
            at(value, path[:-1])[path[-1]] = copy.deepcopy(part)
    return value


@settings(max_examples=300, deadline=None)
@given(mutated())
def test_a_mutated_configuration_is_translated_or_refused_cleanly(value: Any) -> None:
    check(value)


trees = st.recursive(
    values,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), trees, max_size=6), trees)
def test_any_tree_of_olives_keys_is_translated_or_refused_cleanly(tree: Any, model: Any) -> None:
    check({**tree, "input_model": model})


@pytest.mark.parametrize("change", [{"dataset": None}, {"task": []}, {"task": {"a": 1}}])
def test_an_encoder_with_odd_values_is_translated_or_refused_cleanly(change: Any) -> None:
    value = json.loads(next(f for f in OWN if f.stem == "flat-encoder").read_text())
    value["input_model"] = {
        "type": "PyTorchModel",
        "config": {"hf_config": {"model_name": "models/bert", "task": "text-classification"}},
    }
    value["input_model"]["config"]["hf_config"] |= change
    check(value)
