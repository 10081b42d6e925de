from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from paretune.core.candidate import RuntimeSettings
from paretune.core.device_profile import Arithmetic, Bandwidth, DeviceProfile
from paretune.core.measurement import Measurement
from paretune.core.model import ModelInfo, ModelKind
from paretune.core.traffic import Traffic
from paretune.models.handle import inspect, open_model
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.matmul_nbits import MatMulNBits, MatMulNBitsParams
from paretune.passes.genai.options import GenaiParams
from paretune.runtimes.serving import traffic_of
from paretune.search.constraints import parse_constraint
from paretune.search.roofline import (
    CAUTION,
    Roof,
    context_of,
    is_plausible,
    roofline_entry,
    share,
    too_slow,
)
from tests.pass_bench import Bench, FakeCatalog
from tests.tiny_models import make_tiny_llama

MB = 1 << 20
PROFILE = DeviceProfile(
    "sha256:1",
    "2026-01-02T03:04:05+00:00",
    0.02,
    tuple(
        Bandwidth(n, size, n * rate)
        for n in (1, 2)
        for size, rate in ((MB, 100e9), (32 * MB, 60e9), (256 * MB, 20e9))
    ),
    (Arithmetic("fp32", 2, 1024, 400e9), Arithmetic("int8", 2, 1024, 1600e9)),
    3e-8,
    0.1,
    {},
)
# As SmolLM2-135M is: 30 layers, a shared embedding.
INFO = ModelInfo(
    ModelKind.GENAI,
    model_type="llama",
    bytes=10**9,
    parameters=134_515_008,
    hidden_size=576,
    layers=30,
    vocab_size=49152,
    head_dim=64,
    kv_heads=3,
    tied=True,
    precision="fp32",
)
EMBEDDING = 49152 * 576


def reason(info: ModelInfo, *device: Any) -> str | None:
    return too_slow(traffic_of(info, RuntimeSettings()), *device)


def needs(info: ModelInfo, context: int = 0) -> Traffic:
    found = traffic_of(info, RuntimeSettings(), context)
    assert found is not None
    return found


def sure(value: float | None) -> float:
    assert value is not None
    return value


def test_a_token_reads_every_matrix_once() -> None:
    assert needs(INFO).bytes_per_token == 4 * 134_515_008
    assert needs(INFO).operations_per_prompt_token == 2 * (134_515_008 - EMBEDDING)
    assert needs(INFO).operations_per_prompt == 2 * EMBEDDING
    cache = needs(INFO, 100).bytes_per_token - needs(INFO).bytes_per_token
    assert cache == 100 * 30 * 2 * 3 * 64 * 4


def test_of_an_embedding_apart_nothing_is_counted() -> None:
    apart = replace(INFO, tied=False, parameters=INFO.parameters + EMBEDDING)
    assert needs(apart) == needs(INFO)
    # Said to share its head, and brings one: the file's weights hold both.
    both = replace(apart, tied=True, modules=frozenset({"lm_head"}))
    assert needs(both) == needs(INFO)


def test_quantized_weights_bring_their_scales() -> None:
    int4 = replace(INFO, precision="int4", built_with={"block_size": None})
    assert needs(int4).bytes_per_token == int(134_515_008 * (0.5 + 4 / 32))
    assert needs(replace(int4, built_with={})).bytes_per_token == 134_515_008 // 2
    # PyTorch serves in fp32 whatever the file holds.
    assert needs(replace(INFO, kind=ModelKind.HF, precision="bf16")) == needs(INFO)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "phimoe"},
        {"model_type": ""},
        {"kind": ModelKind.HF_ADAPTER},
        {"kind": ModelKind.ONNX},
        {"precision": "int3"},
        {"parameters": 0},
        {"vocab_size": 0},
        {"hidden_size": 0},
        {"parameters": EMBEDDING},
    ],
    ids=str,
)
def test_what_is_not_known_has_no_roof(change: dict[str, Any]) -> None:
    info = replace(INFO, **change)
    assert traffic_of(info, RuntimeSettings()) is None
    limits = [parse_constraint("decode_ms_p50 <= 0.0001")]
    assert reason(info, RuntimeSettings("cpu", 2), PROFILE, limits) is None


def test_weights_that_do_not_fit_the_file_are_not_believed() -> None:
    assert is_plausible(INFO)
    assert not is_plausible(replace(INFO, bytes=4 * INFO.parameters - 1))
    assert not is_plausible(replace(INFO, precision="fp8"))
    assert not is_plausible(replace(INFO, parameters=0))


def test_the_times_of_a_roof() -> None:
    roof = Roof(needs(INFO), PROFILE, 2)
    size = needs(INFO).bytes_per_token
    assert roof.decode_ms() == pytest.approx(1e3 * size / 40e9)
    assert roof.least_decode_ms() == pytest.approx(CAUTION * 1e3 * size / 40e9)
    operations = 512 * needs(INFO).operations_per_prompt_token + 2 * EMBEDDING
    assert roof.ttft_ms(512) == pytest.approx(1e3 * operations / 400e9)
    assert roof.ttft_ms(1) == roof.decode_ms()
    assert roof.least_ttft_ms(512) == pytest.approx(CAUTION * 1e3 * operations / 400e9)
    # What is quantized may be multiplied as integers.
    int4 = Roof(needs(replace(INFO, precision="int4")), PROFILE, 2)
    assert int4.ttft_ms(512) == pytest.approx(1e3 * operations / 1600e9)


def test_without_figures_or_from_a_busy_machine_there_is_no_bound() -> None:
    for profile in (
        replace(PROFILE, bandwidth=(), arithmetic=()),
        replace(PROFILE, others=0.5),
    ):
        roof = Roof(needs(INFO), profile, 2)
        assert roof.least_decode_ms() is None
        assert roof.least_ttft_ms(64) is None
    assert Roof(needs(INFO), replace(PROFILE, others=0.5), 2).decode_ms() is not None


MINIMUM = CAUTION * 1e3 * 4 * 134_515_008 / 40e9


@pytest.mark.parametrize(
    ("limit", "hopeless"),
    [
        (f"decode_ms_p50 <= {MINIMUM * 0.99}", True),
        (f"decode_ms_p50 < {MINIMUM * 0.99}", True),
        (f"decode_ms_p95 <= {MINIMUM * 0.99}", True),
        (f"decode_ms_p50@512 <= {MINIMUM * 0.99}", True),
        (f"decode_tokens_per_s >= {1e3 / MINIMUM * 1.01}", True),
        (f"decode_tokens_per_s > {1e3 / MINIMUM * 1.01}", True),
        (f"decode_ms_p50 <= {MINIMUM * 1.01}", False),
        (f"decode_tokens_per_s >= {1e3 / MINIMUM * 0.99}", False),
        # Somebody wants it slow, or asks for something else, or for what is not known yet.
        (f"decode_ms_p50 >= {MINIMUM * 0.5}", False),
        (f"decode_tokens_per_s <= {1e3 / MINIMUM * 2}", False),
        ("ttft_ms_p50 <= 0.001", False),
        ("accuracy >= 0.9", False),
        ("decode_ms_p50 <= baseline * 0.0001", False),
    ],
)
def test_only_a_limit_that_cannot_hold_rules_out(limit: str, hopeless: bool) -> None:
    why = reason(INFO, RuntimeSettings("cpu", 2), PROFILE, [parse_constraint(limit)])
    assert (why is not None) == hopeless
    if why is not None:
        assert limit in why
        assert "reads 538 MB for a token" in why
        assert "at least 9.42 ms with 2 threads" in why
    assert reason(INFO, RuntimeSettings("cuda", 2), PROFILE, [parse_constraint(limit)]) is None


@pytest.mark.parametrize(
    ("metric", "limit", "hopeless"),
    [
        ("ttft_ms_p50", "<= 189", True),
        ("ttft_ms_p50", "<= 192", False),
        ("ttft_ms_p95@512", "< 189", True),
        ("ttft_ms_p50", ">= 1", False),
        ("first_ttft_ms", "<= 189", False),
        ("accuracy", "<= 0.001", False),
    ],
)
def test_a_prompt_has_a_bound_of_its_own(metric: str, limit: str, hopeless: bool) -> None:
    prompts = {"ttft_ms_p50": 512, "ttft_ms_p95@512": 512, "first_ttft_ms": 8}
    assert Roof(needs(INFO), PROFILE, 2).least_ttft_ms(512) == pytest.approx(190.4, abs=0.1)
    asked = parse_constraint(f"{metric} {limit}")
    why = reason(INFO, RuntimeSettings("cpu", 2), PROFILE, [asked], prompts)
    assert (why is not None) == hopeless
    if why is not None:
        assert "reads 538 MB and does 109 billion operations for a prompt of 512 tokens" in why
        assert asked.text in why
    # Without knowing what is asked of the model, nothing bounds a prompt.
    assert reason(INFO, RuntimeSettings("cpu", 2), PROFILE, [asked]) is None


BANDWIDTHS = st.lists(st.floats(1e8, 1e12), min_size=3, max_size=3)
SIZES = st.integers(1 << 16, 1 << 34)


def device(rates: list[float], threads: int = 1) -> DeviceProfile:
    points = zip((MB, 32 * MB, 256 * MB), rates, strict=True)
    return replace(PROFILE, bandwidth=tuple(Bandwidth(threads, size, r) for size, r in points))


@given(BANDWIDTHS, SIZES, SIZES, st.integers(1, 8), st.integers(1, 8))
def test_laws_of_the_bound(rates: list[float], one: int, two: int, threads: int, more: int) -> None:
    """More bytes take no less time, more threads no more; no bound lies above the roof's time."""
    profile = replace(
        device(rates),
        bandwidth=device(rates).bandwidth + device([3 * r for r in rates], 4).bandwidth,
    )
    small, large = (Traffic(size, size, size) for size in sorted((one, two)))
    least = sure(Roof(small, profile, threads).least_decode_ms())
    assert least <= sure(Roof(large, profile, threads).least_decode_ms()) * (1 + 1e-12)
    assert least >= sure(Roof(small, profile, threads + more).least_decode_ms())
    assert least <= CAUTION * sure(Roof(small, profile, threads).decode_ms()) * (1 + 1e-12)
    prompt = sure(Roof(small, profile, threads).least_ttft_ms(10))
    assert prompt <= sure(Roof(small, profile, threads).least_ttft_ms(10 + more))
    assert prompt <= sure(Roof(small, profile, threads).ttft_ms(10)) * (1 + 1e-12)


@given(
    BANDWIDTHS,
    st.floats(0, 0.42),
    st.floats(1, 3),
    st.floats(0.9, 1.1),
    st.sampled_from(["fp32", "int8", "int4"]),
)
def test_a_feasible_candidate_is_never_ruled_out(
    rates: list[float], quicker: float, overhead: float, limit: float, precision: str
) -> None:
    """On any machine that reads up to 42 % faster than it was seen to.

    A cache may end just above the model, so that it is read as fast as the next smaller set.
    """
    profile = device(sorted(rates, reverse=True))
    info = replace(INFO, precision=precision, built_with={"block_size": 32})
    size = needs(info).bytes_per_token
    rate = [point.rate for point in profile.bandwidth if point.bytes <= size][-1]
    truth_ms = overhead * 1e3 * size / ((1 + quicker) * rate)
    assume(limit * truth_ms >= truth_ms)
    wanted = parse_constraint(f"decode_ms_p50 <= {limit * truth_ms!r}")
    assert reason(info, RuntimeSettings("cpu", 1), profile, [wanted]) is None


@given(
    st.floats(1e10, 1e13),
    st.floats(1, 4),
    st.floats(0, 0.42),
    st.floats(1, 3),
    st.integers(1, 4096),
    st.sampled_from(["fp32", "int8", "int4"]),
)
def test_a_feasible_prompt_is_never_ruled_out(
    rate: float, integers: float, quicker: float, overhead: float, tokens: int, precision: str
) -> None:
    """On any machine that computes up to 42 % faster than it was seen to.

    And whatever a kernel for quantized weights does, that nobody measured.
    """
    rates = (("fp32", rate), ("int8", integers * rate))
    profile = replace(
        PROFILE, arithmetic=tuple(Arithmetic(kind, 1, 1024, each) for kind, each in rates)
    )
    info = replace(INFO, precision=precision, built_with={"block_size": 32})
    work = needs(info)
    computing = work.operations_per_prompt_token * tokens + work.operations_per_prompt
    peak = rate if precision == "fp32" else 100 * integers * rate
    reading_ms = sure(Roof(work, profile, 1).least_decode_ms())
    truth_ms = overhead * max(1e3 * computing / ((1 + quicker) * peak), reading_ms)
    wanted = parse_constraint(f"ttft_ms_p50 <= {truth_ms!r}")
    prompts = {"ttft_ms_p50": tokens}
    assert reason(info, RuntimeSettings("cpu", 1), profile, [wanted], prompts) is None


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"precision": "int8"},
        {"precision": "int4"},
        {"precision": "int4", "block_size": 128},
        {"precision": "int4", "nodes_to_exclude": ["/lm_head/MatMul"]},
    ],
    ids=str,
)
def test_a_real_build_holds_what_is_said_to_be_read(
    tmp_path: Path, params: dict[str, Any], tied: bool
) -> None:
    model = open_model(make_tiny_llama(tmp_path / "model", tied=tied, hidden_size=128))
    predicted = Genai().predict(inspect(model.path), GenaiParams(**params))
    out = Bench(tmp_path, FakeCatalog({})).run(Genai(), model, params, "built")
    check_real(out, predicted)


def check_real(out: Path, predicted: ModelInfo) -> None:
    """Require that the matrices in a built model are what `traffic` counts, or a little more."""
    import onnx

    graph = onnx.load(out / "model.onnx").graph
    users = {name: node.op_type for node in graph.node for name in node.input}
    read = sum(
        len(onnx.numpy_helper.to_array(tensor).tobytes())
        for tensor in graph.initializer
        if users.get(tensor.name, "").startswith("MatMul")
    )
    said = needs(predicted).bytes_per_token
    # Norms are no matrices: a hundredth here, nothing in a model that is not tiny.
    assert said <= 1.01 * read
    assert said >= 0.5 * read or "nodes_to_exclude" in str(predicted.built_with)


def test_a_build_quantized_afterwards(tmp_path: Path) -> None:
    model = open_model(make_tiny_llama(tmp_path / "model", hidden_size=128))
    bench = Bench(tmp_path, FakeCatalog({}))
    built = open_model(bench.run(Genai(), model, {}, "built"))
    params = {"bits": 4, "block_size": 32}
    predicted = Genai().predict(inspect(model.path), GenaiParams())
    predicted = MatMulNBits().predict(predicted, MatMulNBitsParams(**params))
    check_real(bench.run(MatMulNBits(), built, params, "quantized"), predicted)


def test_a_small_real_model(tmp_path: Path) -> None:
    info = inspect(make_tiny_llama(tmp_path / "model"))
    assert is_plausible(info)
    assert needs(info).bytes_per_token <= 4 * info.parameters


def test_a_real_model(smollm2: Path) -> None:
    info = inspect(smollm2)
    assert is_plausible(info)
    assert needs(info).bytes_per_token == 4 * info.parameters
    assert needs(info).bytes_per_token <= (smollm2 / "model.safetensors").stat().st_size


def measured(decode: float, **details: int) -> dict[str, Measurement]:
    return {
        "decode_ms_p50": Measurement("decode_ms_p50", decode, "ms", details=details),
        "ttft_ms_p50": Measurement("ttft_ms_p50", 50.0, "ms", details=details),
    }


def test_what_results_say_of_a_candidate() -> None:
    runtime = RuntimeSettings("cpu", 2)
    entry = roofline_entry(needs(INFO), runtime, PROFILE, measured(25.0))
    assert entry["bytes_per_token"] == needs(INFO).bytes_per_token
    assert entry["decode_share"] == pytest.approx(
        sure(Roof(needs(INFO), PROFILE, 2).decode_ms()) / 25
    )
    assert entry["ttft_share"] is None
    timed = measured(25.0, prompt_tokens=64, new_tokens=32)
    entry = roofline_entry(needs(INFO, context_of(timed)), runtime, PROFILE, timed)
    assert entry["bytes_per_token"] == needs(INFO, 80).bytes_per_token
    roof = Roof(needs(INFO, 80), PROFILE, 2)
    assert entry["ttft_share"] == pytest.approx(sure(roof.ttft_ms(64)) / 50)
    for other in (None, replace(PROFILE, bandwidth=(), arithmetic=())):
        entry = roofline_entry(needs(INFO, context_of(timed)), runtime, other, timed)
        assert (entry["decode_share"], entry["ttft_share"]) == (None, None)
    on_gpu = roofline_entry(needs(INFO), RuntimeSettings("cuda", 2), PROFILE, timed)
    assert on_gpu["decode_share"] is None


def test_no_share_without_both() -> None:
    assert share(None, Measurement("x", 1.0, "ms")) is None
    assert share(1.0, None) is None
    assert share(1.0, Measurement("x", None, "ms")) is None
    assert share(1.0, Measurement("x", 4.0, "ms")) == 0.25


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, paretune.search.roofline, paretune.search.prechecks\n"
        "print(sorted({'torch', 'onnxruntime', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
