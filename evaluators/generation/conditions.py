"""What `generation` keeps with its measurements: the use that was timed, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from paretune.core.jsontools import Json
from paretune.core.part import Part


@dataclass(frozen=True)
class Conditions(Part):
    """The use that was timed, beside the lengths of prompt and answer.

    Attributes:
        context: Tokens held before the prompt comes.
        streams: Requests at the same time.
        threads: Of the runtime.
    """

    context: int
    streams: int
    threads: int


@dataclass(frozen=True)
class Sampled(Part):
    """How much was sampled.

    Attributes:
        protocol: Name and least sampling of the protocol.
        warm_up: Requests before the first one that counts, and their seconds.
        requests: Requests that count.
        seconds: How long they took together.
        requests_per_stream: Of several streams: the requests of each.
        cut_off: Of several streams: requests that ended after another stream, and do not count.
        tokens_per_s_with_prompts: Of several streams: decoded tokens per second of all time.
    """

    protocol: Mapping[str, Json]
    warm_up: Mapping[str, Json]
    requests: int
    seconds: float
    requests_per_stream: tuple[int, ...] | None = None
    cut_off: int | None = None
    tokens_per_s_with_prompts: float | None = None


@dataclass(frozen=True)
class Course(Part):
    """How the speed went in a long run.

    Attributes:
        seconds: Of the run.
        requests: That it had.
        tenths_ms: Median milliseconds per token in each tenth of the time.
        first_tenth_ms: The first of them.
        relative: Change of the last against the first.
    """

    seconds: float
    requests: int
    tenths_ms: tuple[float, ...]
    first_tenth_ms: float
    relative: float
