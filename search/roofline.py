"""What bandwidth and arithmetic allow: a model's roof on a device, before and after it is built.

The model is that of S. Williams, A. Waterman and D. Patterson, "Roofline: an insightful visual
performance model", 2009. Decoding reads every matrix once a token, so that bytes over bandwidth
bounds it; a prompt multiplies every matrix with all its tokens, so that operations over arithmetic
bounds it.

Everything here is counted so that it is never too much: what is not known is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paretune.core.candidate import RuntimeSettings, counted
from paretune.core.device_profile import DeviceProfile
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.core.model import ModelInfo, ModelKind
from paretune.search.constraints import Constraint

CAUTION = 0.7
"""A bound is this share of the time that the measured roof allows.

The measured roof may be too low: sums over an array may not be the quickest way to read, and the
clock may have been lower, or a neighbour louder, than when the model will be measured. With 0.7 it
may be too low by two fifths before a bound is wrong. A candidate within that is built and measured,
which costs time and no candidate."""

_DENSE = frozenset(
    {
        "gemma",
        "gemma2",
        "gemma3_text",
        "granite",
        "internlm2",
        "llama",
        "mistral",
        "nemotron",
        "olmo",
        "phi",
        "phi3",
        "qwen2",
        "qwen3",
        "smollm3",
    }
)
"""Architectures that read all their matrices for every token; a mixture of experts does not."""
_WIDTHS = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5}
_QUANTIZED = ("int8", "int4")
_SCALE_BYTES = 4
_DEFAULT_BLOCK = 32
_SERVED_HF = 4.0
"""Bytes of a weight where PyTorch serves the model: `paretune/runtimes/serving.py` does so in
fp32."""
_CACHE_WIDTH = 4
_HEAD = "lm_head"
_TIMES = ("decode_ms_p50", "decode_ms_p95")
_RATES = ("decode_tokens_per_s",)


@dataclass(frozen=True)
class Traffic:
    """What a model reads and computes, at the least.

    Attributes:
        bytes_per_token: Read for each decoded token: every matrix, the cache of the tokens before
            it; of an embedding that is a matrix of its own one row, which is left out.
        operations_per_prompt_token: Multiplications and additions for each token of a prompt.
        operations_per_prompt: Those done once a prompt: the head, for its last token.
        arithmetic: What they are done in: ``fp32`` where the weights are; None: a kernel may round
            what it multiplies to int8, so the faster of the two counts.
    """

    bytes_per_token: int
    operations_per_prompt_token: int
    operations_per_prompt: int
    arithmetic: str | None = None


def traffic(info: ModelInfo, context: int = 0) -> Traffic | None:
    """Return what a model reads and computes; None if too little is known of it.

    Args:
        info: The model, built or predicted.
        context: Tokens in the cache while decoding.
    """
    if info.kind not in (ModelKind.HF, ModelKind.GENAI) or info.model_type not in _DENSE:
        return None
    width = _width(info)
    embedding = info.vocab_size * info.hidden_size
    if width is None or not embedding or not info.parameters:
        return None
    # A file may hold a head of its own though the configuration says that it shares one.
    held = 1 if info.tied and _HEAD not in info.modules else 2
    body = info.parameters - held * embedding
    if body <= 0:
        return None
    cache = 2 * info.layers * info.kv_heads * info.head_dim * _CACHE_WIDTH * context
    return Traffic(
        bytes_per_token=int((body + embedding) * width) + cache,
        operations_per_prompt_token=2 * body,
        operations_per_prompt=2 * embedding,
        arithmetic="fp32" if width == _WIDTHS["fp32"] else None,
    )


def _width(info: ModelInfo) -> float | None:
    """Return the bytes of a weight, its share of a block's scale included; None if unknown."""
    if info.kind is ModelKind.HF:
        return _SERVED_HF
    width = _WIDTHS.get(info.precision)
    if width is None or info.precision not in _QUANTIZED or "block_size" not in info.built_with:
        return width
    return width + _SCALE_BYTES / int(info.built_with["block_size"] or _DEFAULT_BLOCK)


def is_plausible(info: ModelInfo) -> bool:
    """Return whether a model on disk holds as many weights as its headers were taken to say.

    Packed weights (eight in a number) or a precision that is not known would be miscounted.
    """
    width = _WIDTHS.get(info.precision)
    return width is not None and 0 < info.parameters * width <= info.bytes


@dataclass(frozen=True)
class Roof:
    """The times that a device allows a model.

    Attributes:
        traffic: What the model reads and computes.
        profile: What the device can do.
        threads: That it runs with.
    """

    traffic: Traffic
    profile: DeviceProfile
    threads: int

    def decode_ms(self) -> float | None:
        """Return the time of a decoded token at the measured bandwidth; None if unknown."""
        size = self.traffic.bytes_per_token
        rate = self.profile.bandwidth_at(self.threads, size)
        return None if rate is None else 1e3 * size / rate

    def ttft_ms(self, prompt_tokens: int) -> float | None:
        """Return the time to the first token at the measured arithmetic; None if unknown."""
        return self._ttft(prompt_tokens, self.decode_ms())

    def least_decode_ms(self) -> float | None:
        """Return a time that no decoded token takes less than; None if unknown.

        The whole of a cache that may hold the model is granted to it (`most_bandwidth`), and
        `CAUTION` beside.
        """
        size = self.traffic.bytes_per_token
        rate = self.profile.most_bandwidth(self.threads, size)
        if rate is None or not self.profile.calm:
            return None
        return CAUTION * 1e3 * size / rate

    def least_ttft_ms(self, prompt_tokens: int) -> float | None:
        """Return a time that the first token does not come before; None if unknown.

        Only products in fp32 bound it: what is quantized is multiplied by kernels of its own, which
        `paretune bench` does not measure, and is bound by being read once.
        """
        if not self.profile.calm:
            return None
        reading = self.least_decode_ms()
        computing = 0.0 if self.traffic.arithmetic is None else self._ttft(prompt_tokens, 0.0)
        if reading is None or computing is None:
            return None
        return max(reading, CAUTION * computing)

    def _ttft(self, prompt_tokens: int, reading: float | None) -> float | None:
        peak = self.profile.peak(self.traffic.arithmetic, self.threads)
        if peak is None or reading is None:
            return None
        each, once = self.traffic.operations_per_prompt_token, self.traffic.operations_per_prompt
        return max(reading, 1e3 * (each * prompt_tokens + once) / peak)


def too_slow(
    info: ModelInfo,
    runtime: RuntimeSettings,
    profile: DeviceProfile,
    constraints: Iterable[Constraint],
    prompts: Mapping[str, int] | None = None,
) -> str | None:
    """Return why a model cannot be fast enough on a device whatever becomes of it, or None.

    Only limits in numbers count: what is relative to the baseline is not known yet.

    Args:
        info: What the model will be.
        runtime: How it will be run; only the processor has a roof here.
        profile: The device's.
        constraints: As configured.
        prompts: Of each metric that is a time to a first token, the tokens of the prompt.
    """
    needs = None if runtime.provider != "cpu" else traffic(info)
    if needs is None:
        return None
    roof = Roof(needs, profile, runtime.threads)
    for constraint in constraints:
        limit = constraint.resolve({})
        if limit is None:
            continue
        prompt = (prompts or {}).get(constraint.metric)
        is_rate = constraint.metric.partition("@")[0] in _RATES
        least = _least(constraint.metric, roof, prompt)
        if not least or limit.op[0] != (">" if is_rate else "<"):
            continue
        if not limit.holds(1e3 / least if is_rate else least):
            return (
                f"{_work(needs, prompt)}, which takes {_digits(least)} ms at the very least with "
                f"{counted(runtime.threads, 'thread')} on this device; needs {limit.text}"
            )
    return None


def _least(metric: str, roof: Roof, prompt: int | None) -> float | None:
    """Return the milliseconds that bound a metric, or its inverse; None if nothing does."""
    if prompt is not None:
        return roof.least_ttft_ms(prompt)
    return roof.least_decode_ms() if metric.partition("@")[0] in _TIMES + _RATES else None


def _work(needs: Traffic, prompt: int | None) -> str:
    reads = f"reads {_digits(needs.bytes_per_token / 1e6)} MB"
    if prompt is None or needs.arithmetic is None:
        return f"{reads} for a token"
    operations = needs.operations_per_prompt_token * prompt + needs.operations_per_prompt
    return (
        f"{reads} and does {_digits(operations / 1e9)} billion operations for a prompt of "
        f"{counted(prompt, 'token')}"
    )


def _digits(value: float) -> str:
    """Return a number with three digits, or all that stand before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def roofline_entry(
    info: ModelInfo,
    runtime: RuntimeSettings,
    profile: DeviceProfile | None,
    measured: Mapping[str, Measurement],
) -> dict[str, Json] | None:
    """Return what ``results.json`` says of a candidate's roof; None if nothing is known of it.

    Args:
        info: The model, as predicted.
        runtime: How it was run.
        profile: The device's; None: only what the model needs is told.
        measured: What was measured of it.

    Returns:
        ``{"bytes_per_token", "operations_per_prompt_token", "decode_share", "ttft_share"}``: a
        share is the roof's time over the measured one (1: as fast as the device allows).
    """
    needs = traffic(info, context=context_of(measured))
    return None if needs is None else shares(needs, runtime, profile, measured)


def shares(
    needs: Traffic,
    runtime: RuntimeSettings,
    profile: DeviceProfile | None,
    measured: Mapping[str, Measurement],
) -> dict[str, Json]:
    """Return the same as `roofline_entry` of what is known to be read and computed."""
    found: dict[str, Json] = {"decode_share": None, "ttft_share": None}
    if profile is not None and runtime.provider == "cpu":
        roof, prompt = Roof(needs, profile, runtime.threads), _trace(measured)[0]
        found["decode_share"] = share(roof.decode_ms(), measured.get("decode_ms_p50"))
        if prompt:
            found["ttft_share"] = share(roof.ttft_ms(prompt), measured.get("ttft_ms_p50"))
    return {
        "bytes_per_token": needs.bytes_per_token,
        "operations_per_prompt_token": needs.operations_per_prompt_token,
        **found,
    }


def context_of(measured: Mapping[str, Measurement]) -> int:
    """Return how many tokens the cache held on average while decoding was timed."""
    prompt, new = _trace(measured)
    return prompt + new // 2


def share(roof_ms: float | None, measured: Measurement | None) -> float | None:
    """Return the share of its roof that a measured time reaches; None without both."""
    if roof_ms is None or measured is None or not measured.value:
        return None
    return roof_ms / measured.value


def _trace(measured: Mapping[str, Measurement]) -> tuple[int, int]:
    """Return the tokens of the prompt that was timed, and of those after it; 0 if unknown."""
    for name in ("ttft_ms_p50", "decode_ms_p50"):
        details = measured[name].details if name in measured else None
        if details is not None and details.prompt_tokens is not None:
            return details.prompt_tokens, details.new_tokens or 0
    return 0, 0
