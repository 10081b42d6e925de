"""Perplexity, exact match, footprint and custom metrics on a tiny model."""

import math
from typing import Any

import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import UsageError
from paretune.core.measurement import Rung
from paretune.core.model import Model
from paretune.data.prompts import prompt_ids
from paretune.models.handle import folder_bytes
from paretune.runtimes.base import log_softmax
from paretune.runtimes.serving import open_session
from tests.model_fixtures import Measure
from tests.pass_bench import FakeDataset, FakeExample


def test_perplexity_is_what_the_logits_say(
    measure: Measure, tiny: Model, tiny_genai: Model
) -> None:
    text = "the sun and the road and the dark today " * 3
    data = {"wiki": FakeDataset((FakeExample("", text, 0),))}
    params = {"data": "wiki", "window": 8}
    a = measure("perplexity", params, tiny, data=data)["perplexity"]
    b = measure("perplexity", params, tiny_genai, data=data)["perplexity"]
    assert a.value == pytest.approx(b.value, rel=1e-4)
    session = open_session(tiny, RuntimeSettings("cpu", 1))
    ids = prompt_ids(session.tokenizer(), text, False)
    told = 0.0
    for start in range(0, len(ids), 8):
        window = ids[start : start + 8]
        if len(window) > 1:
            logs = log_softmax(session.sequence_logits(window))
            told -= sum(float(logs[i][t]) for i, t in enumerate(window[1:]))
    assert a.value == pytest.approx(math.exp(told / a.n), rel=1e-6)


def test_exact_match_compares_what_is_generated(measure: Measure, tiny: Model) -> None:
    session = open_session(tiny, RuntimeSettings("cpu", 1))
    tokenizer = session.tokenizer()
    ids = session.generate(prompt_ids(tokenizer, "the sun", False), 4)
    said = tokenizer.decode(ids, skip_special_tokens=True)
    rows = [FakeExample("the sun", f" {said}\n", 0), FakeExample("the sun", "something else", 1)]
    params: dict[str, Any] = {"data": "tone.test", "max_new_tokens": 4}
    found = measure("exact_match", params, tiny, data={"tone.test": FakeDataset(tuple(rows))})
    assert found["exact_match"].samples == (1.0, 0.0)


def test_the_footprint_is_what_lies_there_and_what_a_fresh_process_needs(
    measure: Measure, tiny_genai: Model
) -> None:
    small = measure("footprint", {}, tiny_genai, Rung.SMOKE)
    assert set(small) == {"size_mb"}
    assert small["size_mb"].value == folder_bytes(tiny_genai.path) / 1e6
    whole = measure("footprint", {"loads": 2}, tiny_genai)
    assert whole["load_s"].n == 2
    assert 10 < (whole["peak_memory_mb"].value or 0) < 400  # torch alone would be more


def returns_nan(session: Any, examples: list[Any]) -> float:
    return math.nan


def lengths(session: Any, examples: list[Any]) -> list[float]:
    return [float(len(example.answer)) for example in examples]


def test_a_metric_of_ones_own(measure: Measure, tiny: Model) -> None:
    here = "tests.evaluators.test_others"
    params = {"function": f"{here}:lengths", "metric": "length", "data": "tone.test"}
    with pytest.raises(UsageError, match="--trust-remote-code"):
        measure("custom", params, tiny)
    found = measure("custom", params, tiny, trust_remote_code=True)["length"]
    assert (found.value, found.n) == (3.5, 40)
    bad = {**params, "function": f"{here}:returns_nan"}
    found = measure("custom", bad, tiny, trust_remote_code=True)["length"]
    assert (found.value, found.reason) == (None, f"{here}:returns_nan returned nan")
    for place in ("no.such.module:f", f"{here}:nothing"):
        with pytest.raises(UsageError, match="no function"):
            measure("custom", {**params, "function": place}, tiny, trust_remote_code=True)


def test_a_generated_answer_ends_where_the_template_ends_it() -> None:
    from paretune.evaluators.text.exact_match import before_end

    assert list(before_end([5, 6, 9, 7, 2], [9])) == [5, 6]
    assert list(before_end([5, 6, 7], [9])) == [5, 6, 7]
    assert list(before_end([5, 8, 9, 7], [8, 9])) == [5]
    assert list(before_end([5, 6], [])) == [5, 6]
    assert list(before_end([], [9])) == []
