"""What bandwidth and arithmetic allow: a model's roofline on a device, before and after its build.

The model is that of S. Williams, A. Waterman and D. Patterson, "Roofline: an insightful visual
performance model", 2009. Decoding reads every matrix once per token, so that bytes over bandwidth
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
from paretune.core.model import ModelInfo
from paretune.core.traffic import WIDTHS, Traffic
from paretune.search.constraints import Constraint

CAUTION = 0.7
"""A bound is this share of the time that the measured roofline allows.

The measured roofline may be too low: sums over an array may not be the quickest way to read, and
the clock may have been lower, or a neighbour louder, than when the model will be measured. With
0.7 it may be too low by two fifths before a bound is wrong. A candidate within that is built and
measured, which costs time and no candidate."""

_TIMES = ("decode_ms_p50", "decode_ms_p95")
_RATES = ("decode_tokens_per_s",)


def is_plausible(info: ModelInfo) -> bool:
    """Return whether a model on disk holds as many weights as its headers were taken to say.

    Packed weights (eight in a number) or a precision that is not known would be miscounted.
    """
    width = WIDTHS.get(info.precision)
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
    needs: Traffic | None,
    runtime: RuntimeSettings,
    profile: DeviceProfile,
    constraints: Iterable[Constraint],
    prompts: Mapping[str, int] | None = None,
) -> str | None:
    """Return why a model cannot be fast enough on a device whatever becomes of it, or None.

    Only limits in numbers count: what is relative to the baseline is not known yet.

    Args:
        needs: What the model will read and compute; None: not known.
        runtime: How it will be run; only the processor has a roofline here.
        profile: The device's.
        constraints: As configured.
        prompts: Of each metric that is a time to a first token, the tokens of the prompt.
    """
    if needs is None or runtime.provider != "cpu":
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
                f"{_work(needs, prompt)}, which takes at least {_digits(least)} ms with "
                f"{counted(runtime.threads, 'thread')} on this device; the limit is {limit.text}"
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
    needs: Traffic,
    runtime: RuntimeSettings,
    profile: DeviceProfile | None,
    measured: Mapping[str, Measurement],
) -> dict[str, Json]:
    """Return the roofline entry of a candidate in ``results.json``.

    Args:
        needs: What the model reads and computes, with the context that was measured.
        runtime: How it was run.
        profile: The device's; None: only what the model needs is returned.
        measured: What was measured of it.

    Returns:
        ``{"bytes_per_token", "operations_per_prompt_token", "decode_share", "ttft_share"}``: a
        share is the roofline's time over the measured one (1: as fast as the device allows).
    """
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
    """Return the share of its roofline that a measured time reaches; None without both."""
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
