"""Metrics that an evaluator yields only if one of its parameters asks for them."""

from __future__ import annotations

import re

_ASKED_FOR = (
    (r"energy_per_token_j(@\d+|_context@\d+)?", "generation: {energy: true}"),
    (r"first_ttft_ms", "generation: {cold_start: true}"),
    (r"throughput_per_s", "latency: {batch_size: 8}"),
    (r"decode_ms_p50_sustained", "generation: {sustained_s: 60}"),
)


def yielded_by(metric: str) -> str | None:
    """Return what to configure for a metric; None: no parameter brings it."""
    for pattern, entry in _ASKED_FOR:
        if re.fullmatch(pattern, metric):
            return f"`evaluate: [{entry}]` yields it."
    return None
