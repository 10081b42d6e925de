"""What bitsandbytes says again and again and no user needs to hear; for workers only.

PEFT imports bitsandbytes wherever it is installed, so its lines come up in trainings that use none
of it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# bitsandbytes 0.50.2 on a processor, at its import or for each layer and step: that a faster kernel
# could be fetched from the hub, and that 8 bits round fp32 activations to fp16. Neither is news.
_SAYING_IT = ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions")
_NO_NEWS = (
    "Failed to load CPU gemm_4bit_forward",
    "MatMul8bitLt: inputs will be cast",
    "Some matrices hidden dimension is not a multiple",
)


@contextmanager
def without_no_news() -> Iterator[None]:
    """Keep exactly those lines out of the log while something runs; all others come through."""

    def is_news(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_NO_NEWS)

    loggers = [logging.getLogger(name) for name in _SAYING_IT]
    for logger in loggers:
        logger.addFilter(is_news)
    try:
        with warnings.catch_warnings():
            for text in _NO_NEWS:
                warnings.filterwarnings("ignore", message=text)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_news)
