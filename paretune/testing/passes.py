"""What every pass keeps to."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.core.device import TargetInfo
from paretune.core.estimate import Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.jsontools import Json
from paretune.core.model import ModelInfo
from paretune.data.catalog import DataCatalog
from paretune.data.context import Context
from paretune.data.spec import DataSpec
from paretune.models.handle import open_model
from paretune.passes.base import Pass
from paretune.registry import find_pass, names
from paretune.testing.declared import declares, follows, imports_nothing_heavy, keeps_parameters

TARGET = TargetInfo("local", cores=2, memory=16 << 30, memory_free=8 << 30)
"""A device without a GPU, for which passes are estimated."""


def check_pass(
    name: str,
    params: Mapping[str, Json] | None = None,
    *,
    model: Path | str | None = None,
    data: Mapping[str, Any] | None = None,
    root: Path | str = ".",
) -> None:
    """Check a registered pass.

    Args:
        name: As it is registered.
        params: Parameters with which it works on a Llama of 135 million weights, on `cpu`; those
            that have no default at least.
        model: A folder with a small model of a kind that it accepts; None: nothing is built.
        data: The data sets that it reads, as under ``data:`` in a configuration.
        root: Folder that their paths start from.

    Raises:
        AssertionError: Something that every pass keeps to does not hold.
    """
    made = find_pass(name)
    follows(made, Pass, name)
    given = made.Params(**params or {})
    for law in PASS_LAWS:
        law(made, given)
    if model is not None:
        builds(made, given, Path(model), data or {}, Path(root))


def has_declarations(pass_: Pass, params: Any) -> None:
    """Require the declarations, each of its type."""
    declares(pass_)
    assert pass_.accepts, "it accepts at least one kind of model"
    kinds = (*pass_.accepts, pass_.produces)
    strange = [kind for kind in kinds if kind not in names("kinds")]
    assert not strange, f"no kind is registered as {strange[0]!r}"
    assert all(isinstance(each, str) for each in pass_.packages), "packages are names"
    assert isinstance(pass_.provider_matters, bool), "provider_matters is True or False"
    assert isinstance(pass_.trains, bool), "trains is True or False"
    told = getattr(pass_, "fidelity", lambda _: Fidelity.CHANGED)(params)
    assert isinstance(told, Fidelity), f"fidelity returns a Fidelity, not {told!r}"
    data = pass_.data(params)
    assert isinstance(data, tuple), f"data returns a tuple of references, not {data!r}"


def parameters_are_values(pass_: Pass, params: Any) -> None:
    """Require that parameters survive JSON, never change, and refuse what they do not know."""
    keeps_parameters(params)


def predicts(pass_: Pass, params: Any) -> None:
    """Require that it takes what it accepts, and predicts a model of the kind that it produces."""
    for kind in pass_.accepts:
        why = pass_.check(example(kind), params, TARGET, "cpu")
        assert why is None, f"refuses a model of kind {kind}: {why}"
        predicted = pass_.predict(example(kind), params)
        assert predicted.kind == pass_.produces, f"predicts a model of kind {predicted.kind}"
        json.dumps(dict(predicted.built_with), allow_nan=False)


def estimates(pass_: Pass, params: Any) -> None:
    """Require estimates that are not negative, also of a model of which nothing is known."""
    for kind in pass_.accepts:
        for info in (ModelInfo(kind), example(kind)):
            estimate = pass_.estimate(info, params, TARGET)
            assert isinstance(estimate, Estimate), f"estimate returns {estimate!r}"
            for figure in (estimate.bytes_out, estimate.peak_memory, estimate.seconds):
                assert figure is None or figure >= 0, f"{estimate} has a negative figure"


def imports_late(pass_: Pass, params: Any) -> None:
    """Require that checking and estimating imports no library that takes seconds."""
    imports_nothing_heavy(f"""
from paretune.registry import find_pass, names
from paretune.testing.passes import estimates, predicts
pass_ = find_pass({pass_.name!r})
params = pass_.Params.model_validate_json({params.model_dump_json()!r})
predicts(pass_, params)
estimates(pass_, params)
""")


PASS_LAWS = (has_declarations, parameters_are_values, predicts, estimates, imports_late)
"""What is required of every pass, of which each takes the pass and its parameters."""


def builds(pass_: Pass, params: Any, model: Path, data: Mapping[str, Any], root: Path) -> None:
    """Require that a build has the kind that was promised, and that its input stays as it is.

    Args:
        pass_: The pass.
        params: Its parameters.
        model: A folder with a model of a kind that it accepts.
        data: As under ``data:`` in a configuration.
        root: Folder that their paths start from.
    """
    source = open_model(model)
    assert source.kind in pass_.accepts, f"{model} is of kind {source.kind}"
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        out, scratch = Path(folder, "out"), Path(folder, "scratch")
        out.mkdir()
        scratch.mkdir()
        catalog = DataCatalog({name: DataSpec(**spec) for name, spec in data.items()}, root)
        pass_.run(source, params, Context(out, scratch, catalog))
        built = open_model(out)
        assert built.kind == pass_.produces, f"made a model of kind {built.kind}"
        assert open_model(model).digest == source.digest, "its input is another model afterwards"


def example(kind: str) -> ModelInfo:
    """Return the facts of a Llama of 135 million weights (SmolLM2).

    Args:
        kind: Of which kind it is.
    """
    return replace(
        ModelInfo(kind, model_type="llama", bytes=538_000_000, parameters=134_515_008),
        hidden_size=576,
        layers=30,
        vocab_size=49152,
        head_dim=64,
        tied=True,
        modules=frozenset({"q_proj", "k_proj", "v_proj", "o_proj"}),
    )
