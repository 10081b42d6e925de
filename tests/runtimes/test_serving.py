import json
from pathlib import Path

import numpy as np
import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError
from paretune.core.model import Model, ModelKind
from paretune.core.plugins import names
from paretune.runtimes.base import (
    CAPABILITIES,
    Generates,
    Runs,
    Scores,
    log_softmax,
    score_continuations,
)
from paretune.runtimes.serving import (
    all_runtimes,
    load_session,
    open_session,
    required_runtime,
    runtime_of,
)

CPU = RuntimeSettings("cpu", 1)
PROMPT = [1, 40, 77, 12, 99]
LABELS = [[50, 3], [51, 52, 3], [50, 60, 61, 3], [70, 3]]


def plain_scores(model: Model) -> list[float]:
    """Score each label with its whole sequence, everything computed anew."""
    session, found = open_session(model, CPU), []
    for label in LABELS:
        logs = log_softmax(session.sequence_logits(PROMPT + label[:-1]))
        rows = range(len(PROMPT) - 1, len(PROMPT) + len(label) - 1)
        found.append(sum(float(logs[r][t]) for r, t in zip(rows, label, strict=True)))
    return found


@pytest.mark.parametrize("kind", ["tiny", "tiny_genai"])
def test_scores_with_a_shared_prompt_are_those_computed_anew(
    kind: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    plain = plain_scores(model)
    shared = score_continuations(open_session(model, CPU), PROMPT, LABELS)
    best = max(range(4), key=plain.__getitem__)
    assert shared[best] == pytest.approx(plain[best], abs=1e-4)
    assert max(range(4), key=shared.__getitem__) == best
    for one, whole in zip(shared, plain, strict=True):
        assert one >= whole - 1e-4  # a bound, or the score itself
        assert one <= shared[best]


def test_both_run_times_give_the_same_logits(tiny: Model, tiny_genai: Model) -> None:
    a = open_session(tiny, CPU).sequence_logits(PROMPT)
    b = open_session(tiny_genai, CPU).sequence_logits(PROMPT)
    assert a.shape == b.shape
    assert np.abs(a - b).max() < 1e-4


def test_both_generate_the_same_and_stop_where_told(tiny: Model, tiny_genai: Model) -> None:
    a = open_session(tiny, CPU).generate(PROMPT, 6)
    assert a == open_session(tiny_genai, CPU).generate(PROMPT, 6)
    assert 1 <= len(a) <= 6


def test_rewinding_forgets(tiny_genai: Model, tiny: Model) -> None:
    for model in (tiny_genai, tiny):
        session = open_session(model, CPU)
        session.begin(PROMPT, 8)
        first = session.extend([50, 51]).copy()
        session.rewind(len(PROMPT))
        session.extend([90])
        session.rewind(len(PROMPT))
        assert np.allclose(session.extend([50, 51]), first, atol=1e-4)


def test_the_package_tokenizer_agrees(tiny_genai: Model) -> None:
    session = open_session(tiny_genai, CPU)
    text = "### Text: the sun today\n### The tone is:\n"
    ids = session.tokenizer()(text)["input_ids"]
    assert session.own_ids(text, False) == ids  # type: ignore[attr-defined]


def test_what_does_not_load_is_invalid_with_the_loaders_message(
    tiny_genai: Model, tmp_path: Path
) -> None:
    for file in tiny_genai.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(InvalidArtifactError, match=r"does not load: .*model\.onnx"):
        open_session(Model(ModelKind.GENAI, tmp_path, ""), CPU)


def test_a_context_that_is_too_small_is_said(tiny_genai: Model) -> None:
    size = json.loads((tiny_genai.path / "genai_config.json").read_text())["model"][
        "context_length"
    ]
    with pytest.raises(InvalidArtifactError, match="context holds"):
        open_session(tiny_genai, CPU).begin([1] * (size + 1), 1)


@pytest.mark.parametrize("kind", ["tiny", "tiny_genai"])
def test_a_session_does_what_its_runtime_offers(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    runtime = required_runtime(model.kind)
    assert model.kind in runtime.kinds
    session = load_session(model, CPU)
    protocols = {"generates": Generates, "scores": Scores, "runs": Runs}
    assert set(protocols) == set(CAPABILITIES)
    for word, protocol in protocols.items():
        assert isinstance(session, protocol) == (word in runtime.offers)
    assert len(runtime.smoke(model, session)["tokens"]) >= 1


def test_each_kind_has_the_runtime_that_runs_it_or_none() -> None:
    run = {kind for runtime in all_runtimes() for kind in runtime.kinds}
    for kind in names("kinds"):
        runtime = runtime_of(kind)
        assert (runtime is None) == (kind not in run)
        assert runtime is None or kind in runtime.kinds


def test_what_no_runtime_runs_is_refused_and_never_taken_for_another(tmp_path: Path) -> None:
    model = Model(ModelKind.HF_ADAPTER, tmp_path, "")
    with pytest.raises(InvalidArtifactError, match="kind hf-adapter cannot be run"):
        open_session(model, CPU)
