from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from fake_study import write_fake_study

from paretune.config import load
from paretune.config.json_schema import schema
from paretune.core.errors import UsageError
from paretune.core.jsontools import Json
from paretune.search.tolerance import DEFAULT, Tolerance


def read(tmp_path: Path, objectives: Json, **more: Json) -> Any:
    config = write_fake_study(tmp_path, {"x": 1}, objectives=objectives, **more)
    jsonschema.validate(
        {"objectives": objectives}["objectives"], schema()["properties"]["objectives"]
    )
    return load(config)


VALID: list[tuple[Json, list[tuple[str, str, Tolerance]]]] = [
    (
        {"maximize": "accuracy", "minimize": "decode_ms_p50"},
        [("accuracy", "maximize", DEFAULT), ("decode_ms_p50", "minimize", DEFAULT)],
    ),
    (
        {"minimize": ["decode_ms_p50"], "maximize": "accuracy"},
        [("decode_ms_p50", "minimize", DEFAULT), ("accuracy", "maximize", DEFAULT)],
    ),
    (
        [{"maximize": "accuracy"}, {"minimize": "decode_ms_p50"}],
        [("accuracy", "maximize", DEFAULT), ("decode_ms_p50", "minimize", DEFAULT)],
    ),
    (
        [{"maximize": "accuracy", "minimize": "decode_ms_p50"}],
        [("accuracy", "maximize", DEFAULT), ("decode_ms_p50", "minimize", DEFAULT)],
    ),
    (
        [{"maximize": "accuracy", "within": 0.02}, {"minimize": "decode_ms_p50", "within": "5%"}],
        [
            ("accuracy", "maximize", Tolerance(0.02)),
            ("decode_ms_p50", "minimize", Tolerance(0.05, True)),
        ],
    ),
    ([{"within": "1e-3", "maximize": "accuracy"}], [("accuracy", "maximize", Tolerance(0.001))]),
    ([{"minimize": "decode_ms_p50", "within": 2}], [("decode_ms_p50", "minimize", Tolerance(2.0))]),
]


@pytest.mark.parametrize(("objectives", "expected"), VALID)
def test_every_form(
    tmp_path: Path, objectives: Json, expected: list[tuple[str, str, Tolerance]]
) -> None:
    plan = read(tmp_path, objectives)
    assert [(o.metric, o.direction, o.within) for o in plan.objectives] == expected
    (tmp_path / "again").mkdir()
    resolved = tmp_path / "again" / "c.yaml"
    resolved.write_text(yaml.safe_dump(plan.to_json()))
    assert load(resolved).objectives == plan.objectives


@pytest.mark.parametrize(
    ("objectives", "told"),
    [
        ({"maximize": "accuracy", "within": 0.01}, "write the objectives as a list"),
        ([{"maximize": "accuracy", "minimize": "decode_ms_p50", "within": 1}], "exactly one of"),
        ([{"within": 1}], "exactly one of"),
        ([{"maximize": "accuracy", "within": -1}], "expected a number in the metric's unit"),
        ([{"maximize": "accuracy", "within": "a bit"}], "found 'a bit'"),
        ([{"maximize": "accuracy", "within": None}], "expected a number in the metric's unit"),
        ([{"maximize": "accuracy", "within": True}], "expected a number in the metric's unit"),
        ([{"maximize": "accuracy", "within": 1}], "write 0.01"),
        ([{"maximize": "accuracy", "within": "100%"}], "every value down to 0"),
        ([{"maximize": 3}], "expected a metric's name"),
        ({"maximize": [["accuracy"]]}, "expected a metric's name"),
        ([{"maximize": "accuracy"}, {"minimize": "accuracy"}], "as an objective twice"),
        ([{}], "there is no metric"),
    ],
)
def test_what_is_refused(tmp_path: Path, objectives: Json, told: str) -> None:
    config = write_fake_study(tmp_path, {"x": 1}, objectives=objectives)
    with pytest.raises(UsageError, match="objectives") as caught:
        load(config)
    assert told in str(caught.value)


def test_what_asks_for_the_worse_end_is_told(tmp_path: Path) -> None:
    plan = read(
        tmp_path,
        {"minimize": "accuracy", "maximize": "decode_ms_p50"},
        constraints=["accuracy <= 0.9", "decode_ms_p50 <= 9"],
    )
    first, second, third = plan.notes
    assert "minimize accuracy, though more is better" in first
    assert "maximize decode_ms_p50, though less is better" in second
    assert "accuracy <= 0.9 rules out models whose accuracy is better" in third
