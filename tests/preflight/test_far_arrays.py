"""Rows of arrays travel where a job runs on another machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.config import load
from paretune.core.device import TargetInfo
from paretune.core.errors import UsageError
from paretune.data.catalog import DataCatalog
from paretune.data.elsewhere import Elsewhere, FarPart
from paretune.preflight.far_arrays import travelling_arrays
from tests.onnx_networks import write_network


class Place:
    """What is asked of a target: where its files are."""

    def __init__(self, **more: Any) -> None:
        vars(self).update(more)

    def info(self) -> TargetInfo:
        return TargetInfo("board")


FAR = Place(far=True)
ROWS = {"file": "rows.npz", "inputs": {"x": "x"}, "target": "y"}


@pytest.mark.parametrize(
    ("target", "data", "travels"),
    [
        (FAR, "rows.test", True),
        (Place(members=(Place(), FAR)), "rows.test", True),
        (Place(far=True, shares_folders=True), "rows.test", False),
        (Place(), "rows.test", False),
        (FAR, "", False),
    ],
)
def test_they_travel_to_other_machines_alone(
    tmp_path: Path, target: Any, data: str, travels: bool
) -> None:
    write_network(tmp_path / "n")
    np.savez(tmp_path / "rows.npz", x=np.eye(8, dtype=np.float32), y=np.arange(8))
    config = {
        "model": "n",
        "data": {
            "rows": {
                "file": "rows.npz",
                "inputs": {"x": "x"},
                "target": "y",
                "split": {"test": 0.5, "confirm": 0.25},
            }
        },
        "evaluate": [{"classification": {"data": data}} if data else "footprint"],
        "objectives": {"maximize": "accuracy"} if data else {"minimize": "size_mb"},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    plan = load(tmp_path / "c.yaml")
    catalog = DataCatalog(plan.data, tmp_path)
    found = travelling_arrays(plan, [], [target], catalog)
    assert found == (("rows.confirm", "rows.test") if travels else ())


def test_arrays_in_azure_are_refused(tmp_path: Path) -> None:
    write_network(tmp_path / "n")
    np.savez(tmp_path / "rows.npz", x=np.eye(8, dtype=np.float32), y=np.arange(8))
    config = {
        "model": "n",
        "data": {"rows": ROWS},
        "evaluate": [{"classification": {"data": "rows"}}],
        "objectives": {"maximize": "accuracy"},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    plan = load(tmp_path / "c.yaml")
    there = Elsewhere("cluster", {"rows": FarPart("sha256:0", 4, 32, ())})
    with pytest.raises(UsageError, match="'rows' is one of arrays and lies in Azure"):
        travelling_arrays(plan, [], [FAR], DataCatalog(plan.data, tmp_path, elsewhere=there))
