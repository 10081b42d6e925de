"""Chains that build a language model in several passes become one; what rounds it is kept."""

from __future__ import annotations

from typing import Any

import pytest

from tests.config.olive.olive_files import flat, refused, whole

CONVERT = {"type": "OnnxConversion", "target_opset": 17}
OPTIMIZE = {"type": "OrtTransformersOptimization", "model_type": "gpt2", "float16": True}
METADATA = {"type": "ModelBuilder", "precision": "fp16", "metadata_only": True}
RTN = {"type": "OnnxBlockWiseRtnQuantization"}
ROUNDED = {"block_size": 128, "is_symmetric": True, "algorithm": "rtn"}


def olive(**passes: Any) -> dict[str, Any]:
    return {**flat(), "passes": passes}


def passes(**given: Any) -> Any:
    return whole(olive(**given))["passes"]


def test_a_conversion_with_metadata_afterwards_is_one_build() -> None:
    assert passes(c=CONVERT, o=OPTIMIZE, m=METADATA) == [{"genai": {"precision": "fp16"}}]


def test_an_adapter_is_merged_unless_it_is_extracted() -> None:
    train = next(iter(flat()["passes"].values()))
    names = [
        entry if isinstance(entry, str) else next(iter(entry))
        for entry in passes(l=train, c=CONVERT, m=METADATA)
    ]
    assert names == ["lora", "merge", "genai"]
    apart = passes(l=train, c=CONVERT, e={"type": "ExtractAdapters"}, m=METADATA)
    assert apart[1:] == [{"genai_adapter": {"precision": "fp16"}}]


def test_a_conversion_of_a_language_model_alone_is_refused() -> None:
    told = refused(olive(c=CONVERT))
    assert told["passes.c.type"] == ("onnx_export takes hf-encoder, and what comes before it is hf")
    assert "passes.m.metadata_only" in refused(olive(m=METADATA))


@pytest.mark.parametrize(
    ("built", "rounded", "expected"),
    [
        ("fp16", {}, [{"genai": {"precision": "int4", **ROUNDED}}]),
        (
            "fp16",
            {"bits": 8, "block_size": 32},
            [{"genai": {"precision": "int8", "block_size": 32, "is_symmetric": True}}],
        ),
        ("fp32", {}, [{"genai": {"precision": "fp32"}}, {"matmul_nbits": ROUNDED}]),
    ],
)
def test_a_build_that_is_rounded_afterwards(
    built: str, rounded: dict[str, Any], expected: list[Any]
) -> None:
    made = {"type": "ModelBuilder", "precision": built}
    assert passes(m=made, q=RTN | rounded) == expected
