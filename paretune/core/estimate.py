"""What a pass is expected to cost, and how much data it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from paretune.core.device import TargetInfo
from paretune.core.model import ModelInfo
from paretune.core.params import Params

_CHARACTERS_A_TOKEN = 4.0
"""Of English text, about."""


@dataclass(frozen=True)
class Estimate:
    """What a pass is expected to cost; None means unknown.

    Attributes:
        bytes_out: Size of what it writes, in bytes.
        peak_memory: Peak resident memory of the job, in bytes.
        seconds: Wall time.
    """

    bytes_out: int | None = None
    peak_memory: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class DataSize:
    """How much there is in a data set.

    Attributes:
        examples: Number of examples.
        characters: Of all their texts together (prompts, answers).
    """

    examples: int
    characters: int

    def tokens_of_example(self, most: int) -> float:
        """Return the tokens of an example, on average and about.

        Args:
            most: To which longer ones are cut.
        """
        each = self.characters / max(1, self.examples) / _CHARACTERS_A_TOKEN
        return min(most, 1 + each)


class Planned(Protocol):
    """What the search knows of a pass: enough to check and estimate it, nothing that runs it.

    Attributes:
        accepts: Kinds of model that it takes.
        Params: Its parameters.
    """

    accepts: ClassVar[frozenset[str]]
    Params: ClassVar[type[Params]]

    def check(self, model: ModelInfo, params: Any, target: TargetInfo, provider: str) -> str | None:
        """Return why it cannot work on that model and provider, or None."""

    def estimate(self, model: ModelInfo, params: Any, target: TargetInfo) -> Estimate:
        """Return the expected cost."""

    def predict(self, model: ModelInfo, params: Any) -> ModelInfo:
        """Return what the model will be afterwards."""
