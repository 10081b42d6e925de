"""How many tokens a model's context holds, by what its folder says."""

from __future__ import annotations

from paretune.core.errors import UsageError
from paretune.core.model import Model
from paretune.models.kinds.base import kind_named


def most_tokens(model: Model) -> int | None:
    """Return how many tokens a model's context holds; None if its folder does not say."""
    try:
        decoder = kind_named(model.kind).decoder(model)
    except UsageError:  # whoever opens the model says what is wrong with it
        return None
    return None if decoder is None else decoder.context or None
