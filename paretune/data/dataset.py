"""One part of a data set of texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from paretune.data.corpus import CorpusSpec
from paretune.data.rows import Example
from paretune.data.splitting import same_text


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


def overlap_of_texts(train: Dataset, test: Dataset) -> str | None:
    """Return a warning if two parts share texts; None if they do not.

    Args:
        train: What a pass reads.
        test: What is measured on.
    """
    mine = {same_text(_text_of(example)) for example in train.examples}
    shared = [e for e in test.examples if same_text(_text_of(e)) in mine]
    if not shared:
        return None
    return (
        f"{len(shared)} of {len(test.examples)} rows of {test.ref} have a text that {train.ref} "
        f"has too, such as {_text_of(shared[0])[:60]!r}: a metric on them does not show how the "
        "model does on new text"
    )


def _text_of(example: Example) -> str:
    return example.prompt or example.answer
