"""What the suite of targets lets a worker call: each does one thing that a candidate might do."""

from __future__ import annotations

import ctypes
import time


def add(a: float, b: float) -> float:
    """Return a sum."""
    return a + b


def fail(message: str) -> None:
    """Raise an exception."""
    raise ValueError(message)


def segfault() -> None:
    """Read from address 0."""
    ctypes.string_at(0)


def raise_memory_error() -> None:
    """Run out of memory, as Python reports it."""
    raise MemoryError


def sleep(seconds: float) -> float:
    """Wait, without using the processor."""
    time.sleep(seconds)
    return seconds


def hold(megabytes: int, seconds: float) -> int:
    """Hold memory for a while."""
    held = bytearray(b"x") * (megabytes * 1_000_000)
    time.sleep(seconds)
    return len(held)


def spin() -> None:
    """Use the processor without an end."""
    while True:
        pass
