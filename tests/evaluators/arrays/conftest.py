"""Runs evaluators on networks and data sets of arrays, as the worker does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.measurement import Measurement, Rung
from paretune.core.permissions import Permissions
from paretune.data.catalog import DataCatalog
from paretune.data.context import Context
from paretune.data.spec import DataSpec
from paretune.evaluators.base import Budget
from paretune.models.handle import open_model
from paretune.registry import find_evaluator

OnRows = Callable[..., dict[str, Measurement]]


@pytest.fixture
def on_rows(tmp_path: Path) -> OnRows:
    """Return a function that measures a network's folder on arrays, `d` by name."""

    def run(
        name: str,
        network: Path,
        arrays: dict[str, Any],
        *,
        reference: Path | None = None,
        rung: Rung = Rung.FULL,
        previous: dict[str, Measurement] | None = None,
        spec: dict[str, Any] | None = None,
        budget: Budget = Budget(),
        **params: Any,
    ) -> dict[str, Measurement]:
        if arrays:
            np.savez(tmp_path / "d.npz", **arrays)
        made = {"file": "d.npz", "inputs": {"x": "x"}, "target": "y", **(spec or {})}
        catalog = DataCatalog({"d": DataSpec(**made)}, tmp_path, trust_remote_code=True)
        context = Context(
            out=tmp_path,
            scratch=tmp_path,
            data=catalog,
            previous=previous or {},
            permissions=Permissions(remote_code=True),
            reference=None if reference is None else open_model(reference),
        )
        kind = find_evaluator(name)
        if "form" in kind.Params.model_fields:
            params["form"] = "arrays"
        evaluator = kind(kind.Params(**{"data": "d", **params}))
        if hasattr(evaluator, "check_rows"):
            evaluator.check_rows(catalog.arrays("d"))
        cpu = RuntimeSettings("cpu", 1)
        found = evaluator.measure(open_model(network), cpu, rung, budget, context)
        return {m.metric: m for m in found}

    return run
