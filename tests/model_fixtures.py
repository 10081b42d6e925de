"""A tiny Llama as PyTorch and GenAI models, and data to measure it on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.measurement import Measurement, Rung
from paretune.core.model import Model
from paretune.core.permissions import Permissions
from paretune.data.context import Context
from paretune.evaluators.base import Budget
from paretune.models.handle import open_model
from paretune.registry import find_evaluator
from tests.pass_bench import Bench, FakeCatalog, tone_data
from tests.tiny_models import make_tiny_llama

CPU = RuntimeSettings("cpu", 1)
Measure = Callable[..., dict[str, Measurement]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(make_tiny_llama(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="session")
def tiny_genai(tiny: Model, tmp_path_factory: pytest.TempPathFactory) -> Model:
    from paretune.passes.genai.genai import Genai

    bench = Bench(tmp_path_factory.mktemp("genai"), FakeCatalog({}))
    return open_model(bench.run(Genai(), tiny, {"precision": "fp32"}, "fp32"))


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Return a function that runs an evaluator as the worker does."""

    def run(
        name: str,
        params: dict[str, Any],
        model: Model,
        rung: Rung = Rung.FULL,
        previous: dict[str, Measurement] | None = None,
        budget: Budget = Budget(),
        data: dict[str, Any] | None = None,
        trust_remote_code: bool = False,
    ) -> dict[str, Measurement]:
        kind = find_evaluator(name)
        catalog = FakeCatalog(data or {"tone.test": tone_data(40), "wiki": tone_data(12)})
        context = Context(
            out=tmp_path,
            scratch=tmp_path,
            data=catalog,  # type: ignore[arg-type]
            previous=previous or {},
            permissions=Permissions(remote_code=trust_remote_code),
        )
        measured = kind(kind.Params(**params)).measure(model, CPU, rung, budget, context)
        return {m.metric: m for m in measured}

    return run
