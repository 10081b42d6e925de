"""The derivative of a text's loss by the rounding error of each matrix; for workers only.

One pass forward and one backward for each text give those of all matrices and widths: the
derivative by the scale of an error is the product of the error with the gradient of its matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from paretune.core.errors import PassError
from paretune.core.progress import Progress
from paretune.passes.genai.node_sources import pieces_of_layers
from paretune.passes.quantization.rounding_errors import Errors
from paretune.passes.quantization.sensitivity_file import (
    BITS,
    EMBEDDING_NAME,
    HEAD_NAME,
)


@dataclass
class _Matrix:
    """Rows of a weight that are rounded.

    Attributes:
        name: The matrix's.
        weight: The parameter that holds it.
        rows: Which rows of it.
        errors: What rounding changes.
        derivatives: Of each text, by bits.
    """

    name: str
    weight: Any
    rows: slice
    errors: Errors
    derivatives: dict[int, list[float]] = field(default_factory=lambda: {b: [] for b in BITS})

    def note(self, gradient: Any) -> None:
        """Take the derivatives for a text from the gradient of the whole weight."""
        for bits, error in self.errors.items():
            products = gradient[self.rows] * error
            self.derivatives[bits].append(float(products.sum(dtype=torch.float64)))


def measure(
    network: Any,
    rows: Sequence[Sequence[int]],
    errors: Mapping[str, Errors],
    progress: Callable[[Progress], None] = lambda _: None,
) -> dict[int, dict[str, tuple[float, ...]]]:
    """Return the derivative of each text's loss, by bits and matrix, in nats.

    An embedding that shares the head's matrix is measured apart from it, since a build may round
    the head alone.

    Args:
        network: A causal language model of a known architecture, in fp32; used up.
        rows: Texts as token ids, of at least two tokens each.
        errors: What rounding changes in each matrix, by its name
            (`paretune.passes.quantization.rounding_errors`).
        progress: Takes the progress.

    Raises:
        PassError: A derivative is not finite.
    """
    network.eval().requires_grad_(False)
    matrices = list(_matrices(network, errors))
    _note_gradients(matrices)
    for number, ids in enumerate(rows, start=1):
        tokens = torch.tensor([list(ids)])
        logits = network(input_ids=tokens, use_cache=False).logits[0, :-1]
        cross_entropy(logits, tokens[0, 1:], reduction="sum").backward()
        progress(Progress("sensitivity", number, len(rows), "derivatives of the loss"))
    found = {
        bits: {matrix.name: tuple(matrix.derivatives[bits]) for matrix in matrices} for bits in BITS
    }
    values = [value for each in found.values() for of in each.values() for value in of]
    if not torch.isfinite(torch.tensor(values)).all():
        raise PassError(
            "sensitivity: the derivatives of the model's loss are not finite",
            hint="Check the model: its weights may hold a NaN.",
        )
    return found


def _matrices(network: Any, errors: Mapping[str, Errors]) -> Iterator[_Matrix]:
    for pieces in pieces_of_layers(network, {}):
        for piece in pieces:
            yield _Matrix(piece.name, piece.module.weight, piece.rows, errors[piece.name])
    head, embedding = network.get_output_embeddings(), network.get_input_embeddings()
    shared = head.weight is embedding.weight
    if shared:
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    rows = slice(0, len(head.weight))
    yield _Matrix(HEAD_NAME, head.weight, rows, errors[HEAD_NAME])
    if shared:
        yield _Matrix(EMBEDDING_NAME, embedding.weight, rows, errors[HEAD_NAME])


def _note_gradients(matrices: Sequence[_Matrix]) -> None:
    """Have each weight's gradient noted and thrown away as soon as it is there."""
    by_weight: dict[Any, list[_Matrix]] = {}
    for matrix in matrices:
        by_weight.setdefault(matrix.weight, []).append(matrix)
    for weight, of_weight in by_weight.items():
        weight.requires_grad_(True)
        weight.register_post_accumulate_grad_hook(_noting(of_weight))


def _noting(matrices: Sequence[_Matrix]) -> Callable[[Any], None]:
    def note(weight: Any) -> None:
        for matrix in matrices:
            matrix.note(weight.grad)
        weight.grad = None

    return note
