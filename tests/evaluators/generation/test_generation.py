"""What `generation` measures of a tiny model: lengths, streams, contexts, minutes, memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from paretune.core.candidate import RuntimeSettings
from paretune.core.measurement import Measurement, Rung
from paretune.core.model import Model
from paretune.evaluators.base import Budget
from paretune.evaluators.generation.generation import Generation, Stream
from paretune.evaluators.generation.timing import TURNS
from paretune.evaluators.generation.workload import (
    Case,
    GenerationParams,
    cases_of,
    does_not_fit,
    trace,
)
from paretune.models.context_length import most_tokens
from paretune.runtimes.serving import open_session
from paretune.search.constraints import parse_constraint
from tests.model_fixtures import Measure

BLOCK = Budget(seconds=0.05)
PLAIN = ["ttft_ms_p50", "ttft_ms_p95", "decode_ms_p50", "decode_ms_p95", "decode_tokens_per_s"]


def names(**params: Any) -> list[str]:
    return [spec.name for spec in Generation(GenerationParams(**params)).metrics]


def test_the_trace_is_the_same_for_all_and_within_the_vocabulary() -> None:
    assert trace(20, 49152) == trace(20, 49152)
    assert trace(5, 49152) == trace(20, 49152)[:5]
    assert all(100 <= token < 512 for token in trace(300, 512))
    assert all(0 <= token < 50 for token in trace(300, 50))


def test_names_of_plain_uses_are_what_they_were() -> None:
    assert names() == names(prompt_tokens=8, new_tokens=4) == PLAIN
    assert names(prompt_tokens=[64, 512]) == [*PLAIN, *(f"{name}@512" for name in PLAIN)]
    assert names(context=512) == [*PLAIN, "peak_memory_mb_context@512"]
    assert names(streams=4) == PLAIN
    asked = names(cold_start=True, sustained_s=60)
    assert asked == [*PLAIN, "first_ttft_ms", "decode_ms_p50_sustained"]


def test_each_time_to_a_first_token_says_its_prompt() -> None:
    params = GenerationParams(prompt_tokens=[64, 512], context=[0, 128], cold_start=True)
    prompts = Generation(params).prompts_by_metric
    firsts = {name for name in names(**params.model_dump()) if "ttft" in name}
    assert prompts == {name: 512 if name.endswith("@512") else 64 for name in firsts}
    plain = Generation(GenerationParams(prompt_tokens=8)).prompts_by_metric
    assert plain == {"ttft_ms_p50": 8, "ttft_ms_p95": 8}


LENGTHS = st.lists(st.integers(1, 999), min_size=1, max_size=4, unique=True)


@given(LENGTHS, LENGTHS, st.booleans(), st.sampled_from([0.0, 60.0]))
def test_no_two_metrics_share_a_name_and_each_can_be_constrained(
    prompts: list[int], contexts: list[int], cold: bool, sustained: float
) -> None:
    found = names(prompt_tokens=prompts, context=contexts, cold_start=cold, sustained_s=sustained)
    assert len(set(found)) == len(found)
    assert "peak_memory_mb" not in found  # is the evaluator footprint's
    for name in found:
        assert parse_constraint(f"{name} <= 10").metric == name
    cases = cases_of(GenerationParams(prompt_tokens=prompts, context=contexts))
    assert {(case.prompt, case.context) for case in cases} == {
        *((prompt, contexts[0]) for prompt in prompts),
        *((prompts[0], held) for held in contexts),
    }


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"prompt_tokens": 0}, "numbers of tokens from 1 on"),
        ({"prompt_tokens": [8, 0]}, "numbers of tokens from 1 on"),
        ({"context": -1}, "numbers of tokens from 0 on"),
        ({"prompt_tokens": [8, 8]}, "each length once"),
        ({"context": []}, "a length, or a list of some"),
        ({"streams": 0}, "greater than or equal to 1"),
        ({"sustained_s": -1}, "greater than or equal to 0"),
    ],
)
def test_uses_that_make_no_sense_are_refused(params: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        GenerationParams(**params)


def test_samples_are_kept_and_what_they_cannot_carry_is_withheld(
    measure: Measure, tiny_genai: Model
) -> None:
    params = {"prompt_tokens": [8, 32], "new_tokens": 4}
    found = measure("generation", params, tiny_genai, budget=BLOCK)
    assert list(found) == names(**params)
    decode, rate = found["decode_ms_p50"], found["decode_tokens_per_s"]
    assert decode.n == len(decode.samples) == 4 * decode.details["requests"]
    assert decode.value == pytest.approx(1e3 / rate.value)
    assert decode.details["warm_up"]["requests"] >= 1
    assert decode.details["outliers"].keys() == {
        "mild_low",
        "severe_low",
        "mild_high",
        "severe_high",
    }
    assert decode.details["drift"].keys() == {"relative", "p", "drifts"}
    assert decode.details["protocol"]["name"] == "device-2"
    assert {m.protocol for m in found.values()} == {"device-2"}
    longer = found["ttft_ms_p50@32"]
    assert longer.details["prompt_tokens"] == 32
    assert len(longer.samples) == longer.n >= 2
    for name in ("ttft_ms_p95", "decode_ms_p95", "ttft_ms_p95@32"):
        tail = found[name]
        assert (tail.value is None) == (tail.n < 130), name
        assert tail.value is not None or f"{tail.n} of the 130" in str(tail.reason)


def test_a_block_without_time_is_one_warm_and_two_counted_requests(
    measure: Measure, tiny_genai: Model
) -> None:
    params = {"prompt_tokens": 8, "new_tokens": 2}
    found = measure("generation", params, tiny_genai, budget=Budget(seconds=0.0))
    assert found["ttft_ms_p50"].n == 2
    assert found["ttft_ms_p50"].details["warm_up"]["requests"] == 1


def test_so_many_requests_as_a_percentile_needs(measure: Measure, tiny_genai: Model) -> None:
    params = {"prompt_tokens": 8, "new_tokens": 2, "requests": 130}
    budget = Budget(seconds=0.0)
    found = measure("generation", params, tiny_genai, budget=budget)
    assert found["ttft_ms_p95"].n == 130
    assert found["ttft_ms_p95"].value is not None
    # A process after the first, or a rough look, is as short as ever.
    for more in ({"budget": replace(budget, block=True)}, {"rung": Rung.ROUGH, "budget": budget}):
        assert measure("generation", params, tiny_genai, **more)["ttft_ms_p95"].n == 2


@pytest.mark.parametrize("kind", ["tiny", "tiny_genai"])
def test_a_filled_context_is_the_same_as_one_long_prompt(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """However often requests go back to it, what follows is computed on the whole of it."""
    session = open_session(request.getfixturevalue(kind), RuntimeSettings("cpu", 1))
    tokens, case = trace(48, 320), Case(context=32, prompt=8, new=8, suffix="")
    stream = Stream(session, case, tokens)
    requests = [stream.request() for _ in range(3)]
    assert requests[0].filling > 0
    assert [r.filling for r in requests[1:]] == [0, 0]
    assert all(len(r.decode) == 8 for r in requests)
    session.rewind(case.before)
    after = session.append(tokens[case.before :])
    whole = session.begin(tokens, 1)
    assert np.abs(after - whole).max() < 1e-3


def test_contexts_are_measured_one_by_one(measure: Measure, tiny_genai: Model) -> None:
    params = {"prompt_tokens": 8, "new_tokens": 4, "context": [0, 64], "cold_start": True}
    found = measure("generation", params, tiny_genai, budget=replace(BLOCK, block=True))
    assert found["ttft_ms_p50"].details["context"] == 0
    assert found["ttft_ms_p50_context@64"].details["context"] == 64
    first = found["first_ttft_ms"]
    assert first.n == len(first.samples) == 1
    memory = found["peak_memory_mb_context@64"]
    assert (memory.value, memory.unit) == (None, "MB")
    assert "left out of the short rounds" in str(memory.reason)


def test_what_does_not_fit_the_model_has_no_value_and_the_rest_has(
    measure: Measure, tiny_genai: Model
) -> None:
    most = most_tokens(tiny_genai)
    assert most == 256
    params = {"prompt_tokens": 8, "new_tokens": 4, "context": [0, 250]}
    found = measure("generation", params, tiny_genai)
    assert found["decode_ms_p50"].value is not None
    for name in ("decode_ms_p50_context@250", "peak_memory_mb_context@250"):
        assert found[name].value is None
        assert found[name].reason == (
            "263 tokens are needed (250 held, 8 of the prompt, 4 decoded, 1 for the end), and the "
            "model's context holds 256"
        )
    assert does_not_fit(Case(243, 8, 4, ""), most) is None
    assert does_not_fit(Case(244, 8, 4, ""), most) is not None
    assert does_not_fit(Case(244, 8, 4, ""), None) is None
    short = measure("generation", {**params, "context": 250, "cold_start": True}, tiny_genai)
    assert {m.value for m in short.values()} == {None}
    assert list(short) == names(**{**params, "context": 250, "cold_start": True})


@pytest.mark.parametrize("kind", ["tiny", "tiny_genai"])
def test_streams_share_the_model_and_are_told_apart(
    kind: str, measure: Measure, request: pytest.FixtureRequest
) -> None:
    params = {"prompt_tokens": 8, "new_tokens": 4, "streams": 3}
    found = measure("generation", params, request.getfixturevalue(kind), budget=BLOCK)
    decode, rate = found["decode_ms_p50"], found["decode_tokens_per_s"]
    details = decode.details
    assert details["streams"] == 3 == len(details["requests_per_stream"])
    assert sum(details["requests_per_stream"]) == details["requests"] == len(decode.samples)
    assert rate.value == pytest.approx(sum(rate.details["streams"]))
    # Prompts cost time too: with them, the same tokens take longer.
    assert 0 < details["tokens_per_s_with_prompts"] <= rate.value * 1.5


def test_streams_compute_what_one_alone_does(tiny_genai: Model) -> None:
    import copy
    from concurrent.futures import ThreadPoolExecutor

    session = open_session(tiny_genai, RuntimeSettings("cpu", 1))
    alone = session.begin(trace(20, 320), 1).copy()

    def run(one: Any) -> Any:
        one.begin(trace(16, 320), 5)
        for token in trace(20, 320)[16:]:
            after = one.append((token,))
        return after.copy()

    with ThreadPoolExecutor(3) as pool:
        for after in pool.map(run, [copy.copy(session) for _ in range(3)]):
            assert np.abs(after - alone).max() < 1e-3


def test_a_sustained_run_tells_its_end_apart(measure: Measure, tiny_genai: Model) -> None:
    params = {"prompt_tokens": 8, "new_tokens": 4, "sustained_s": 0.5}
    assert "decode_ms_p50_sustained" not in measure("generation", params, tiny_genai, Rung.ROUGH)
    last = measure("generation", params, tiny_genai)["decode_ms_p50_sustained"]
    tenths = last.details["tenths_ms"]
    assert last.value == tenths[-1]
    assert last.details["first_tenth_ms"] == tenths[0]
    assert last.details["relative"] == pytest.approx(tenths[-1] / tenths[0] - 1)
    assert last.details["seconds"] >= 0.5
    assert last.n == len(last.samples) < 4 * last.details["requests"]


def test_a_candidates_own_blocks_measure_all_and_rounds_of_a_comparison_the_rest(
    measure: Measure, tiny_genai: Model
) -> None:
    params = {"prompt_tokens": 8, "new_tokens": 2, "context": 16, "sustained_s": 0.1}
    dear = ["decode_ms_p50_sustained", "peak_memory_mb_context@16"]
    own = measure("generation", params, tiny_genai, budget=BLOCK)
    round = measure("generation", params, tiny_genai, budget=replace(BLOCK, block=True))
    assert list(own) == list(round) == names(**params)
    assert [own[name].value is None for name in dear] == [False, False]
    assert [round[name].value is None for name in dear] == [True, True]


def test_the_memory_at_the_largest_context_is_a_process_of_its_own(
    measure: Measure, tiny_genai: Model
) -> None:
    params = {"prompt_tokens": 8, "new_tokens": 4, "context": 64, "streams": 2}
    memory = measure("generation", params, tiny_genai)["peak_memory_mb_context@64"]
    assert 10 < (memory.value or 0) < 400  # torch alone would be more
    assert (memory.details["context"], memory.details["streams"]) == (64, 2)


def test_a_process_that_cannot_hold_the_context_says_why(
    measure: Measure, tiny_genai: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the kernel ends it: the other metrics stay."""
    killer = tmp_path / "python"
    killer.write_text("#!/bin/sh\necho 'no memory left' >&2\nkill -9 $$\n")
    killer.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(killer))
    params = {"prompt_tokens": 8, "new_tokens": 4, "context": 16}
    found = measure("generation", params, tiny_genai)
    assert found["decode_ms_p50"].value is not None
    assert found["peak_memory_mb_context@16"].reason == (
        "the process that was to hold the context ended: no memory left"
    )


def test_everything_survives_json(measure: Measure, tiny_genai: Model) -> None:
    params = {"prompt_tokens": 8, "new_tokens": 4, "streams": 2, "context": [0, 16]}
    for m in measure("generation", params, tiny_genai, budget=BLOCK).values():
        assert Measurement.from_json(json.loads(json.dumps(m.to_json(), allow_nan=False))) == m


class FreeTurns:
    """Turns with nobody else; counts them."""

    taken = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        self.taken += 1
        yield


def test_among_others_it_takes_short_turns_and_tells_each_ones_median(
    measure: Measure, tiny_genai: Model
) -> None:
    turns = FreeTurns()
    budget = Budget(seconds=0.0, block=True, turns=turns)
    params = {"prompt_tokens": 8, "new_tokens": 4, "context": [0, 64]}
    found = measure("generation", params, tiny_genai, budget=budget)
    assert turns.taken == 2 * TURNS
    for name in ("ttft_ms_p50", "decode_ms_p50", "ttft_ms_p50_context@64"):
        m = found[name]
        assert len(m.details["turns"]) == TURNS
        assert min(m.samples) <= min(m.details["turns"]) <= max(m.details["turns"])
    decode = found["decode_ms_p50"].details["turns"]
    rates = found["decode_tokens_per_s"].details["turns"]
    assert rates == pytest.approx([1e3 / value for value in decode])


def test_several_streams_take_one_long_turn(measure: Measure, tiny_genai: Model) -> None:
    turns = FreeTurns()
    budget = Budget(seconds=0.0, block=True, turns=turns)
    params = {"prompt_tokens": 8, "new_tokens": 4, "streams": 2}
    found = measure("generation", params, tiny_genai, budget=budget)
    assert turns.taken == 1
    assert "turns" not in found["decode_ms_p50"].details
