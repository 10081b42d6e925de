"""Runs one pass at a time the way the worker does, and the models that passes build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paretune.core.checkpoints import Checkpoints
from paretune.core.model import Model
from paretune.core.progress import Progress
from paretune.data.catalog import Example
from paretune.data.context import Context
from paretune.data.corpus import CorpusSpec

FakeExample = Example


@dataclass(frozen=True)
class FakeDataset:
    examples: tuple[FakeExample, ...]
    chat: bool = False
    corpus: CorpusSpec | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(sorted({example.answer for example in self.examples}))


@dataclass(frozen=True)
class FakeCatalog:
    """Stands in for `paretune.data.catalog.DataCatalog`."""

    sets: Mapping[str, FakeDataset]

    def load(self, ref: str) -> FakeDataset:
        return self.sets[ref]

    def is_arrays(self, ref: str) -> bool:
        return False


def tone_data(count: int = 24, chat: bool = False) -> FakeDataset:
    """Phrases of different lengths whose label depends on one word of theirs."""
    words = {"joy": "sun", "fear": "dark"}
    rows = []
    for i in range(count):
        label = "joy" if i % 2 == 0 else "fear"
        text = f"{words[label]} " + "and the road " * (i % 4) + "today"
        prompt = f"### Text: {text}\n### The tone is:\n"
        rows.append(Example(prompt, label, i, span=(10, 10 + len(text))))
    return FakeDataset(tuple(rows), chat)


@dataclass(frozen=True)
class Bench:
    """Runs a pass on a model the way the worker does."""

    root: Path
    catalog: FakeCatalog
    contexts: dict[str, Context] = field(default_factory=dict)
    """Of the runs, by name."""

    def run(
        self,
        pass_: Any,
        model: Model,
        params: Mapping[str, Any],
        name: str,
        progress: Callable[[Progress], None] = lambda _: None,
        provider: str = "cpu",
        checkpoints: Checkpoints | None = None,
    ) -> Path:
        out, scratch = self.root / name / "out", self.root / name / "scratch"
        out.mkdir(parents=True)
        scratch.mkdir()
        context = Context(
            out=out,
            scratch=scratch,
            data=self.catalog,  # type: ignore[arg-type]
            provider=provider,
            progress=progress,
            checkpoints=checkpoints or Checkpoints(),
        )
        self.contexts[name] = context
        pass_.run(model, pass_.Params(**params), context)
        return out


def _generator(folder: Path, tokens: list[int], max_length: int) -> Any:
    import numpy as np
    import onnxruntime_genai as og

    model = og.Model(str(folder))
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=max_length, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(np.array([tokens], dtype=np.int32))
    return generator


def generate(folder: Path, tokens: list[int], count: int = 3) -> list[int]:
    """Load a build and let it go on; raises what the loader raises."""
    generator = _generator(folder, tokens, len(tokens) + count)
    while not generator.is_done():
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)][len(tokens) :]


def logits(folder: Path, tokens: list[int]) -> Any:
    """Return a build's logits of each token."""
    return _generator(folder, tokens, len(tokens) + 1).get_output("logits")[0]
