"""What `paretune bench` runs in a worker: each function measures one thing and returns figures.

A figure is ``{"name", "threads", "value", "unit", "low", "high", "n"}``: the median of ``n``
repetitions with their quartiles. Rates also have ``best``, the highest that was seen, and what they
are of: ``bytes`` (the working set), or ``kind`` and ``rows``.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle

from paretune.bench.one_product import one_product
from paretune.core.jsontools import Json
from paretune.core.packages import is_installed

SETS = tuple(1 << n for n in range(18, 30))
"""Working sets from 256 KiB to 512 MiB: from the inner caches to well beyond the last one."""

_MATRIX = 1024
_PROMPT = 64
_PIECE_BYTES = 8 << 20
_BANDWIDTH_S = 3.0
_WINDOWS = 4
_SHORTEST_WINDOW_S = 0.003
_ARITHMETIC_S = 3.0
_NOISE_MEMORY_SIDE = 4096
_NOISE_ROWS = 128
_NOISE_WARM_UP_S = 0.3
"""Of new threads two may share a core for up to 0.25 s, until the scheduler parts them."""


def nothing() -> None:
    """Do nothing: what remains is the cost of a job."""


def timer() -> list[Json]:
    """Measure the smallest step that the clock can show."""
    steps = []
    for _ in range(1000):
        start = end = time.perf_counter_ns()
        while end == start:
            end = time.perf_counter_ns()
        steps.append(float(end - start))
    return [figure("timer resolution", "ns", steps)]


def bandwidth(
    threads: Sequence[int], sets: Sequence[int] = SETS, seconds: float = _BANDWIDTH_S
) -> list[Json]:
    """Measure how fast working sets of several sizes are read repeatedly.

    Two methods are used, because neither is always the faster: one sum that PyTorch divides among
    its threads, and independent threads that each sum their own part. A matrix-vector product is
    not used, because MKL's reads memory at half the speed on AMD processors. Without PyTorch,
    independent threads read with numpy.

    Args:
        threads: How many read; one figure each.
        sets: Sizes in bytes.
        seconds: In all, about.
    """
    window = max(_SHORTEST_WINDOW_S, seconds / (2 * _WINDOWS * len(threads) * len(sets)))
    read = _with_torch if is_installed("torch") else _with_numpy
    of = read(max(sets) // 4, window)
    figures = []
    for count in threads:
        for size in sets:
            ways = of(count, size)
            best = max(ways, key=statistics.median)
            found = figure(f"read bandwidth, {_size(size)}", "GB/s", best, count)
            figures.append({**found, "bytes": size, "best": max(map(max, ways))})
    return figures


_Rates = Callable[[int, int], list[list[float]]]
"""Takes threads and a size in bytes; returns GB/s, by method and time window."""


def _with_torch(numbers: int, window: float) -> _Rates:
    import torch

    data = torch.ones(numbers)

    def rates(count: int, size: int) -> list[list[float]]:
        part = data[: size // 4]
        torch.set_num_threads(count)
        whole = [size / s / 1e9 for s in _repeat(part.sum, _WINDOWS * window)]
        torch.set_num_threads(1)
        chunks = [
            [(piece.sum, 4 * piece.numel()) for piece in chunk.split(_PIECE_BYTES // 4)]
            for chunk in part.chunk(count)
        ]
        # A new thread has a number of its own.
        return [whole, _apart(chunks, window, partial(torch.set_num_threads, 1))]

    return rates


def _with_numpy(numbers: int, window: float) -> _Rates:
    import numpy as np

    data = np.ones(4 * numbers, np.uint8)

    def rates(count: int, size: int) -> list[list[float]]:
        chunks = []
        for chunk in np.array_split(data[:size], count):
            starts = range(0, len(chunk), _PIECE_BYTES)
            pieces = [chunk[start : start + _PIECE_BYTES] for start in starts]
            # As fast as PyTorch's sum; numpy's sum reads a third of it, BLAS two thirds.
            chunks.append([(partial(np.bitwise_and.reduce, p), p.nbytes) for p in pieces])
        return [_apart(chunks, window)]

    return rates


def _apart(
    chunks: Sequence[Sequence[tuple[Callable[[], object], int]]],
    window: float,
    prepare: Callable[[], object] = nothing,
) -> list[float]:
    """Return the GB/s that independent threads read, by time window.

    Args:
        chunks: Of each thread, what reads a piece of its part, and the piece's bytes.
        window: Seconds.
        prepare: Called first in each thread.
    """
    sums: list[float] = []

    def read(
        pieces: Iterator[tuple[Callable[[], object], int]],
        begin: threading.Barrier,
        rates: list[float],
    ) -> None:
        prepare()
        begin.wait()
        start = now = time.perf_counter()
        done = 0
        while now - start < window:
            work, size = next(pieces)
            work()
            done += size
            now = time.perf_counter()
        rates.append(done / (now - start))

    rounds = [cycle(pieces) for pieces in chunks]
    for _ in range(_WINDOWS):
        begin, rates = threading.Barrier(len(rounds)), list[float]()
        readers = [threading.Thread(target=read, args=(pieces, begin, rates)) for pieces in rounds]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        sums.append(sum(rates) / 1e9)
    return sums


def arithmetic(
    threads: Sequence[int], side: int = _MATRIX, seconds: float = _ARITHMETIC_S
) -> list[Json]:
    """Measure matrix products, of a square matrix and of a prompt's length.

    Each multiplication and addition counts. fp32 with ONNX Runtime and, where it is installed, with
    PyTorch, 8-bit integers (sums in 32 bits) with ONNX Runtime.

    Args:
        threads: How many compute; figures for each.
        side: Of the matrix of weights.
        seconds: In all, about.
    """
    each = seconds / (5 * len(threads))
    figures = []
    for count in threads:
        for rows in (side, min(_PROMPT, side)):
            for name, unit, kind in (
                ("MatMul", "GFLOP/s", "fp32"),
                ("MatMulInteger", "GOP/s", "int8"),
            ):
                run = _product(name, rows, side, count)
                figures.append(_rate(kind, unit, rows, side, count, _repeat(run, each)))
        if not is_installed("torch"):
            continue
        import torch

        torch.set_num_threads(count)
        square = torch.ones(side, side)
        samples = _repeat(partial(torch.mm, square, square), each)
        figures.append(_rate("fp32", "GFLOP/s", side, side, count, samples, ", PyTorch"))
    return figures


def _rate(
    kind: str,
    unit: str,
    rows: int,
    side: int,
    threads: int,
    samples: Sequence[float],
    with_: str = "",
) -> dict[str, Json]:
    rates = [2 * rows * side * side / s / 1e9 for s in samples]
    shape = "" if rows == side else f", {rows} rows"
    found = figure(f"matrix product {kind}{shape}{with_}", unit, rates, threads)
    return {**found, "kind": kind, "rows": rows, "best": max(rates)}


def noise(
    threads: int,
    seconds: float,
    side: int = _NOISE_MEMORY_SIDE,
    small_side: int = _MATRIX,
    warm_up_s: float = _NOISE_WARM_UP_S,
) -> dict[str, Json]:
    """Time two kinds of work and return their medians: one process of an A/A run.

    Args:
        threads: How many each runs with.
        seconds: In all, about.
        side: Of the matrix that is read for one row: bound by memory.
        small_side: Of the matrix that is multiplied by many rows: bound by arithmetic.
        warm_up_s: Warm-up of each kind.

    Returns:
        ``{"memory": seconds, "arithmetic": seconds, "n": repetitions of the last}``.
    """
    shapes = {"memory": (1, side), "arithmetic": (_NOISE_ROWS, small_side)}
    medians: dict[str, Json] = {}
    for name, (rows, width) in shapes.items():
        # One session at a time: the idle threads of another would spin beside its own.
        work = _product("MatMul", rows, width, threads)
        samples = _repeat(work, seconds / len(shapes), warm_up_s)
        medians[name] = statistics.median(samples)
        medians["n"] = len(samples)
        del work
    return medians


def _product(operator: str, rows: int, side: int, threads: int) -> Callable[[], object]:
    """Return a matrix product in ONNX Runtime, ready to run.

    Args:
        operator: ``MatMul`` (fp32) or ``MatMulInteger`` (8 bits).
        rows: Rows of the left matrix.
        side: Sides of the weights' matrix.
        threads: How many compute.
    """
    import numpy as np
    import onnxruntime as ort

    # Of both operators: the type of the left side, and of the weights.
    left, right = {
        "MatMul": (np.float32, np.float32),
        "MatMulInteger": (np.uint8, np.int8),
    }[operator]
    weights = np.resize(np.arange(1, 98), (side, side)).astype(right)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(
        one_product(operator, weights, np.dtype(left).name),
        options,
        providers=["CPUExecutionProvider"],
    )
    feed = {"left": np.ones((rows, side), left)}
    return partial(session.run, None, feed)


def _repeat(work: Callable[[], object], seconds: float, warm_up_s: float = 0.0) -> list[float]:
    """Return the seconds of each repetition after those that warm up; five at least."""
    work()
    begin = time.perf_counter()
    while time.perf_counter() - begin < warm_up_s:
        work()
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        samples.append(time.perf_counter() - start)
    return samples


def figure(
    name: str, unit: str, samples: Sequence[float], threads: int | None = None
) -> dict[str, Json]:
    """Return the median and quartiles of some samples, two at least."""
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return {
        "name": name,
        "threads": threads,
        "value": middle,
        "unit": unit,
        "low": low,
        "high": high,
        "n": len(samples),
    }


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"
