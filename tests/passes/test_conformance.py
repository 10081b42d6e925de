"""What every pass in the registry keeps to, other packages' passes included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from paretune.core.model import ModelKind
from paretune.passes.base import Pass
from paretune.registry import find_pass, is_ours, names
from paretune.testing.declared import follows
from paretune.testing.passes import PASS_LAWS, TARGET, example

PASSES = names("passes")
# What a test fills in where a parameter has no default.
REQUIRED = {"train": "tone.train", "data": "tone.train"}
# Of a pass that wants one of two parameters.
ONE_OF = {"drop_layers": {"layers": 6}}


def _params(pass_: Pass) -> Any:
    needed = pass_.Params.model_json_schema().get("required", [])
    given = {name: REQUIRED[name] for name in needed}
    return pass_.Params(**given, **ONE_OF.get(pass_.name, {}))


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("law", PASS_LAWS, ids=lambda law: law.__name__)
def test_it_keeps(name: str, law: Callable[[Pass, Any], None]) -> None:
    pass_ = find_pass(name)
    follows(pass_, Pass, name)
    law(pass_, _params(pass_))


@pytest.mark.parametrize("name", PASSES)
def test_smollm2_goes_through_every_pass_of_ours_with_less_than_8_gb(name: str) -> None:
    pass_ = find_pass(name)
    for kind in pass_.accepts:
        known = pass_.estimate(example(kind), _params(pass_), TARGET)
        assert known.peak_memory is None or known.peak_memory < 8e9


@pytest.mark.parametrize("name", PASSES)
def test_data_that_is_read_is_declared(name: str) -> None:
    pass_ = find_pass(name)
    params = _params(pass_)
    named = (getattr(params, name, "") for name in REQUIRED)  # may be left out, as a fake pass does
    given = tuple(filter(None, named))
    assert pass_.data(params) == given


@pytest.mark.parametrize("name", [name for name in PASSES if is_ours("passes", name)])
def test_a_prediction_tells_what_it_was_built_with(name: str) -> None:
    pass_ = find_pass(name)
    params = _params(pass_)
    for kind in pass_.accepts:
        predicted = pass_.predict(example(ModelKind(kind)), params)
        assert predicted.built_with == params.model_dump(mode="json")
