"""What the evaluator ``generation`` asks of a model: its parameters, and the cases they make."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from pydantic import field_validator

from paretune.core.params import Params, parameter

_SOURCE = r"(?:rapl|nvidia|hwmon(?::[^+]+)?)"
_SOURCES = re.compile(rf"{_SOURCE}(?:\+{_SOURCE})*")
_FIRST_TOKEN = 100
"""Token ids below are often special ones; the trace leaves them out where it can."""


class GenerationParams(Params):
    """The use that is timed."""

    prompt_tokens: int | list[int] = parameter(
        64, "Length of the prompt; several are measured one by one.", unit="tokens", search="none"
    )
    new_tokens: int = parameter(
        32, "Tokens decoded after each prompt.", unit="tokens", search="none", ge=2
    )
    context: int | list[int] = parameter(
        0,
        "Tokens that the model holds already when a prompt comes, as in a long conversation; "
        "several are measured one by one.",
        unit="tokens",
        search="none",
    )
    streams: int = parameter(
        1, "Requests that run at the same time.", unit="streams", search="none", ge=1, le=64
    )
    sustained_s: float = parameter(
        0.0,
        "Goes on for so long at the full rung, and tells the end's speed apart; 0: not at "
        "all. Must fit into search.job_time.",
        unit="s",
        search="none",
        ge=0,
        le=86400,
    )
    requests: int = parameter(
        0,
        "Requests of each stream that a candidate's first process times at the full rung, at "
        "least; 0: as many as fit into its time. A 95th percentile of `ttft_ms` needs 130.",
        unit="requests",
        search="none",
        ge=0,
        le=100_000,
    )
    cold_start: bool = parameter(
        False, "Tells the first request after the model was loaded apart.", search="none"
    )
    energy: bool | str = parameter(
        False,
        "Yields `energy_per_token_j`, by the device's own counters; text chooses them: `rapl`, "
        "`hwmon`, `hwmon:CHIP/CHANNEL`, `nvidia`, or several, joined by `+`.",
        search="none",
    )

    @field_validator("energy")
    @classmethod
    def _sources(cls, value: bool | str) -> bool | str:
        if isinstance(value, str) and not _SOURCES.fullmatch(value):
            raise ValueError(
                "expected true, false or counters: rapl, hwmon, hwmon:CHIP/CHANNEL, nvidia, or "
                "several, joined by +"
            )
        return value

    @field_validator("prompt_tokens", "context")
    @classmethod
    def _lengths(cls, value: int | list[int], info: object) -> int | list[int]:
        least = 1 if getattr(info, "field_name", "") == "prompt_tokens" else 0
        given = listed(value)
        if not given:
            raise ValueError("expected a length, or a list of some")
        if min(given) < least:
            raise ValueError(f"expected numbers of tokens from {least} on")
        if len(set(given)) < len(given):
            raise ValueError("expected each length once")
        return value


@dataclass(frozen=True)
class Case:
    """One length that is measured.

    Attributes:
        context: Tokens held before the prompt comes.
        prompt: Tokens of the prompt.
        new: Tokens decoded after it.
        suffix: What its metrics' names end in.
    """

    context: int
    prompt: int
    new: int
    suffix: str

    @property
    def before(self) -> int:
        """Tokens before the first one that is decoded: the place on a picture's axis."""
        return self.context + self.prompt

    @property
    def needed(self) -> int:
        """Tokens that the model's context must hold."""
        return self.before + self.new + 1


def listed(value: int | list[int]) -> list[int]:
    """Return one length or several as a list."""
    return value if isinstance(value, list) else [value]


def cases_of(params: GenerationParams) -> list[Case]:
    """Return the cases, the first one's metrics without a suffix.

    Each list is varied with the other at its first value: further prompts end in ``@LENGTH``,
    further contexts in ``_context@LENGTH``, so that no two cases can share a name.
    """
    prompts, contexts = listed(params.prompt_tokens), listed(params.context)
    new = params.new_tokens
    found = [Case(contexts[0], prompts[0], new, "")]
    found += [Case(contexts[0], length, new, f"@{length}") for length in prompts[1:]]
    found += [Case(length, prompts[0], new, f"_context@{length}") for length in contexts[1:]]
    return found


def longest_context(params: GenerationParams) -> int:
    """Return the most tokens that are held before a prompt comes; 0 if none ever are."""
    return max(listed(params.context))


def trace(length: int, vocabulary: int) -> list[int]:
    """Return the fixed token ids that every candidate runs."""
    draw = random.Random(0)
    low = _FIRST_TOKEN if vocabulary > 2 * _FIRST_TOKEN else min(3, vocabulary - 1)
    return [draw.randrange(low, vocabulary) for _ in range(length)]


def does_not_fit(case: Case, most: int | None) -> str | None:
    """Return why a case is too long for a model, or None."""
    if most is None or case.needed <= most:
        return None
    held = f"{case.context} held, " if case.context else ""
    return (
        f"{case.needed} tokens are needed ({held}{case.prompt} of the prompt, {case.new} decoded, "
        f"1 for the end), and the model's context holds {most}"
    )
