"""Whatever a configuration holds: a plan, or an error with exit status 2."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from paretune.config import load
from paretune.config.yaml_source import Source
from paretune.core.errors import ConfigError, ParetuneError, UsageError
from paretune.core.jsontools import canonical
from tests.security.fuzzing import fuzz, json_values, mutated
from tests.security.hostile import write_hugging_face

VALID: dict[str, Any] = {
    "model": "model",
    "data": {
        "tone": {
            "file": "tone.jsonl",
            "format": "jsonl",
            "prompt": "{p}: ",
            "answer": "{t}",
            "split": {"test": 0.5, "seed": 0, "group": "p"},
            "limit": 8,
            "chat": False,
        }
    },
    "passes": [
        {"lora": {"train": "tone.train", "r": [4, 16], "dropout": {"low": 0, "high": 0.1}}},
        "merge",
        {
            "any": [
                {"genai": {"precision": ["fp32", "int8"]}},
                [{"genai": {"precision": "fp32"}}, {"matmul_nbits": {"bits": 4}}],
            ],
            "optional": True,
        },
    ],
    "baseline": [{"genai": {"precision": "fp32"}}],
    "try_first": [{"recipe": ["genai"], "threads": 2}],
    "evaluate": [
        {"classification": {"data": "tone.test"}},
        {"generation": {"prompt_tokens": 8, "new_tokens": 4}},
        "footprint",
    ],
    "target": {"name": "local", "providers": ["cpu"], "threads": [1, 2]},
    "objectives": {"maximize": "accuracy", "minimize": ["size_mb"]},
    "constraints": ["accuracy >= 0.5", "size_mb <= baseline * 2"],
    "search": {"time": "10m", "trials": 5, "seed": 0, "prefer": "accuracy", "job_memory": "8GB"},
}
WORDS = (
    "model",
    "tone",
    "tone.train",
    "lora",
    "merge",
    "genai",
    "any",
    "optional",
    "low",
    "high",
    "log",
    "step",
    "precision",
    "fp32",
    "accuracy",
    "baseline",
    "cpu",
    "maximize",
    "10m",
    "-1",
    "{p}",
    "{",
    "}",
    "{p!r}",
    "{0}",
    "{p:99}",
    "custom",
    "hub",
    "files",
    "test",
    "nan",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the valid configuration is valid."""
    place = tmp_path_factory.mktemp("configuration")
    write_hugging_face(place / "model", hidden_size=8, num_attention_heads=2)
    rows = [{"p": f"text {i}", "t": "ab"[i // 2 % 2]} for i in range(8)]
    (place / "tone.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def check(folder: Path, content: bytes) -> None:
    """Load a configuration: the plan must be usable, or the error clean."""
    (folder / "c.yaml").write_bytes(content)
    try:
        plan = load(folder / "c.yaml")
    except ParetuneError as error:
        assert error.exit_status == 2
        str(error).encode()
    else:
        canonical(plan.to_json()).encode()
        assert plan.digest
        assert list(zip(range(3), plan.space, strict=False))


def test_the_valid_one_is_valid(folder: Path) -> None:
    (folder / "c.yaml").write_text(yaml.safe_dump(VALID))
    assert load(folder / "c.yaml").space.size == 2 * 5 * 4 * 2


@fuzz(60)
@given(st.binary(max_size=200))
def test_any_bytes(folder: Path, content: bytes) -> None:
    check(folder, content)


@fuzz(120)
@given(st.text(alphabet="[]{}:,-&*!|>'\"#%@`? \n\tab01.~=<\\\x85\ud800", max_size=60))
def test_any_text_of_the_signs_that_yaml_knows(folder: Path, text: str) -> None:
    try:
        canonical(Source(text, "c.yaml").value).encode()
    except ConfigError as error:
        assert error.exit_status == 2


@fuzz(60)
@given(json_values(WORDS))
def test_any_structure(folder: Path, value: Any) -> None:
    check(folder, yaml.safe_dump(value).encode("utf-8", "surrogatepass"))


@fuzz(150)
@given(mutated(VALID, WORDS))
def test_a_valid_one_gone_wrong(folder: Path, document: Any) -> None:
    check(folder, yaml.safe_dump(document).encode("utf-8", "surrogatepass"))


@fuzz(60)
@given(st.data())
def test_a_valid_text_with_signs_changed(folder: Path, data: st.DataObject) -> None:
    text = yaml.safe_dump(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        at, gone = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 3))
        come = data.draw(st.text(alphabet="[]{}:,-&*!|>'\"#? \n\tx1", max_size=3))
        text = text[:at] + come + text[at + gone :]
    check(folder, text.encode())


ABSURD: list[tuple[tuple[Any, ...], Any]] = [
    (("model",), "a\0b"),
    (("model",), "/dev/null"),
    (("data", "tone", "file"), "a\0b.jsonl"),
    (("data", "tone", "file"), "/dev/zero"),
    (("data", "tone", "file"), "."),
    (("passes", 0, "lora", "dropout"), {"low": 0, "high": 1, "step": "nan"}),
    (("passes", 0, "lora", "dropout"), {"low": 0, "high": 1, "step": -1}),
    (("passes", 0, "lora", "dropout"), {"low": 0, "high": 1, "points": "x"}),
    (("passes", 0, "lora", "max_grad_norm"), "nan"),
    (("constraints",), ["size_mb <= 1e999"]),
    (("target", "name"), "x" * 100_000),
    (("try_first",), [{"recipe": ["genai"], "provider": {}}]),
    (("objectives",), [{"maximize": "accuracy"}, {"minimize": "accuracy"}]),
    (("search", "time"), "9" * 400 + "h"),  # an infinity, which no JSON holds
    (("search", "job_memory"), "9" * 400 + "GB"),
    (("passes", 0, "lora", "max_grad_norm"), "1e999"),
    (("passes", 0, "lora", "max_grad_norm"), "inf"),
    (("model",), "x" * 5000),  # OSError: file name too long
    (("data", "tone", "file"), "x" * 5000),
    (("passes", 0, "lora", "r"), {"low": 1, "high": 4096, "points": -5}),  # an empty grid
    (("passes", 0, "lora", "weight_decay"), {"low": 0, "high": 1, "points": 200_000}),
    (("objectives",), [{}]),
    (("objectives",), {"maximize": []}),
]


@pytest.mark.parametrize(("place", "value"), ABSURD)
def test_an_absurd_value_is_refused(folder: Path, place: tuple[Any, ...], value: Any) -> None:
    document = copy.deepcopy(VALID)
    document["search"].pop("prefer")
    here = document
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    (folder / "c.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(UsageError):
        load(folder / "c.yaml")
