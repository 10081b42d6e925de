"""Made-up inputs for networks of which no data are known: of a network's types, in sizes that fit.

Which sizes a network takes where it leaves one open is not known without its data. Some networks
need a smallest one (a convolution without padding, a pyramid of pooled images), so several are
tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paretune.core.errors import InvalidArtifactError
from paretune.core.jsontools import Json
from paretune.runtimes.base import Runs

SIZES = (1, 8, 224)
"""Tried one after another for a dimension of any size."""


def made_up_arrays(
    inputs: Mapping[str, tuple[str, tuple[int | None, ...]]],
) -> Iterator[dict[str, Any]]:
    """Yield arrays for a network: ones, of each size that is tried for what is not fixed.

    Args:
        inputs: Of each input its type and shape, as of `paretune.runtimes.base.Runs`.

    Yields:
        An array for each input. The first axis has length 1 where it is not fixed.

    Raises:
        InvalidArtifactError: An input is not an array of numbers.
    """
    import numpy as np

    require_numbers(inputs)
    for size in SIZES:
        yield {
            name: np.ones(
                [
                    1 if at == 0 and known is None else size if known is None else known
                    for at, known in enumerate(shape)
                ],
                dtype=kind,
            )
            for name, (kind, shape) in inputs.items()
        }


def require_numbers(inputs: Mapping[str, tuple[str, tuple[int | None, ...]]]) -> None:
    """Refuse a network with inputs that are not arrays of numbers.

    Raises:
        InvalidArtifactError: There is such an input; names all of them.
    """
    others = [f"{name} ({kind})" for name, (kind, _) in inputs.items() if "(" in kind]
    if others:
        raise InvalidArtifactError(
            f"loads, but has inputs that are not arrays of numbers: {', '.join(others)}"
        )


def smoke_made_up(session: Runs) -> dict[str, Json]:
    """Run a network on made-up arrays; returns the shapes of the outputs.

    Sizes that fit are not known where a dimension has none: where no size that is tried runs, it
    counts that the network loads, and ``outputs`` is null.

    Raises:
        InvalidArtifactError: Every dimension but the first is fixed, and it does not run.
    """
    outputs = run_made_up(session)
    shapes = outputs and {name: list(value.shape) for name, value in outputs.items()}
    return {"outputs": shapes}


def run_made_up(session: Runs) -> dict[str, Any] | None:
    """Run a network on made-up arrays.

    Args:
        session: A loaded network.

    Returns:
        The outputs, by name; None where none of the sizes fits.

    Raises:
        InvalidArtifactError: Every dimension but the first is fixed, and it does not run.
    """
    open_sizes = any(None in shape[1:] for _, shape in session.inputs.values())
    for arrays in made_up_arrays(session.inputs):
        try:
            return dict(session.run(arrays))
        except InvalidArtifactError:
            if not open_sizes:
                raise
    return None
