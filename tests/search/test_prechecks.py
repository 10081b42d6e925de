import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.device import TargetInfo
from paretune.core.device_profile import Arithmetic, Bandwidth, DeviceProfile
from paretune.core.estimate import Estimate
from paretune.core.model import ModelInfo, ModelKind
from paretune.core.params import NoParams, Params
from paretune.registry import find_pass
from paretune.runtimes.serving import traffic_of
from paretune.search.constraints import parse_constraint
from paretune.search.prechecks import Foresight, Prechecks

MODEL = ModelInfo(ModelKind.HF, bytes=10**9)
ROOMY = TargetInfo("t", memory_free=10**10, disk_free=10**10)


def look(*steps: Step, target: TargetInfo = ROOMY, model: ModelInfo = MODEL) -> str | None:
    return Prechecks(model, target, find_pass).look(Candidate(steps)).reason


def test_what_fits_has_estimates() -> None:
    seen = Prechecks(MODEL, ROOMY, find_pass).look(Candidate((Step("noop", {"x": 1}),)))
    assert seen.reason is None
    assert seen.estimates[0].bytes_out == 10**9
    assert seen.final == MODEL


def test_a_pass_says_why_it_cannot() -> None:
    assert look(Step("noop"), Step("noop", {"x": 99})) == "pass 2 (noop): x may not be 99"


def test_a_wrong_kind_of_model_is_named() -> None:
    why = look(Step("noop"), model=ModelInfo(ModelKind.GENAI))
    assert why == "pass 1 (noop): takes a model of kind hf, is given genai"


def test_a_parameter_that_does_not_validate_is_named() -> None:
    assert "x" in str(look(Step("noop", {"x": "many"})))


class Costly:
    """A pass that is expected to cost what it was told."""

    Params: ClassVar[type[Params]] = NoParams
    accepts: ClassVar[frozenset[ModelKind]] = frozenset({ModelKind.HF})

    def __init__(self, estimate: Estimate) -> None:
        self._estimate = estimate

    def check(self, *_: Any) -> None:
        return None

    def estimate(self, *_: Any) -> Estimate:
        return self._estimate

    def predict(self, model: ModelInfo, params: Any) -> ModelInfo:
        return model


def foresee(
    costs: Sequence[Estimate],
    target: TargetInfo,
    memory_limit: int | None = None,
    device: TargetInfo | None = None,
) -> Foresight:
    """Look at a recipe of passes p0, p1, ... of these costs."""
    found = {f"p{i}": Costly(cost) for i, cost in enumerate(costs)}
    prechecks = Prechecks(
        MODEL,
        target,
        found.__getitem__,  # type: ignore[arg-type]
        memory_limit,
        device=device,
    )
    return prechecks.look(Candidate(tuple(Step(name) for name in found)))


def writes(*sizes: int | None) -> list[Estimate]:
    return [Estimate(bytes_out=size) for size in sizes]


GB = 10**9


@pytest.mark.parametrize(
    ("costs", "free", "needs"),
    [
        ([], GB - 1, "1.00 GB"),  # the input, unchanged
        ([], GB, None),
        (writes(3 * GB, GB // 10), GB // 2, None),  # only the last one is sent
        (writes(GB // 10, 3 * GB), GB // 2, "3.00 GB"),
        (writes(None), 1, None),
        (writes(3 * GB), 0, None),  # a device that does not say
    ],
)
def test_a_model_that_the_measuring_device_has_no_room_for(
    costs: list[Estimate], free: int, needs: str | None
) -> None:
    why = foresee(costs, ROOMY, device=TargetInfo("board", disk_free=free)).reason
    assert (why is None) == (needs is None)
    assert needs is None or f"needs about {needs} of disk on 'board'; " in (why or "")
    assert foresee(costs, ROOMY).reason is None


@pytest.mark.parametrize(
    ("costs", "target", "why"),
    [
        (
            [Estimate(peak_memory=GB), Estimate(peak_memory=3 * GB)],
            TargetInfo("t", memory_free=2 * GB),
            "pass 2 (p1): needs about 3.00 GB of memory; 2.00 GB may be used",
        ),
        (
            writes(GB),
            TargetInfo("t", disk_free=GB // 10),
            "pass 1 (p0): needs about 1.00 GB of disk; 100 MB is free",
        ),
        (
            writes(GB, 2 * GB, None),
            TargetInfo("t", disk_free=int(2.5 * GB)),
            "pass 2 (p1): needs about 2.00 GB of disk, 3.00 GB together with the passes before "
            "it; 2.50 GB is free",
        ),
        (
            writes(GB, 2 * GB),
            TargetInfo("t", disk_free=4 * GB),
            "pass 2 (p1): needs about 2.00 GB of disk, 5.00 GB together with the passes before "
            "it and the copy that is handed over; 4.00 GB is free",
        ),
        (
            writes(GB),
            TargetInfo("t", disk_free=int(1.5 * GB)),
            "pass 1 (p0): needs about 1.00 GB of disk, 2.00 GB together with the copy that is "
            "handed over; 1.50 GB is free",
        ),
        # Too large by itself: what stands before it makes no difference.
        (
            writes(GB, 3 * GB),
            TargetInfo("t", disk_free=2 * GB),
            "pass 2 (p1): needs about 3.00 GB of disk; 2.00 GB is free",
        ),
    ],
    ids=["memory", "one output", "outputs together", "with the copy", "one and its copy", "alone"],
)
def test_what_does_not_fit_says_both_numbers(
    costs: list[Estimate], target: TargetInfo, why: str
) -> None:
    seen = foresee(costs, target)
    assert seen.reason == why
    assert seen.estimates == tuple(costs[: len(seen.estimates)])
    assert seen.final is None


def test_a_jobs_own_limit_comes_before_what_is_free() -> None:
    costs = [Estimate(peak_memory=3 * GB)]
    assert foresee(costs, ROOMY, 4 * GB).reason is None
    why = foresee(costs, ROOMY, 2 * GB).reason
    assert why == "pass 1 (p0): needs about 3.00 GB of memory; 2.00 GB may be used"


def test_nothing_is_ruled_out_by_what_is_unknown() -> None:
    tight = TargetInfo("t", memory_free=1, disk_free=1)
    assert foresee([Estimate(), Estimate(seconds=1e9)], tight).reason is None
    huge = [Estimate(bytes_out=10**15, peak_memory=10**15)]
    assert foresee(huge, TargetInfo("t")).reason is None


COSTS = st.lists(
    st.builds(
        Estimate,
        bytes_out=st.none() | st.integers(0, 10 * GB),
        peak_memory=st.none() | st.integers(0, 10 * GB),
    ),
    min_size=1,
    max_size=4,
)


@given(COSTS, st.integers(1, 30 * GB), st.integers(1, 12 * GB))
def test_a_candidate_is_ruled_out_exactly_if_it_cannot_fit(
    costs: list[Estimate], disk: int, memory: int
) -> None:
    written = [cost.bytes_out or 0 for cost in costs]
    fits = sum(written) + written[-1] <= disk and all(
        (cost.peak_memory or 0) <= memory for cost in costs
    )
    why = foresee(costs, TargetInfo("t", memory_free=memory, disk_free=disk)).reason
    assert (why is None) == fits
    if why is not None:
        place, numbers = re.findall(r"\(p(\d)\)", why), re.findall(r"[\d.]+ [GM]B", why)
        assert len(place) == 1
        assert len(numbers) in (2, 3)


LLAMA = ModelInfo(
    ModelKind.HF,
    model_type="llama",
    bytes=550_000_000,
    parameters=134_515_008,
    hidden_size=576,
    layers=30,
    vocab_size=49152,
    head_dim=64,
    kv_heads=3,
    tied=True,
    precision="fp32",
)
SLOW = DeviceProfile("sha256:1", "", 0.02, (Bandwidth(2, 1 << 28, 10e9),), (), 0.0, 0.0, {})
FP32, INT4 = (
    Candidate((Step("genai", {"precision": p}),), RuntimeSettings("cpu", 2))
    for p in ("fp32", "int4")
)


def speed_checks(
    profile: DeviceProfile | None = SLOW,
    model: ModelInfo = LLAMA,
    spared: frozenset[str] = frozenset(),
) -> Prechecks:
    limits = [parse_constraint("accuracy >= 0.5"), parse_constraint("decode_ms_p50 <= 20")]
    return Prechecks(
        model,
        ROOMY,
        find_pass,
        profile=profile,
        constraints=limits,
        spared=spared,
        traffic=traffic_of,
    )


def test_what_cannot_be_fast_enough_is_ruled_out_before_it_is_built() -> None:
    seen = speed_checks().look(FP32)
    assert seen.reason == (
        "reads 538 MB for a token, which takes at least 37.7 ms with 2 threads on this "
        "device; the limit is decode_ms_p50 <= 20"
    )
    assert seen.final is not None
    assert speed_checks().look(INT4).reason is None


def test_without_a_profile_nothing_is_too_slow() -> None:
    assert speed_checks(None).look(FP32).reason is None


def test_the_baseline_is_measured_however_slow_it_is() -> None:
    assert speed_checks(spared=frozenset({FP32.digest})).look(FP32).reason is None


def test_a_model_whose_headers_cannot_be_right_is_measured() -> None:
    strange = ModelInfo(**{**vars(LLAMA), "bytes": LLAMA.parameters})
    assert speed_checks(model=strange).look(FP32).reason is None


def test_a_prompt_that_cannot_be_computed_in_time_is_ruled_out_before_the_build() -> None:
    device = replace(SLOW, arithmetic=(Arithmetic("fp32", 2, 1024, 100e9),))
    limits = [parse_constraint("ttft_ms_p50 <= 700")]
    prompts = {"ttft_ms_p50": 512}
    checks = Prechecks(
        LLAMA,
        ROOMY,
        find_pass,
        profile=device,
        constraints=limits,
        prompts=prompts,
        traffic=traffic_of,
    )
    assert checks.look(FP32).reason == (
        "reads 538 MB and does 109 billion operations for a prompt of 512 tokens, which takes "
        "at least 762 ms with 2 threads on this device; the limit is ttft_ms_p50 <= 700"
    )
