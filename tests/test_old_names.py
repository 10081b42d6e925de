"""Plug-ins of version 0.1 import what its documentation named then."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest

from paretune import old_names

PLUGIN = """
from typing import ClassVar

from paretune.errors import UsageError
from paretune.measurement import Measurement, MetricSpec, Rung
from paretune.models import Model, ModelInfo, ModelKind
from paretune.passes.base import Context, Estimate, Fidelity, Params, Progress, parameter
from paretune.search.candidate import Candidate, RuntimeSettings
from paretune.search.outcome import Outcome, OutcomeKind
from paretune.targets.base import Job, JobResult, JobStatus, TargetInfo
"""


def test_a_plug_in_of_then_loads_and_gets_what_is_used_now() -> None:
    found: dict[str, object] = {}
    exec(compile(PLUGIN, "plugin.py", "exec"), found)  # as a module of another package would
    assert found["Outcome"] is import_module("paretune.core.result").TrialResult
    assert found["Measurement"] is import_module("paretune.core.measurement").Measurement
    assert found["Params"] is import_module("paretune.core.params").Params


@pytest.mark.parametrize("old", sorted(old_names.MOVED))
def test_each_old_name_is_imported(old: str) -> None:
    assert import_module(old).__name__ == old


def test_a_module_that_never_was_is_still_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("paretune.never_there")


def test_it_is_installed_once() -> None:
    old_names.install()
    assert sum(type(finder) is old_names._OldNames for finder in sys.meta_path) == 1
