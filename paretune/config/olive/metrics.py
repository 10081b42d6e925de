"""Olive's metrics by our names, and what differs."""

from __future__ import annotations

_DECODE, _DECODE_95 = ("generation", "decode_ms_p50"), ("generation", "decode_ms_p95")
_RATE = ("generation", "decode_tokens_per_s")
_OF_LATENCY = {
    "avg": _DECODE,
    "p50": _DECODE,
    "min": _DECODE,
    "p75": _DECODE,
    "p90": _DECODE_95,
    "p95": _DECODE_95,
    "p99": _DECODE_95,
    "p999": _DECODE_95,
    "max": _DECODE_95,
}
_OF_ACCURACY = {
    **dict.fromkeys(("accuracy_score", "accuracy"), ("classification", "accuracy")),
    **dict.fromkeys(("f1_score", "f1"), ("classification", "macro_f1")),
    "exact_match": ("exact_match", "exact_match"),
    "perplexity": ("perplexity", "perplexity"),
}
KINDS: dict[str, dict[str, tuple[str, str]]] = {
    "latency": _OF_LATENCY,
    "throughput": dict.fromkeys(_OF_LATENCY, _RATE),
    "accuracy": _OF_ACCURACY,
    "size_on_disk": {"bytes": ("footprint", "size_mb")},
}
"""Olive's metric and its part to our evaluator and its metric."""

_RUN, _RUN_95 = ("latency", "latency_ms_p50"), ("latency", "latency_ms_p95")
_OF_RUNS = {name: _RUN if found is _DECODE else _RUN_95 for name, found in _OF_LATENCY.items()}
KINDS_OF_ARRAYS: dict[str, dict[str, tuple[str, str]]] = {
    "latency": _OF_RUNS,
    "throughput": dict.fromkeys(_OF_LATENCY, ("latency", "throughput_per_s")),
    "accuracy": {
        name: found for name, found in _OF_ACCURACY.items() if found[0] == "classification"
    },
    "size_on_disk": KINDS["size_on_disk"],
}
"""The same of a model that takes and gives arrays."""

LOWER = frozenset(
    {
        "decode_ms_p50",
        "decode_ms_p95",
        "latency_ms_p50",
        "latency_ms_p95",
        "perplexity",
        "size_mb",
    }
)
"""Our metrics of these that are better when they are lower."""

FIRST_METRIC = {
    "generation": "decode_ms_p50",
    "latency": "latency_ms_p50",
    "classification": "accuracy",
    "exact_match": "exact_match",
    "perplexity": "perplexity",
    "footprint": "size_mb",
}
"""What an evaluator is asked for where no priority says so."""
HOW = {
    "decode_ms_p50": "median time of one token decoded, not the mean of whole calls",
    "decode_ms_p95": "95th percentile of one token decoded, the highest that the samples bear",
    "latency_ms_p50": "median time of one run of one row, not the mean of calls",
    "latency_ms_p95": "95th percentile of one run of one row",
    "throughput_per_s": "rows in a second, one after another",
    "decode_tokens_per_s": "tokens decoded in a second, after the prompt",
    "accuracy": "share of examples whose likeliest label, over all its tokens, is right",
    "macro_f1": "mean of the labels' F1, each label scored over all its tokens",
    "exact_match": "share of generated answers that are the right ones",
    "perplexity": "over windows of the text, each scored independently",
    "size_mb": "10^6 bytes of all files to deploy",
}
