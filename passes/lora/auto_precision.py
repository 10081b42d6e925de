"""``dtype: auto``: bf16 where it is faster on this device and the loss stays the same.

Some processors multiply bfloat16 matrices twice as fast as fp32 ones, others many times slower;
and whether a loss stays the same depends on the model. So both are measured, on the network and the
examples that will be trained.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paretune.passes.lora.precision import slowness, torch_dtype
from paretune.passes.lora.rows import Batch, Row

if TYPE_CHECKING:
    from paretune.passes.lora.params import Dtype

_TIMED_TOKENS = 256
"""Tokens of a step that is timed."""
_COMPARED_TOKENS = 1024
"""Tokens whose loss is compared."""
_REPEATS = 2
_LEAST_GAIN = 1.1
"""How many times as fast bf16 must be; noise must not choose."""
_UNCLEAR = (0.9, 1.25)
"""Ratios of two measurements between which a machine's changing speed could decide."""
_ROUNDS = 3
"""Interleaved measurements whose median decides then."""
_SAME_LOSS = 0.01
"""Nats per token by which the loss may differ."""


@dataclass(frozen=True)
class Seen:
    """What was measured in one precision.

    Attributes:
        seconds: The least time of a step forward and backward.
        loss: Mean loss per learned token, in nats.
    """

    seconds: float
    loss: float


def decided(rounds: Sequence[tuple[Seen, Seen]]) -> tuple[Dtype, str]:
    """Return the precision to train in, and why.

    Args:
        rounds: What was measured in fp32 and in bf16, one after the other; at least one.
    """
    fp32, bf16 = rounds[0]
    if not statistics.median(map(_gain, rounds)) >= _LEAST_GAIN:
        return "fp32", "bf16 is not faster on this device"
    if not abs(bf16.loss - fp32.loss) <= _SAME_LOSS:
        return "fp32", f"bf16 changes the loss by more than {_SAME_LOSS}"
    return "bf16", f"bf16 is faster on this device and changes the loss by at most {_SAME_LOSS}"


def _gain(round_: tuple[Seen, Seen]) -> float:
    fp32, bf16 = round_
    return fp32.seconds / bf16.seconds


def choose(
    load: Callable[[Dtype], Any],
    rows: Sequence[Row],
    collator: Callable[[Any], Callable[[Sequence[Row]], Batch]],
    device: str = "cpu",
) -> tuple[Dtype, str]:
    """Measure a step and the loss in both precisions; returns the one to train in, and why.

    One network is in memory at a time. Where a single product tells that bf16 is not faster, no
    network is loaded. Where the first two times are near each other, more of both are taken,
    interleaved: a machine that others share is slower for minutes.

    Args:
        load: Returns the network with its adapter, held in a precision.
        rows: What it will learn from; some of them are used.
        collator: Returns what makes a batch of rows for a network.
        device: PyTorch's name of where it will train.
    """
    if _LEAST_GAIN * slowness("bf16", device) > 1.0:
        return "fp32", "bf16 is not faster on this device"
    rounds = [_round(load, rows, collator, device)]
    least, most = _UNCLEAR
    if least < _gain(rounds[0]) < most:
        rounds += [_round(load, rows, collator, device) for _ in range(_ROUNDS - 1)]
    return decided(rounds)


def _round(
    load: Callable[[Dtype], Any],
    rows: Sequence[Row],
    collator: Callable[[Any], Callable[[Sequence[Row]], Batch]],
    device: str,
) -> tuple[Seen, Seen]:
    """Return what is measured in fp32, then in bf16."""
    fp32 = _measured(load, "fp32", rows, collator, device)
    gc.collect()  # a network is a cycle
    bf16 = _measured(load, "bf16", rows, collator, device)
    gc.collect()
    print(
        f"dtype auto: a step takes {fp32.seconds:.3g} s in fp32 and {bf16.seconds:.3g} s in bf16; "
        f"loss {fp32.loss:.4f} and {bf16.loss:.4f}"
    )
    return fp32, bf16


def _measured(
    load: Callable[[Dtype], Any],
    dtype: Dtype,
    rows: Sequence[Row],
    collator: Callable[[Any], Callable[[Sequence[Row]], Batch]],
    device: str,
) -> Seen:
    import torch

    from paretune.passes.lora.chunked_loss import find_chunked_loss, mean_loss

    network = load(dtype).to(device)
    network.train()
    collate = collator(network)
    timed = _on(device, collate(_some(rows, _TIMED_TOKENS)))
    chunked = find_chunked_loss(network, timed)
    computed_in = (
        nullcontext if dtype == "fp32" else lambda: torch.autocast(device, torch_dtype(dtype))
    )

    def loss_of(batch: Batch) -> Any:
        with computed_in():
            return network(**batch).loss if chunked is None else chunked(batch)

    taken = []
    for _ in range(_REPEATS + 1):  # the first one also sets up kernels and threads
        begin = time.perf_counter()
        loss_of(timed).backward()
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
        network.zero_grad()
    network.eval()
    compared = (_on(device, collate(part)) for part in _parts(_some(rows, _COMPARED_TOKENS)))
    return Seen(min(taken[1:]), mean_loss(compared, loss_of))


def _some(rows: Sequence[Row], tokens: int) -> list[Row]:
    """Return rows of at most so many tokens together, at least one, evenly spread over them."""
    mean = max(1.0, sum(len(row.ids) for row in rows) / len(rows))
    count = max(1, min(len(rows), int(tokens / mean)))
    found, held = list[Row](), 0
    for place in range(count):
        row = _end_of(rows[place * len(rows) // count], tokens)
        held += len(row.ids)
        if found and held > tokens:
            break
        found.append(row)
    return found


def _end_of(row: Row, tokens: int) -> Row:
    """Return a row's last tokens; what is to be predicted stands at its end."""
    cut = len(row.ids) - tokens
    if cut <= 0:
        return row
    spans = tuple((max(1, begin - cut), end - cut) for begin, end in row.learned if end - cut > 1)
    return Row(row.ids[cut:], spans[0][0], spans)


def _parts(rows: Sequence[Row]) -> list[list[Row]]:
    """Return rows in batches of about the tokens of a timed step."""
    parts, held = list[list[Row]](), 0
    for row in sorted(rows, key=lambda row: len(row.ids)):
        if not parts or held + len(row.ids) > _TIMED_TOKENS:
            parts.append([])
            held = 0
        parts[-1].append(row)
        held += len(row.ids)
    return parts


def _on(device: str, batch: Batch) -> Batch:
    return {
        key: value.to(device) if hasattr(value, "to") else value for key, value in batch.items()
    }
