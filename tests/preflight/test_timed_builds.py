"""Where the times of a device decide what is built, that device must build and be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paretune.config import load
from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.device import TargetInfo
from paretune.core.errors import UsageError
from paretune.plugin_identity import device_matters
from paretune.preflight.timed_builds import check_timed_builds
from paretune.registry import find_pass
from paretune.targets.device.fingerprint import fingerprint
from paretune.targets.worker.building import more_of
from tests.test_end_to_end import write_config
from tests.tiny_models import make_tiny_llama


class Machine:
    """A target of which only its name is asked."""

    def __init__(self, far: bool) -> None:
        self.far = far

    def info(self) -> TargetInfo:
        return TargetInfo("board")


def _check(folder: Path, far: bool, **genai: Any) -> None:
    genai = {"precision": "int4", "budget": [0, 0.5], **genai}
    passes = [{"sensitivity": {}}, {"genai": genai}]
    plan = load(write_config(folder, make_tiny_llama(folder / "model"), passes=passes))
    baseline = Candidate(plan.baseline or (), RuntimeSettings("cpu", 1))
    check_timed_builds(plan, [baseline], [Machine(False), Machine(far)])  # type: ignore[list-item]


def test_another_machine_is_refused_for_times_only(tmp_path: Path) -> None:
    _check(tmp_path / "here", far=False, cost="time")
    _check(tmp_path / "bytes", far=True, cost="bytes")
    _check(tmp_path / "none", far=True)
    with pytest.raises(UsageError, match=r"this search runs jobs on 'board'") as caught:
        _check(tmp_path / "times", far=True, cost=["bytes", "time"])
    assert "cost: bytes" in (caught.value.hint or "")


def test_the_device_is_part_of_the_key_of_such_a_build_only() -> None:
    params = {"precision": "int4", "budget": 0.5}
    timed, sized = Step("genai", {**params, "cost": "time"}), Step("genai", params)
    genai = find_pass("genai")
    assert device_matters(genai, timed.params)
    assert not device_matters(genai, sized.params)
    assert not device_matters(genai, {"precision": "wrong"})
    assert not device_matters(find_pass("merge"), {})
    here = Path()
    assert more_of(timed, here, trust_remote_code=False)["device"] == fingerprint()
    assert "device" not in more_of(sized, here, trust_remote_code=False)
