"""What the passes' tests share: a small model and a bench to run a pass on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from paretune.core.model import Model
from paretune.models.handle import open_model
from tests.pass_bench import Bench, FakeCatalog, tone_data
from tests.tiny_models import make_tiny_llama


@pytest.fixture(scope="module", autouse=True)
def one_matrix_library() -> Iterator[None]:
    """Which library multiplies is timed anew by each training, and their last bits differ."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("paretune.runtimes.matrix_products.one_dnn_gain", lambda: 1.0)
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeCatalog({"tone.train": tone_data()}))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tied Llama of two layers whose tokenizer puts <s> before a text."""
    return open_model(make_tiny_llama(tmp_path_factory.mktemp("tiny")))
