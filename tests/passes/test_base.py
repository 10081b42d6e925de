"""What a pass is given for nothing by `PassBase`."""

from __future__ import annotations

import pytest

from paretune.core.device import TargetInfo
from paretune.core.estimate import Estimate
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.params import NoParams
from paretune.data.context import Context
from paretune.passes.base import Pass, PassBase


class Copy(PassBase):
    """Declares what it must."""

    name = "copy"
    accepts = frozenset({ModelKind.HF})
    produces = ModelKind.GENAI

    def run(self, model: Model, params: NoParams, context: Context) -> None:
        raise AssertionError


def test_the_least_that_is_a_pass() -> None:
    made, info = Copy(), ModelInfo(ModelKind.HF, bytes=5, built_with={"r": 4})
    assert isinstance(made, Pass)
    assert made.data(NoParams()) == ()
    assert made.check(info, NoParams(), TargetInfo("local"), "cpu") is None
    assert made.estimate(info, NoParams(), TargetInfo("local")) == Estimate()
    assert made.predict(info, NoParams()) == ModelInfo(ModelKind.GENAI, bytes=5)
    assert getattr(made, "fidelity", None) is None, "what is not said is not compared"


def test_what_a_subclass_leaves_out_is_named() -> None:
    class Nothing(PassBase):
        """Does not run."""

    with pytest.raises(TypeError, match="run"):
        Nothing()  # type: ignore[abstract]
