"""`paretune compare`: models side by side, measured in turns until it is known which is faster.

Each round runs every model once, in a process of its own and in a random order; what the machine
does meanwhile hits all of them alike. Of a round, each pair gives one ratio of medians. Rounds go
on until a verdict about every pair is sure, or the time is used up (`evaluators/sequential.py`).
"""

from __future__ import annotations

import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from paretune.data import DataCatalog
from paretune.entrants import Entrant
from paretune.errors import EvaluatorError, UsageError
from paretune.evaluators.sequential import (
    JOINT_CONFIDENCE,
    MARGIN,
    MedianSequence,
    Verdict,
    speed_verdict,
)
from paretune.jsontools import Json
from paretune.measurement import Measurement, Rung
from paretune.models import Model
from paretune.package import lay_out
from paretune.targets.base import Job, JobStatus, Limits, Target

PROTOCOL = "rounds-1"
BLOCK_S = 0.7
"""Seconds of sampling in one process, after it has warmed up."""
_LIMITS = Limits(seconds=600.0)
METRICS = ("decode_ms_p50", "ttft_ms_p50")
"""What is compared; a pair's verdict is the first one's."""

Blocks = Mapping[str, Mapping[str, float]]
"""Of one round: entrant to metric to the median of its process."""


@dataclass
class Contest:
    """The state of a comparison; knows nothing of where its numbers come from.

    Attributes:
        labels: The entrants.
        metrics: Times; less is better.
        margin: Share up to which two are the same.
        confidence: With which all verdicts hold together.
        rounds: How many there were.
    """

    labels: Sequence[str]
    metrics: Sequence[str] = METRICS
    margin: float = MARGIN
    confidence: float = JOINT_CONFIDENCE
    rounds: int = 0
    _sequences: dict[tuple[str, str, str], MedianSequence] = field(init=False)

    def __post_init__(self) -> None:
        keys = [(a, b, m) for a, b in combinations(self.labels, 2) for m in self.metrics]
        alpha = (1 - self.confidence) / len(keys)
        self._sequences = {key: MedianSequence(alpha) for key in keys}

    def add(self, blocks: Blocks) -> None:
        """Take one round into account."""
        self.rounds += 1
        for (a, b, metric), sequence in self._sequences.items():
            sequence.add(math.log(blocks[a][metric] / blocks[b][metric]))

    def verdict(self, a: str, b: str, metric: str) -> Verdict:
        """Return what is known of `a` against `b`."""
        return speed_verdict(self._sequences[a, b, metric], self.margin)

    @property
    def decided(self) -> bool:
        """True once there is a verdict about every pair and metric."""
        return all(
            speed_verdict(sequence, self.margin) is not Verdict.UNDECIDED
            for sequence in self._sequences.values()
        )

    def pairs(self) -> list[dict[str, Json]]:
        """Return each pair with its verdict: the first metric's, and each metric's own."""
        return [
            {"a": a, "b": b, **self._pair(a, b, self.metrics[0]),
             "metrics": {metric: self._pair(a, b, metric) for metric in self.metrics}}
            for a, b in combinations(self.labels, 2)
        ]  # fmt: skip

    def _pair(self, a: str, b: str, metric: str) -> dict[str, Json]:
        """Return ratios of times: below 1, `a` is faster."""
        sequence = self._sequences[a, b, metric]
        return {
            "metric": metric,
            "verdict": self.verdict(a, b, metric).value,
            "ratio": None if sequence.median is None else math.exp(sequence.median),
            "low": math.exp(sequence.low) if math.isfinite(sequence.low) else None,
            "high": math.exp(sequence.high) if math.isfinite(sequence.high) else None,
            "rounds": self.rounds,
        }


@dataclass(frozen=True)
class Workload:
    """What each block runs.

    Attributes:
        prompt_tokens: Length of the prompt.
        new_tokens: Tokens decoded after it.
        block_s: Seconds of sampling in a process.
    """

    prompt_tokens: int = 64
    new_tokens: int = 32
    block_s: float = BLOCK_S

    def params(self) -> dict[str, Json]:
        """Return the parameters of the evaluator ``generation``."""
        return {"prompt_tokens": self.prompt_tokens, "new_tokens": self.new_tokens}


def compare(
    entrants: Sequence[Entrant],
    target: Target,
    *,
    workload: Workload = Workload(),
    margin: float = MARGIN,
    time_s: float = 120.0,
    rounds: int | None = None,
    seed: int = 0,
    on_round: Callable[[Contest], None] = lambda contest: None,
    trust_remote_code: bool = False,
) -> dict[str, Json]:
    """Measure in rounds until every pair is decided.

    Args:
        entrants: What is compared.
        target: Where it runs.
        workload: What runs.
        margin: Share up to which two are the same.
        time_s: Seconds after which no further round begins.
        rounds: Most rounds; None: as many as the time allows.
        seed: Of the order within rounds.
        on_round: Told after each round.
        trust_remote_code: Whether code in a model's folder may run.

    Returns:
        ``entrants`` (with the pooled metrics), ``pairs`` (with verdicts), ``rounds`` (the median
        of each process), ``device`` and ``protocol``.

    Raises:
        UsageError: An entrant does not load or generate.
    """
    contest = Contest([e.label for e in entrants], margin=margin)
    order, seen = random.Random(seed), list[Blocks]()
    with Arena(entrants, target, workload, trust_remote_code=trust_remote_code) as arena:
        end = time.monotonic() + time_s
        while not contest.decided and (rounds is None or contest.rounds < rounds):
            if time.monotonic() >= end:
                break
            blocks = {e.label: medians(arena.block(e)) for e in shuffled(entrants, order)}
            seen.append(blocks)
            contest.add(blocks)
            on_round(contest)
    return {
        "protocol": PROTOCOL,
        "device": target.info().to_json(),
        "confidence": contest.confidence,
        "margin": margin,
        "workload": workload.params(),
        "entrants": [_row(e, seen) for e in entrants],
        "pairs": contest.pairs(),
        "decided": contest.decided,
        "rounds": [{label: dict(values) for label, values in blocks.items()} for blocks in seen],
    }


class Arena:
    """Packages laid out and seen to run; measures one of them at a time, in a new process.

    Args:
        entrants: What is measured.
        target: Where it runs.
        workload: What runs.
        trust_remote_code: Whether code in a model's folder may run.

    Raises:
        UsageError: On entering: an entrant does not load or generate.
    """

    def __init__(
        self,
        entrants: Sequence[Entrant],
        target: Target,
        workload: Workload = Workload(),
        *,
        trust_remote_code: bool = False,
    ) -> None:
        self._entrants, self._target, self._workload = entrants, target, workload
        self._shared: dict[str, Json] = {
            "evaluator": {"name": "generation", "params": workload.params()},
            "rung": Rung.FULL.value,
            "data": DataCatalog({}, Path.cwd()).to_json(),
            "trust_remote_code": trust_remote_code,
        }
        self._packages: dict[str, Model] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="paretune-")

    def __enter__(self) -> Arena:
        """Lay everything out, and run each once: files come into memory, faults to light."""
        for number, e in enumerate(self._entrants):
            place = Path(self._folder.name, str(number))
            self._packages[e.label] = lay_out(e.model, e.runtime, place, link=True)
            self.block(e, 0.0)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the packages."""
        self._folder.cleanup()

    def block(self, entrant: Entrant, seconds: float | None = None) -> list[Measurement]:
        """Measure one of them in a process of its own.

        Args:
            entrant: Which.
            seconds: Of sampling; None: the workload's.

        Raises:
            UsageError: It did not come to a good end.
        """
        payload = {
            **self._shared,
            "model": self._packages[entrant.label].to_json(),
            "runtime": entrant.runtime.to_json(),
            "budget": {
                "seconds": self._workload.block_s if seconds is None else seconds,
                "examples": None,
                "block": True,
            },
        }
        result = self._target.submit(Job("measure", payload, _LIMITS)).result()
        if result.status is JobStatus.CANCELLED:
            raise KeyboardInterrupt
        if result.status is not JobStatus.OK:
            raise UsageError(
                f"{entrant.label} could not be measured: {result.status}: {result.reason}",
                hint="`paretune bench FOLDER` measures it alone.",
            )
        return [Measurement.from_json(value) for value in result.value]


def shuffled(entrants: Sequence[Entrant], order: random.Random) -> list[Entrant]:
    """Return the entrants in the order of the next round."""
    return order.sample(list(entrants), len(entrants))


def medians(measured: Sequence[Measurement]) -> dict[str, float]:
    """Return one process's median of each compared metric."""
    by_name = {m.metric: m.value for m in measured}
    found = {name: by_name.get(name) for name in METRICS}
    for name, value in found.items():
        if value is None:
            raise EvaluatorError(f"a block of measuring has no {name}")
    return {name: value for name, value in found.items() if value is not None}


def _row(entrant: Entrant, seen: Sequence[Blocks]) -> dict[str, Json]:
    """Return what is shown of an entrant: medians of its processes' medians."""
    metrics: dict[str, Json] = {
        name: {"value": statistics.median(blocks[entrant.label][name] for blocks in seen),
               "unit": "ms", "n": len(seen)}
        for name in METRICS if seen
    }  # fmt: skip
    if seen:
        decode = metrics["decode_ms_p50"]["value"]
        metrics["decode_tokens_per_s"] = {
            "value": 1e3 / decode, "unit": "tokens/s", "n": len(seen)
        }  # fmt: skip
    size = sum(f.stat().st_size for f in entrant.model.path.rglob("*") if f.is_file())
    metrics["size_mb"] = {"value": size / 1e6, "unit": "MB", "n": 1}
    return {
        "label": entrant.label,
        "given": entrant.given,
        "about": entrant.about,
        "runtime": entrant.runtime.to_json(),
        "digest": entrant.model.digest,
        "metrics": metrics,
    }
