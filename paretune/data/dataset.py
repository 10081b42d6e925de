"""One part of a data set of texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from paretune.data.corpus import CorpusSpec
from paretune.data.rows import Example


@dataclass(frozen=True)
class Dataset:
    """One referenced part of a data set.

    Attributes:
        ref: Such as ``tone.train``.
        examples: In file order.
        chat: Whether prompts go through the model's chat template.
        digest: Of exactly these examples, and of how they are used.
        corpus: How plain text becomes training sequences; None: each example is one.
    """

    ref: str
    examples: tuple[Example, ...]
    chat: bool
    digest: str
    corpus: CorpusSpec | None = None

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Distinct answers of this part, sorted; `DataCatalog.labels` has those of all parts."""
        return tuple(sorted({example.answer for example in self.examples}))

    @property
    def form(self) -> str:
        """``text``, ``pairs`` (of prompt and answer) or ``conversations``."""
        if self.examples[0].turns:
            return "conversations"
        return "pairs" if any(example.prompt for example in self.examples) else "text"
