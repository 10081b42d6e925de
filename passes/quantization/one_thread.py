"""Lets PyTorch compute in one thread where its operations are small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one thread: those of small operations wait for each other most of the time.

    On two cores that another program used too, small operations took ten times as long in two
    threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
