"""The grid of the build that follows a pass, as the pass's parameter ``rounded_to``."""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import ValidationError

from paretune.core import params as declared
from paretune.core.candidate import Step
from paretune.core.errors import PassError
from paretune.core.params import parameter
from paretune.passes.genai.options import GenaiParams


class GridParams(declared.Params):
    """A grid, but for its bits."""

    block_size: Literal[16, 32, 64, 128, 256] = parameter(
        32, "Weights that share a scale.", unit="weights", search="none"
    )
    is_symmetric: bool = parameter(True, "No zero points.", search="none")


G = TypeVar("G", bound=GridParams)


def build_that_follows(step: Step | None, expected: str) -> GenaiParams | str:
    """Return the parameters of the build whose grid ``next`` stands for, or why there is none.

    Args:
        step: That should be `genai`; None: there is none.
        expected: What should be there, for the message.
    """
    if step is None or step.name != "genai":
        found = "none" if step is None else step.name
        return f"rounded_to: next: expected {expected}, found {found}"
    try:
        return GenaiParams(**step.params)
    except ValidationError:
        return "rounded_to: next: the parameters of genai after it are refused"


def grid_itself(rounded_to: Literal["next"] | G, by: str) -> G:
    """Return a grid that is given.

    Args:
        rounded_to: As the parameter has it.
        by: The pass, for the message.

    Raises:
        PassError: ``next`` is not resolved.
    """
    if isinstance(rounded_to, str):
        raise PassError(
            f"{by}: rounded_to: next stands for the grid of the genai that follows, and there is "
            "no recipe",
            hint="Give the grid itself: rounded_to: {block_size: 32}.",
        )
    return rounded_to
