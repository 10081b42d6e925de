"""`target:` and `targets:` of a configuration: where a search builds and measures."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from fake_study import write_fake_study

from paretune.config import Plan, load
from paretune.config.json_schema import schema
from paretune.core.errors import UsageError

BOARD = {"board": {"ssh": "pi@board.example", "python": "~/env/bin/python", "store": "~/store"}}


def plan_of(folder: Path, target: dict[str, Any], targets: dict[str, Any] | None = None) -> Plan:
    return load(write_fake_study(folder, {"x": 1}, target=target, targets=targets or {}))


@pytest.mark.parametrize("target", [{"name": "board"}, {"build": "board"}, {"measure": "board"}])
def test_a_declared_machine_builds_and_measures(tmp_path: Path, target: dict[str, Any]) -> None:
    plan = plan_of(tmp_path, {**target, "threads": [1]}, BOARD)
    here = "local"
    assert plan.target.build == target.get("build", target.get("name", here))
    assert plan.target.measure == target.get("measure", target.get("name", here))


def test_what_the_store_of_a_machine_may_hold(tmp_path: Path) -> None:
    targets = {"board": {**BOARD["board"], "budget": "1.5GB"}}
    plan = plan_of(tmp_path, {"build": "board"}, targets)
    assert plan.target.declared["board"].options["budget"] == 1_500_000_000
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(plan.to_json()))
    again = load(tmp_path / "again.yaml")
    assert (again.target, again.digest) == (plan.target, plan.digest)


def test_a_declared_device_measures(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"build": "local", "measure": "board", "threads": [1]}, BOARD)
    assert (plan.target.build, plan.target.measure) == ("local", "board")
    board = plan.target.declared["board"]
    assert board.launcher == "ssh"
    assert board.options == {
        "host": "pi@board.example",
        "python": "~/env/bin/python",  # of the other side's user: nothing here replaces it
        "store": "~/store",
    }


@pytest.mark.parametrize("target", [{}, {"name": "local"}, {"build": "local"}])
def test_everything_runs_here_by_default(tmp_path: Path, target: dict[str, Any]) -> None:
    plan = plan_of(tmp_path, target, BOARD)
    assert plan.target.build == plan.target.measure == "local"
    assert plan.to_json()["target"]["name"] == "local"


def test_another_interpreter_of_this_machine_has_an_absolute_path(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    os.symlink("/nowhere/python", tmp_path / "bin" / "python")
    targets = {"other": {"python": "bin/python"}}
    plan = plan_of(tmp_path, {"measure": "other", "threads": 1}, targets)
    other = plan.target.declared["other"]
    assert other.launcher == "python"
    assert other.options == {"python": str(tmp_path / "bin" / "python")}


def test_the_resolved_configuration_means_the_same(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"measure": "board", "threads": [2]}, BOARD)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(plan.to_json()))
    again = load(tmp_path / "again.yaml")
    assert again.target == plan.target
    assert again.digest == plan.digest


def test_a_configuration_without_targets_keeps_its_digest(tmp_path: Path) -> None:
    assert plan_of(tmp_path, {"threads": [1]}).to_json()["target"] == {
        "name": "local",
        "providers": ["cpu"],
        "threads": [1],
    }
    assert "targets" not in plan_of(tmp_path / "b", {"threads": [1]}).to_json()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("target: {measure: bord, threads: 1}", "no target named 'bord'\n.*Did you mean 'board'"),
        ("target: {build: bord, measure: local}", "no target named 'bord'"),
        ("target: {name: board}", "number of cores of 'board'"),
        ("target: {build: local, name: board}", "stands beside build or measure"),
        ("target: {name: local, measure: board, threads: 1}", "stands beside build or measure"),
        ("target: {measure: board}", "number of cores of 'board'"),
        ("target: {measure: ssh, threads: 1}", "no target named 'ssh'\n  Known: board, local"),
        ("target: {mesure: board}", "unknown key 'mesure'\n.*Did you mean 'measure'"),
    ],
)
def test_a_wrong_choice_is_refused_at_its_line(tmp_path: Path, lines: str, told: str) -> None:
    _refused(tmp_path, yaml.safe_dump({"targets": BOARD}) + lines, told)


def test_a_name_that_nothing_declares_is_refused_with_how_to_declare_it(tmp_path: Path) -> None:
    told = "no target named 'board'\n.*Declare it under `targets:`"
    _refused(tmp_path, "target: {measure: board, threads: 1}", told)


def test_a_name_that_is_taken_is_the_only_error(tmp_path: Path) -> None:
    lines = "target: {measure: local, threads: 1}\ntargets:\n  local: {ssh: h}"
    _refused(tmp_path, lines, "^[^\n]*targets.local: 'local' is the name .*\n  Choose another.$")


@pytest.mark.parametrize("host", ["board", "me@board", "ssh://me@board:22", "fe80::1", "10.0.0.1"])
def test_what_ssh_takes_as_a_host(tmp_path: Path, host: str) -> None:
    target = {"measure": "b", "threads": [1]}
    plan = plan_of(tmp_path, target, {"b": {"ssh": host}})
    assert plan.target.declared["b"].options["host"] == host


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ("local: {ssh: x}", "'local' is the name of a target that exists already"),
        ("'a b': {ssh: x}", "expected a name without spaces"),
        ("a: {store: x}", "expected `ssh:`"),
        ("a: {ssh: -oProxyCommand=true}", "is not a host"),
        ("a: {ssh: 'x y'}", "is not a host"),
        ("a: {ssh: ''}", "is not a host"),
        ("a: {ssh: 'me@h:22'}", "is not a host\n.*ssh://user@host:22"),
        ("a: {ssh: h, python: ''}", "targets.a.python: '' is empty"),
        ("a: {ssh: h, store: ' '}", "targets.a.store: ' ' is empty"),
        ('a: {python: "a\\nb"}', "targets.a.python: .*invisible characters"),
        ("a: ", r"targets.a: expected keys with values \(`key: value`\), found None"),
        ("a: {shh: x}", "unknown key 'shh'\n.*Did you mean 'ssh'"),
        ("a: {ssh: 7}", "ssh"),
        ("a: {ssh: h, budget: much}", "expected a size such as 800MB or 8GB"),
        ("a: {ssh: h, budget: 0}", "targets.a.budget"),
        ("a: {python: p, budget: 2GB}", "targets.a.budget: 'a' shares the store of this machine"),
        ("a: x", "targets.a"),
    ],
)
def test_a_wrong_declaration_is_refused_at_its_line(
    tmp_path: Path, declared: str, told: str
) -> None:
    _refused(tmp_path, f"targets:\n  {declared}", told)


def test_a_function_of_this_machine_does_not_measure_elsewhere(tmp_path: Path) -> None:
    custom = {"custom": {"function": "mine:score", "metric": "score"}}
    target = {"measure": "board", "threads": [1]}
    config = write_fake_study(
        tmp_path,
        {"x": 1},
        evaluate=["readback", custom],
        target=target,
        targets=BOARD,
    )
    with pytest.raises(UsageError, match=r"evaluate\[1\]: custom runs a function of this machine"):
        load(config, trust_remote_code=True)


def _refused(folder: Path, lines: str, told: str) -> None:
    """Check that a configuration is refused at its last line."""
    config = write_fake_study(folder, {"x": 1})
    value = yaml.safe_load(config.read_text())
    del value["target"]
    config.write_text(yaml.safe_dump(value) + lines + "\n")
    number = len(config.read_text().splitlines())
    with pytest.raises(UsageError, match=told) as caught:
        load(config)
    assert f"fake.yaml:{number}" in str(caught.value)


def test_the_json_schema_takes_what_is_read(tmp_path: Path) -> None:
    config = {
        "model": "m",
        "evaluate": ["footprint"],
        "objectives": {"minimize": "size_mb"},
        "targets": BOARD,
        "target": {"build": "local", "measure": "board", "threads": [1]},
    }
    checker = jsonschema.Draft202012Validator(json.loads(json.dumps(schema())))
    assert checker.is_valid(config)
    assert not checker.is_valid({**config, "targets": {"board": {"host": "x"}}})
