"""`target:` as a list: several targets, each with what it does and its settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from fake_study import write_fake_study

from paretune.config import Plan, load
from paretune.config.json_schema import schema
from paretune.config.target_uses import of_one_device
from paretune.core.errors import UsageError
from paretune.core.resources import physical_cores

BOARD = {"board": {"ssh": "pi@board.example"}, "other": {"ssh": "other.example"}}
LOCAL = {"name": "local", "threads": [1, 2]}
ON_BOARD = {"name": "board", "threads": 4}


def plan_of(folder: Path, target: Any, **more: Any) -> Plan:
    more = {"targets": BOARD, **more}
    return load(write_fake_study(folder, {"x": [1, 2]}, target=target, **more))


def test_each_device_has_its_own_settings_and_space(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [LOCAL, ON_BOARD])
    here, board = plan.devices
    assert (here.name, here.threads, here.providers) == ("local", (1, 2), ("cpu",))
    assert (board.name, board.threads) == ("board", (4,))
    assert (here.space.size, board.space.size) == (4, 2)
    assert (plan.target.build, plan.target.measure) == ("local", "local")
    assert (plan.space, plan.threads) == (here.space, here.threads)
    alone = plan.for_device(board)
    assert (alone.target.build, alone.target.measure) == ("local", "board")
    assert alone.space is board.space
    assert alone.to_json()["target"] == {
        "build": "local",
        "measure": "board",
        "providers": ["cpu"],
        "threads": [4],
    }


def test_by_default_local_does_both_and_a_declared_device_measures(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [ON_BOARD, {"name": "local"}])
    assert [(use.name, use.does) for use in plan.target.uses] == [
        ("board", "measure"),
        ("local", "both"),
    ]
    assert plan.target.measure == "board"  # the first one is the main one
    assert plan.devices[1].threads == (physical_cores(),)


def test_a_target_may_build_only(tmp_path: Path) -> None:
    build = {"name": "local", "does": "build", "slots": 3}
    plan = plan_of(tmp_path, [build, ON_BOARD])
    assert [device.name for device in plan.devices] == ["board"]
    assert (plan.target.build, plan.target.slots) == ("local", 3)
    there = {"name": "other", "does": "build"}
    plan = plan_of(tmp_path / "far", [{**LOCAL, "does": "measure"}, ON_BOARD, there])
    assert [device.name for device in plan.devices] == ["local", "board"]
    assert plan.target.build == "other"


def test_the_settings_of_a_candidate_to_try_first_are_those_of_its_device(tmp_path: Path) -> None:
    first = [{"recipe": [{"noop": {"x": 7}}]}]
    plan = plan_of(tmp_path, [LOCAL, ON_BOARD], try_first=first)
    assert [device.try_first[0].runtime.threads for device in plan.devices] == [2, 4]


def test_the_resolved_list_means_the_same(tmp_path: Path) -> None:
    build = {**LOCAL, "does": "both", "slots": 2}
    plan = plan_of(tmp_path, [build, ON_BOARD])
    assert plan.to_json()["target"] == [
        {"name": "local", "does": "both", "slots": 2, "providers": ["cpu"], "threads": [1, 2]},
        {"name": "board", "does": "measure", "providers": ["cpu"], "threads": [4]},
    ]
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(plan.to_json()))
    again = load(tmp_path / "again.yaml")
    assert (again.digest, again.devices) == (plan.digest, plan.devices)


@pytest.mark.parametrize("target", [{"threads": [1, 2]}, [LOCAL]])
def test_one_device_in_either_form_is_a_study_of_one(tmp_path: Path, target: Any) -> None:
    plan = plan_of(tmp_path, target)
    (device,) = plan.devices
    assert (device.name, device.space) == ("local", plan.space)
    assert plan.for_device(device).to_json()["target"] == {
        "name": "local",
        "providers": ["cpu"],
        "threads": [1, 2],
    }


@pytest.mark.parametrize(
    ("target", "one"),
    [
        ({"name": "local", "threads": [1]}, {"name": "local", "threads": [1]}),
        (None, {}),
        (
            [
                {"name": "local", "does": "build"},
                {"name": "board", "does": "measure", "providers": ["cpu"], "threads": [4]},
            ],
            {"build": "local", "measure": "board", "providers": ["cpu"], "threads": [4]},
        ),
        (
            [{"name": "local", "does": "both", "providers": ["cpu"], "threads": [1]}],
            {"name": "local", "providers": ["cpu"], "threads": [1]},
        ),
    ],
)
def test_the_form_of_one_device(target: Any, one: dict[str, Any]) -> None:
    assert of_one_device(target) == one


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[{name: local}, {name: bord, threads: 1}]", r"target\[1\].name: no target named 'bord'"),
        ("[{name: local}, {name: local}]", r"target\[1\].name: 'local' stands in entries 1 and 2"),
        ("[{name: board, threads: 1}]", r"target: no entry builds \('board'\)"),
        ("[{name: local, does: build}]", r"target: no entry measures \('local'\)"),
        ("[{name: board, does: both}]", r"target\[0\].threads: is missing.*cores of 'board'"),
        ("[{name: local, does: measure, slots: 2}]", r"target\[0\].slots: 'local' does not build"),
        ("[{name: local, does: build, threads: 2}]", r"target\[0\].threads: .* does not measure"),
        ("[{name: local}, {name: board}]", r"target\[1\].threads: is missing.*cores of 'board'"),
        ("[{name: local, treads: 2}]", r"unknown key 'treads'\n.*Did you mean 'threads'"),
        ("[{nam: local}]", r"target\[0\].*'name' is missing"),
        ("[]", "target: expected at least one target"),
        ("[local]", r"target\[0\]: expected keys with values"),
        ("[{name: local, does: everything}]", r"target\[0\].does: .*'build', 'measure' or 'both'"),
        ("[{name: local, threads: yes}]", r"target\[0\].threads: .*a number"),
        ("[{name: local, slots: yes}]", r"target\[0\].slots: .*a number"),
        ("[{name: local, slots: 0}]", r"target\[0\].slots: .*greater than or equal to 1"),
        ("[{name: local, threads: []}]", r"target\[0\].threads: "),
        ("[{name: local, providers: [gpu]}]", r"target\[0\].providers\[0\]"),
        ("local", "target: expected keys with values"),
    ],
)
def test_a_list_that_contradicts_itself_is_refused_at_its_key(
    tmp_path: Path, line: str, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        plan_of(tmp_path, yaml.safe_load(line))


def test_several_targets_may_build(tmp_path: Path) -> None:
    there = {"name": "other", "does": "build", "slots": 3}
    plan = plan_of(tmp_path, [LOCAL, ON_BOARD, there])
    assert plan.target.builders == {"local": None, "other": 3}
    assert plan.target.slots is None, "not known for each of them"
    assert plan.target.build == "local"
    plan = plan_of(tmp_path / "given", [{**LOCAL, "slots": 2}, there])
    assert plan.target.slots == 5
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(plan.to_json()))
    assert load(tmp_path / "again.yaml").target.builders == {"local": 2, "other": 3}
    told = r"search.builds: stands beside several targets that build \(local, other\)"
    with pytest.raises(UsageError, match=told):
        plan_of(tmp_path / "builds", [LOCAL, there], search={"builds": 4})


def test_slots_beside_builds_are_refused(tmp_path: Path) -> None:
    search = {"strategy": "exhaustive", "builds": 2}
    with pytest.raises(UsageError, match=r"search.builds: stands beside `slots: 3`"):
        plan_of(tmp_path, [{"name": "local", "slots": 3}], search=search)


def test_a_function_of_this_machine_does_not_measure_on_any_other(tmp_path: Path) -> None:
    custom = {"custom": {"function": "mine:score", "metric": "score"}}
    config = write_fake_study(
        tmp_path,
        {"x": 1},
        evaluate=["readback", custom],
        target=[LOCAL, ON_BOARD],
        targets=BOARD,
    )
    told = r"evaluate\[1\]: custom runs a function of this machine, which 'board' does not have"
    with pytest.raises(UsageError, match=told):
        load(config, trust_remote_code=True)


def test_a_fixed_recipe_is_one_on_each_device(tmp_path: Path) -> None:
    on_board = {"name": "board", "threads": [1, 2]}
    config = write_fake_study(
        tmp_path, {"x": 1}, target=[{"name": "local", "threads": 1}, on_board], targets=BOARD
    )
    with pytest.raises(UsageError, match=r"describes 2 candidates.*: threads have several values"):
        load(config, single=True)


def test_the_json_schema_takes_both_forms(tmp_path: Path) -> None:
    config = {
        "model": "m",
        "evaluate": ["footprint"],
        "objectives": {"minimize": "size_mb"},
        "targets": BOARD,
    }
    checker = jsonschema.Draft202012Validator(json.loads(json.dumps(schema())))
    assert checker.is_valid({**config, "target": [LOCAL, ON_BOARD]})
    assert checker.is_valid({**config, "target": {"threads": 2}})
    assert not checker.is_valid({**config, "target": [{"threads": 2}]})
    assert not checker.is_valid({**config, "target": []})
