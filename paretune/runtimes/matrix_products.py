"""Which library this process multiplies fp32 matrices with: the quicker one here; for workers only.

PyTorch hands fp32 products on a processor to MKL. On AMD's, MKL leaves half of the arithmetic
unused: on one with AVX-512, oneDNN, which comes with PyTorch too, was 2.2 times as fast. Which of
them is quicker where is not assumed but timed.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# A small model's projection of a few hundred tokens: long enough to be arithmetic and not dispatch.
_TOKENS, _WIDTH = 512, 768
_REPEATS = 7
# Below this a training gains nothing that one would notice, and noise must not choose.
_MIN_GAIN = 1.25
# Smaller products are dispatch more than arithmetic.
_MIN_ROWS = 16


@contextmanager
def quickest_products(gain: Callable[[], float] | None = None) -> Iterator[bool]:
    """Let fp32 matrix products on the processor go to oneDNN where it is clearly the quicker.

    Both compute in fp32, in another order. Everything that ends in ``aten::mm`` or
    ``aten::addmm`` is meant: linear layers, forward and backward.

    Args:
        gain: How many times as fast oneDNN is; None: it is timed.

    Yields:
        Whether they go there.
    """
    import torch

    if not torch.backends.mkldnn.is_available() or (gain or one_dnn_gain)() < _MIN_GAIN:
        yield False
        return
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        # That a kernel is replaced is what this is for.
        warnings.filterwarnings("ignore", message="Warning only once for all operators")
        library.impl("mm", _mm, "CPU")
        library.impl("addmm", _addmm, "CPU")
    try:
        yield True
    finally:
        library._destroy()


def one_dnn_gain() -> float:
    """Return how many times as fast as PyTorch's own choice oneDNN multiplies; takes about 50 ms.

    The two are interleaved, and the median of the ratios counts: a disturbance affects both.
    """
    import torch

    left, right = torch.ones(_TOKENS, _WIDTH), torch.ones(_WIDTH, _WIDTH)
    ratios = []
    for _ in range(_REPEATS + 1):  # the first one also sets up kernels and threads
        own = seconds_of(lambda: torch.mm(left, right))
        other = seconds_of(lambda: _product(left, right, None))
        ratios.append(own / other)
    return statistics.median(ratios[1:])


def seconds_of(work: Callable[[], object]) -> float:
    """Return the wall seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _product(left: Any, right: Any, bias: Any) -> Any:
    import torch

    return torch.ops.mkldnn._linear_pointwise.default(left, right.t(), bias, "none", [], "")


def _suits(left: Any, right: Any) -> bool:
    import torch

    fp32 = left.dtype is right.dtype is torch.float32
    return fp32 and left.shape[0] >= _MIN_ROWS and left.numel() > 0 and right.numel() > 0


# The variants with `out` keep PyTorch's own kernels: through them goes what oneDNN is not for.


def _mm(left: Any, right: Any) -> Any:
    import torch

    if _suits(left, right):
        return _product(left, right, None)
    out = left.new_empty(left.shape[0], right.shape[1])
    return torch.ops.aten.mm.out(left, right, out=out)


def _addmm(added: Any, left: Any, right: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    import torch

    plain = added.dim() == 1 and added.shape[0] == right.shape[1] and beta == 1 and alpha == 1
    if plain and added.dtype is torch.float32 and _suits(left, right):
        return _product(left, right, added)
    out = left.new_empty(left.shape[0], right.shape[1])
    return torch.ops.aten.addmm.out(added, left, right, beta=beta, alpha=alpha, out=out)
