"""Which precision this device trains in at a useful speed: a short measurement.

A processor without instructions for bfloat16 or float16 still computes in them, many times slower
than in fp32 (34 times on one that was measured), and nothing but the clock says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paretune.passes.lora.params import Dtype

_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
# A small model's projection over a few hundred tokens: long enough to be arithmetic and not
# dispatch, short enough that 34 times slower is still well below a second.
_TOKENS, _INPUTS, _OUTPUTS = 256, 512, 1024
_REPEATS = 3
# Told in these steps: a measured ratio differs from run to run, and the note is part of what a
# training leaves behind, which should not.
_LEVELS = (100, 30, 10, 3)


def torch_dtype(dtype: str) -> Any:
    """Return PyTorch's type for ``fp32``, ``bf16`` or ``fp16``."""
    import torch

    return getattr(torch, _NAMES[dtype])


def slowness(dtype: Dtype, device: str = "cpu") -> float:
    """Return how many times longer a projection's forward and backward take than in fp32.

    Takes a few milliseconds, or as many times more as the answer says.
    """
    if dtype == "fp32":
        return 1.0
    return _seconds(dtype, device) / _seconds("fp32", device)


def precision_note(
    *dtypes: Dtype, device: str = "cpu", measure: Callable[[Dtype, str], float] = slowness
) -> str | None:
    """Return a warning about precisions before they are used, or None.

    Args:
        *dtypes: Those that a training computes in.
        device: PyTorch's name of where it runs.
        measure: `slowness`, or what stands in for it.
    """
    for dtype in dict.fromkeys(dtypes):
        ratio = measure(dtype, device)
        level = next((level for level in _LEVELS if ratio > level), None)
        if level is not None:
            return f"{dtype} runs more than {level} x slower than fp32 on this device; use fp32"
    return None


def notes(dtypes: list[Dtype]) -> list[str]:
    """Return notes on precisions on this device; a job of its own runs this."""
    import torch

    from paretune.passes.hugging_face import use_all_cores

    use_all_cores()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = (precision_note(dtype, device=device) for dtype in dtypes)
    return [note for note in found if note is not None]


def _seconds(dtype: Dtype, device: str) -> float:
    """Return the least of a few repetitions: what disturbs a measurement only adds to it."""
    import torch

    kind = torch_dtype(dtype)
    inputs = torch.ones(_TOKENS, _INPUTS, dtype=kind, device=device, requires_grad=True)
    weight = torch.ones(_OUTPUTS, _INPUTS, dtype=kind, device=device)
    gradient = torch.ones(_TOKENS, _OUTPUTS, dtype=kind, device=device)
    taken = []
    for _ in range(_REPEATS + 1):  # the first one also sets up kernels and threads
        start = time.perf_counter()
        torch.nn.functional.linear(inputs, weight).backward(gradient)
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken[1:])
