"""What passes have in common that run a model on texts: which ones, and what that costs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paretune.core import params as declared
from paretune.core.estimate import DataSize
from paretune.core.model import ModelInfo
from paretune.core.params import parameter
from paretune.passes.base import PassBase

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo


class TextParams(declared.Params):
    """The texts that a model is run on."""

    data: str | None = parameter(
        None,
        "Data set with the texts. None: English prose that ships with paretune.",
        search="none",
    )
    examples: int = parameter(
        128, "Most examples of `data` that are used, evenly spread over it.", search="none", ge=1
    )
    max_length: int = parameter(
        512, "Tokens of a text that are used, at most.", unit="tokens", search="none", ge=2
    )

    def tokens(self, of: DataSize) -> float:
        """Return how many tokens of a data set are used."""
        return min(self.examples, of.examples) * of.tokens_of_example(self.max_length)


class OnTexts(PassBase):
    """Base of passes whose parameters are `TextParams`."""

    def data(self, params: TextParams) -> tuple[str, ...]:
        """Return the reference of the data set whose texts are used, if one is named."""
        return () if params.data is None else (params.data,)

    @abstractmethod
    def own_tokens(self, params: Any) -> int:
        """Return how many tokens of the text are used that ships with paretune."""

    @abstractmethod
    def seconds_for(self, model: ModelInfo, params: Any, tokens: float) -> float:
        """Return the expected wall seconds on so many tokens."""

    def own_seconds(self, model: ModelInfo, params: TextParams) -> float | None:
        """Return the expected time on the text that ships with paretune; None: it is not used."""
        if params.data is not None:
            return None
        return self.seconds_for(model, params, self.own_tokens(params))

    def seconds_on(
        self,
        model: ModelInfo,
        params: TextParams,
        target: TargetInfo,
        size: Callable[[str], DataSize],
    ) -> float | None:
        """Return the expected time, by the number and the length of the texts."""
        if not (model.parameters and model.layers and model.hidden_size):
            return None
        if params.data is None:
            return self.own_seconds(model, params)
        return self.seconds_for(model, params, params.tokens(size(params.data)))
