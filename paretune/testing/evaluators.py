"""What every evaluator keeps to."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.permissions import Permissions
from paretune.data.catalog import DataCatalog
from paretune.data.context import Context
from paretune.data.spec import DataSpec
from paretune.evaluators.base import Budget, Evaluator
from paretune.models.handle import open_model
from paretune.registry import find_evaluator
from paretune.testing.declared import declares, follows, imports_nothing_heavy, keeps_parameters


def check_evaluator(
    name: str,
    params: Mapping[str, Json] | None = None,
    *,
    model: Path | str | None = None,
    data: Mapping[str, Any] | None = None,
    root: Path | str = ".",
    trust_remote_code: bool = False,
) -> None:
    """Check a registered evaluator.

    Args:
        name: As it is registered.
        params: Its parameters; those that have no default at least.
        model: A folder with a small model that it measures; None: nothing is measured.
        data: The data sets that it reads, as under ``data:`` in a configuration.
        root: Folder that their paths start from.
        trust_remote_code: Whether it may run code that its parameters name.

    Raises:
        AssertionError: Something that every evaluator keeps to does not hold.
    """
    kind = find_evaluator(name)
    made = kind(kind.Params(**params or {}))
    follows(made, Evaluator, name)
    for law in EVALUATOR_LAWS:
        law(made)
    if model is not None:
        measures(made, Path(model), data or {}, Path(root), trust_remote_code=trust_remote_code)


def has_declarations(evaluator: Evaluator) -> None:
    """Require the declarations, each of its type."""
    declares(evaluator)
    keeps_parameters(evaluator.params)
    rungs = list(evaluator.rungs)
    assert rungs, "it measures at one rung at least"
    order = [rung for rung in Rung if rung in rungs]
    assert rungs == order, f"rungs go from cheap to full, each once: {order}"
    specs = evaluator.metrics
    assert specs, "it yields one metric at least"
    assert all(isinstance(spec, MetricSpec) for spec in specs), "metrics are of MetricSpec"
    names = [spec.name for spec in specs]
    assert len(set(names)) == len(names), f"a metric is declared twice: {', '.join(names)}"
    assert isinstance(evaluator.data, tuple), f"data is a tuple, not {evaluator.data!r}"
    assert isinstance(evaluator.fresh_process, bool), "fresh_process is True or False"
    assert getattr(evaluator, "processes", 1) >= 1, "it measures in one process at least"


def imports_late(evaluator: Evaluator) -> None:
    """Require that making it imports no library that takes seconds."""
    imports_nothing_heavy(f"""
from paretune.registry import find_evaluator
kind = find_evaluator({evaluator.name!r})
kind(kind.Params.model_validate_json({evaluator.params.model_dump_json()!r})).metrics
""")


EVALUATOR_LAWS = (has_declarations, imports_late)
"""What is required of every evaluator before it measures."""


def measures(
    evaluator: Evaluator,
    model: Path,
    data: Mapping[str, Any],
    root: Path,
    *,
    trust_remote_code: bool = False,
) -> dict[str, Measurement]:
    """Require that each rung yields what is promised, and the last one all of it.

    Args:
        evaluator: With its parameters.
        model: A folder with a model that it measures.
        data: As under ``data:`` in a configuration.
        root: Folder that their paths start from.
        trust_remote_code: Whether it may run code that its parameters name.

    Returns:
        What was measured last of each metric.
    """
    specs = {spec.name: spec for spec in evaluator.metrics}
    measured: dict[str, Measurement] = {}
    specs_of_data = {name: DataSpec(**spec) for name, spec in data.items()}
    catalog = DataCatalog(specs_of_data, root, trust_remote_code=trust_remote_code)
    allowed = Permissions(remote_code=trust_remote_code)
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        for rung in evaluator.rungs:
            place = Path(folder, rung)
            place.mkdir()
            context = Context(place, place, catalog, permissions=allowed, previous=measured)
            runtime = RuntimeSettings("cpu", 1)
            found = evaluator.measure(open_model(model), runtime, rung, Budget(), context)
            for m in found:
                assert m.metric in specs, f"{m.metric} is measured, but not declared"
                _holds_together(m, specs[m.metric])
            measured = {**measured, **{m.metric: m for m in found}}
    last = {m.metric for m in found}
    missing = ", ".join(sorted(specs.keys() - last))
    assert not missing, f"the last rung yields no {missing}; without a value, with its reason"
    return measured


def _holds_together(m: Measurement, spec: MetricSpec) -> None:
    assert m.unit == spec.unit, f"{m.metric} is declared in {spec.unit!r}, measured in {m.unit!r}"
    assert m.protocol, f"{m.metric} does not say by which protocol it was measured"
    assert m.value is not None or m.reason, f"{m.metric} has neither a value nor a reason"
    if m.low is not None and m.value is not None and m.high is not None:
        assert m.low <= m.value <= m.high, f"{m.metric} lies outside of its interval: {m}"
    again = Measurement.from_json(json.loads(json.dumps(m.to_json(), allow_nan=False)))
    assert again == m, f"through JSON, {m} became {again}"
