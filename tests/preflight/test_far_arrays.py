"""Data of arrays are refused where the machine that would read them is another one."""

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
from paretune.preflight.far_arrays import check_arrays_near
from tests.onnx_networks import write_network


class Elsewhere:
    """What is asked of a target: where its files are."""

    def __init__(self, **more: Any) -> None:
        vars(self).update(more)

    def info(self) -> TargetInfo:
        return TargetInfo("board")


FAR = Elsewhere(far=True)


@pytest.mark.parametrize(
    ("target", "data", "refused"),
    [
        (FAR, "rows", True),
        (Elsewhere(members=(Elsewhere(), FAR)), "rows", True),
        (Elsewhere(far=True, shares_folders=True), "rows", False),
        (Elsewhere(), "rows", False),
        (FAR, "", False),
    ],
)
def test_only_another_machine_is_refused(
    tmp_path: Path, target: Any, data: str, refused: bool
) -> None:
    write_network(tmp_path / "n")
    np.savez(tmp_path / "rows.npz", x=np.ones((4, 8), np.float32), y=np.zeros(4, int))
    config = {
        "model": "n",
        "data": {"rows": {"file": "rows.npz", "inputs": {"x": "x"}, "target": "y"}},
        "evaluate": [{"classification": {"data": data}} if data else "footprint"],
        "objectives": {"maximize": "accuracy"} if data else {"minimize": "size_mb"},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    plan = load(tmp_path / "c.yaml")
    catalog = DataCatalog(plan.data, tmp_path)
    if refused:
        with pytest.raises(UsageError, match="'rows' is one of arrays, and 'board' is another"):
            check_arrays_near(plan, [], [target], catalog)
    else:
        check_arrays_near(plan, [], [target], catalog)
