"""Booleans where a number or text is meant are refused, wherever they stand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from paretune.config import Plan, load
from paretune.config.booleans import misplaced
from paretune.core.errors import UsageError
from tests.tiny_models import make_tiny_llama

TEXT = """\
model: m
data:
  d: {file: d.jsonl, prompt: "{t}", answer: "{y}", LIMIT split: {test: 0.5 SPLIT}}
passes:
  - lora: {train: d.train, max_steps: 1 LORA}
  - merge
  - genai: {precision: int4 GENAI}
evaluate:
  - classification: {data: d.test CLASSES}
  - generation: {new_tokens: 4 GENERATION}
  - footprint
target: {threads: THREADS}
objectives: {maximize: accuracy}
constraints: [accuracy >= 0.1 LIMITS]
search: {time: 5m SEARCH}
"""
WITHOUT = {"LIMIT": "", "THREADS": "[1]"} | dict.fromkeys(
    ("SPLIT", "LORA", "GENAI", "CLASSES", "GENERATION", "SEARCH", "LIMITS"), ""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("booleans")
    make_tiny_llama(found / "m", positions=256)
    rows = [f'{{"t": "word {i} of many", "y": "{"yes" if i % 2 else "no"}"}}' for i in range(40)]
    (found / "d.jsonl").write_text("\n".join(rows))
    return found


def plan_of(folder: Path, **parts: str) -> Plan:
    text = TEXT
    for name, value in sorted((WITHOUT | parts).items(), key=lambda part: -len(part[0])):
        text = text.replace(name, value)
    (folder / "c.yaml").write_text(text)
    return load(folder / "c.yaml")


@pytest.mark.parametrize(
    ("part", "value", "key", "told"),
    [
        ("SEARCH", ", trials: yes", "search.trials", "a number, found yes"),
        ("SEARCH", ", seed: true", "search.seed", "a number, found true"),
        ("SEARCH", ", finals: off", "search.finals", "a number, found off"),
        ("SEARCH", ", job_memory: on", "search.job_memory", "a number, found on"),
        ("SEARCH", ", job_time: Yes", "search.job_time", "a number, found Yes"),
        ("SEARCH", ", prefer: no", "search.prefer", "text, found no"),
        ("THREADS", "yes", "target.threads", "a number, found yes"),
        ("THREADS", "[1, on]", "target.threads[1]", "a number, found on"),
        ("LIMIT", "limit: yes, ", "data.d.limit", "a number, found yes"),
        ("SPLIT", ", seed: no", "data.d.split.seed", "a number, found no"),
        ("LORA", ", r: yes", "passes[0].lora.r", "a number, found yes"),
        ("LORA", ", r: [8, yes]", "passes[0].lora.r[1]", "a number, found yes"),
        ("LORA", ", r: {low: yes, high: 8}", "passes[0].lora.r.low", "a number, found yes"),
        ("LORA", ", r: {low: 1, high: 8, points: on}", "passes[0].lora.r.points", "found on"),
        ("LORA", ", alpha: no", "passes[0].lora.alpha", "a number, found no"),
        ("LORA", ", dropout: off", "passes[0].lora.dropout", "a number, found off"),
        (
            "LORA",
            ", target_modules: [q_proj, yes]",
            "passes[0].lora.target_modules[1]",
            "text, found yes",
        ),
        (
            "GENAI",
            ", accuracy_level: [0, yes]",
            "passes[2].genai.accuracy_level[1]",
            "one of 0, 1, 2, 3, 4, found yes",
        ),
        ("GENAI", ", algorithm: no", "passes[2].genai.algorithm", "one of default, rtn"),
        (
            "CLASSES",
            ", labels: [yes, no]",
            "evaluate[0].classification.labels[0]",
            'quotes to make it text: "yes"',
        ),
        (
            "CLASSES",
            ", rough_examples: true",
            "evaluate[0].classification.rough_examples",
            "a number, found true",
        ),
        (
            "GENERATION",
            ", prompt_tokens: [8, yes]",
            "evaluate[1].generation.prompt_tokens[1]",
            "a number, found yes",
        ),
        (
            "GENERATION",
            ", prompt_tokens: yes",
            "evaluate[1].generation.prompt_tokens",
            "a number, found yes",
        ),
        ("GENERATION", ", streams: on", "evaluate[1].generation.streams", "a number, found on"),
        ("LIMITS", ", yes", "constraints[1]", "text, found yes"),
    ],
)
def test_a_boolean_is_refused_at_its_key(
    folder: Path, part: str, value: str, key: str, told: str
) -> None:
    with pytest.raises(UsageError) as refused:
        plan_of(folder, **{part: value})
    message = str(refused.value)
    assert f"{key}: expected" in message
    assert told in message
    assert "a boolean" in message
    assert message.count(f"{key}: ") == 1, "each mistake once"


def test_each_label_is_named(folder: Path) -> None:
    with pytest.raises(UsageError) as refused:
        plan_of(folder, CLASSES=", labels: [yes, no]")
    assert "2 errors" in str(refused.value)
    assert '"no"' in str(refused.value)
    assert "labels[1]" in str(refused.value)


def test_in_quotes_they_are_labels_and_booleans_stay_booleans(folder: Path) -> None:
    plan = plan_of(
        folder,
        CLASSES=', labels: ["yes", "no"]',
        GENERATION=", cold_start: yes",
        LORA=", use_dora: [yes, no]",
        GENAI=", is_symmetric: [on, off]",
    )
    assert plan.evaluators[0].params["labels"] == ["yes", "no"]
    assert plan.evaluators[1].params["cold_start"] is True
    assert plan.space.size == 4


def test_a_range_is_logarithmic_or_not(folder: Path) -> None:
    with pytest.raises(UsageError, match="log: expected true or false, found 'no'"):
        plan_of(folder, LORA=', r: {low: 1, high: 8, log: "no"}')


class Inner(BaseModel):
    count: int = 0
    switch: bool = False


@pytest.mark.parametrize(
    ("annotation", "value", "paths"),
    [
        (int, True, [()]),
        (float, False, [()]),
        (int | None, True, [()]),
        (str, True, [()]),
        (bool, True, []),
        (bool | int, True, []),
        (int | bool | None, False, []),
        (Any, True, []),
        (Literal[0, 1], True, [()]),
        (Literal[True, "auto"], True, []),
        (Annotated[int, Field(ge=1)], True, [()]),
        (list[Annotated[int, Field(ge=1)]], [True], [(0,)]),
        (list[int] | None, True, [()]),
        (list[bool], [True], []),
        (list[bool], True, []),
        (tuple[int, ...], [1, True], [(1,)]),
        (list[list[int]], [[1], [True]], [(1, 0)]),
        (dict[str, int], {"a": True, "b": 1}, [("a",)]),
        (Mapping[str, float], {"a": True}, [("a",)]),
        (dict[str, Any], {"a": True}, []),
        (dict, {"a": True}, []),
        (list, [True], []),
        (Inner, {"count": True, "switch": True}, [("count",)]),
        (list[Inner], [{"count": 1}, {"count": False}], [(1, "count")]),
        (int | list[int], [1, 2], []),
        (int, 1, []),
        (int, "yes", []),
    ],
)
def test_where_a_type_takes_no_boolean(annotation: Any, value: Any, paths: list[Any]) -> None:
    assert [path for path, _ in misplaced(annotation, value)] == paths
