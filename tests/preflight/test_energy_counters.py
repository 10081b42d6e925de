"""Energy is asked for where the device counts none: refused before anything runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune.config import load
from paretune.core.errors import ConfigError, UsageError
from paretune.core.model import Model
from paretune.preflight.dry_run import foresee
from paretune.preflight.energy_counters import check_energy
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.launchers.python import PythonTarget
from paretune.targets.split import SplitTarget
from tests.sysfs_trees import ina3221, rapl, write_tree


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ``/sys`` is."""
    root = tmp_path / "sys"
    monkeypatch.setenv("PARETUNE_SYSFS", str(root))
    return root


def write_config(folder: Path, model: Model, energy: Any = True, **more: Any) -> Path:
    config = {
        "model": str(model.path),
        "passes": [{"genai": {"precision": ["fp32", "int8"]}}],
        "evaluate": [
            "footprint",
            {"generation": {"prompt_tokens": 4, "new_tokens": 4, "energy": energy}},
        ],
        "target": {"threads": [1]},
        "objectives": {"minimize": ["energy_per_token_j", "size_mb"]},
        **more,
    }
    file = folder / "energy.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return file


def test_a_device_without_a_counter_is_refused_with_what_was_found(
    tmp_path: Path, tiny: Model
) -> None:
    plan = load(write_config(tmp_path, tiny))
    with LocalTarget() as target, pytest.raises(ConfigError) as refused:
        check_energy(plan, target)
    assert refused.value.exit_status == 2
    message = str(refused.value)
    assert "no energy can be measured on 'local': there is no RAPL counter" in message
    assert "evaluate[1].generation" in message
    assert "leave `energy` out" in str(refused.value.hint)


def test_the_dry_run_refuses_it_too(tmp_path: Path, tiny: Model) -> None:
    with pytest.raises(ConfigError, match="no energy can be measured"):
        foresee(write_config(tmp_path, tiny), store=tmp_path / "store")


def test_a_device_with_one_is_not_refused_and_one_that_is_named_must_be_there(
    tmp_path: Path, tiny: Model, tree: Path
) -> None:
    write_tree(tree, ina3221())
    with LocalTarget() as target:
        assert check_energy(load(write_config(tmp_path, tiny)), target) == ()
        with pytest.raises(ConfigError, match="no RAPL counter"):
            check_energy(load(write_config(tmp_path, tiny, "rapl")), target)
        plain = load(write_config(tmp_path, tiny, False, objectives={"minimize": "size_mb"}))
        assert check_energy(plain, target) == ()


def test_the_device_that_measures_is_asked_and_not_the_builder(
    tmp_path: Path, tiny: Model, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tree, ina3221())
    there = PythonTarget(python=sys.executable)
    there.info()  # its agent has begun, with the tree
    monkeypatch.setenv("PARETUNE_SYSFS", str(tmp_path / "nothing"))
    plan = load(write_config(tmp_path, tiny))
    with LocalTarget() as here, there:
        assert check_energy(plan, SplitTarget(here, there)) == ()
        with pytest.raises(ConfigError, match="no energy can be measured"):
            check_energy(plan, SplitTarget(there, here))


def test_a_metric_that_a_parameter_brings_says_which(tmp_path: Path, tiny: Model) -> None:
    for metric, entry in [
        ("energy_per_token_j", "generation: {energy: true}"),
        ("first_ttft_ms", "generation: {cold_start: true}"),
        ("decode_ms_p50_sustained", "generation: {sustained_s: 60}"),
    ]:
        file = write_config(
            tmp_path, tiny, False, objectives={"minimize": metric}, constraints=[f"{metric} <= 1"]
        )
        with pytest.raises(UsageError) as refused:
            load(file)
        assert str(refused.value).count(f"`evaluate: [{entry}]` yields it.") == 2


def test_a_limit_below_zero_is_refused(tmp_path: Path, tiny: Model, tree: Path) -> None:
    write_tree(tree, rapl())
    with pytest.raises(ConfigError, match="energy_per_token_j"):
        load(write_config(tmp_path, tiny, constraints=["energy_per_token_j <= 0"]))
