"""What the passes' tests share: a small model, a small data set, a context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from paretune.models import Model, open_model
from paretune.passes.base import Context, Progress
from tests.tiny_models import make_tiny_llama


@dataclass(frozen=True)
class FakeExample:
    prompt: str
    answer: str
    row: int


@dataclass(frozen=True)
class FakeDataset:
    examples: tuple[FakeExample, ...]
    chat: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(sorted({example.answer for example in self.examples}))


@dataclass(frozen=True)
class FakeCatalog:
    """Stands in for `paretune.data.DataCatalog`."""

    sets: Mapping[str, FakeDataset]

    def load(self, ref: str) -> FakeDataset:
        return self.sets[ref]


def tone_data(count: int = 24, chat: bool = False) -> FakeDataset:
    """Phrases of different lengths whose label depends on one word of theirs."""
    words = {"joy": "sun", "fear": "dark"}
    rows = []
    for i in range(count):
        label = "joy" if i % 2 == 0 else "fear"
        text = f"{words[label]} " + "and the road " * (i % 4) + "today"
        rows.append(FakeExample(f"### Text: {text}\n### The tone is:\n", label, i))
    return FakeDataset(tuple(rows), chat)


@dataclass(frozen=True)
class Bench:
    """Runs a pass on a model the way the worker does."""

    root: Path
    catalog: FakeCatalog

    def run(
        self,
        pass_: Any,
        model: Model,
        params: Mapping[str, Any],
        name: str,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> Path:
        out, scratch = self.root / name / "out", self.root / name / "scratch"
        out.mkdir(parents=True)
        scratch.mkdir()
        context = Context(out=out, scratch=scratch, data=self.catalog, progress=progress)  # type: ignore[arg-type]
        pass_.run(model, pass_.Params(**params), context)
        return out


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeCatalog({"tone.train": tone_data()}))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tied Llama of two layers whose tokenizer puts <s> before a text."""
    return open_model(make_tiny_llama(tmp_path_factory.mktemp("tiny")))
