"""`paretune compare`: models measured interleaved until it is known which is faster.

Each round runs every model in a new process. The processes of a round are alive at the same time
and run alternately for a fraction of a second each, in random order, so disturbances of the machine
affect all of them equally. Each round gives one ratio per pair. Rounds continue until there is a
verdict about every pair, or the time is used up (`paretune/stats/sequential.py`).
"""

from __future__ import annotations

import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path

from paretune.comparing.subjects import Subject
from paretune.comparing.workloads import NetworkWorkload, Workload
from paretune.core.conditions import Conditions, worst
from paretune.core.errors import UsageError
from paretune.core.interference import watching
from paretune.core.job import Job, JobResult, Limits, Measure
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.core.permissions import Permissions
from paretune.core.target import Interleaves, Target
from paretune.data.catalog import DataCatalog
from paretune.models.handle import model_bytes
from paretune.runtimes.package import lay_out
from paretune.search.confirm.interleaved import (
    InterleavedRunner,
    NotMeasuredError,
    Packaged,
    ended_well,
)
from paretune.search.lost_targets import result_of, retried
from paretune.stats.pooling import log_ratio
from paretune.stats.sequential import (
    JOINT_CONFIDENCE,
    MARGIN,
    MedianSequence,
    Verdict,
    speed_verdict,
)

PROTOCOL = "rounds-2"
_LIMITS = Limits(seconds=600.0)

_TOKENS = Workload()

Blocks = Mapping[str, Mapping[str, Sequence[float]]]
"""One round: label to metric to the medians of the process's blocks, in order."""


@dataclass
class PairwiseComparison:
    """The state of a comparison; it does not depend on where the numbers come from.

    Attributes:
        labels: Names of the compared models.
        metrics: Times; less is better.
        margin: Relative difference up to which two models are the same.
        confidence: Joint confidence of all verdicts.
        rounds: Number of rounds so far.
    """

    labels: Sequence[str]
    metrics: Sequence[str] = Workload.metrics
    margin: float = MARGIN
    confidence: float = JOINT_CONFIDENCE
    rounds: int = 0
    _sequences: dict[tuple[str, str, str], MedianSequence] = field(init=False)

    def __post_init__(self) -> None:
        keys = [(a, b, m) for a, b in combinations(self.labels, 2) for m in self.metrics]
        alpha = (1 - self.confidence) / len(keys)
        self._sequences = {key: MedianSequence(alpha) for key in keys}

    def add(self, blocks: Blocks) -> None:
        """Add one round."""
        self.rounds += 1
        for (a, b, metric), sequence in self._sequences.items():
            sequence.add(log_ratio(blocks[a][metric], blocks[b][metric]))

    def verdict(self, a: str, b: str, metric: str) -> Verdict:
        """Return the current verdict about `a` compared with `b`."""
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
            {
                "a": a,
                "b": b,
                **self._pair(a, b, self.metrics[0]),
                "metrics": {metric: self._pair(a, b, metric) for metric in self.metrics},
            }
            for a, b in combinations(self.labels, 2)
        ]

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


def compare(
    subjects: Sequence[Subject],
    target: Target,
    *,
    workload: Workload | NetworkWorkload = _TOKENS,
    margin: float = MARGIN,
    time_s: float = 120.0,
    rounds: int | None = None,
    seed: int = 0,
    on_round: Callable[[PairwiseComparison], None] = lambda contest: None,
    trust_remote_code: bool = False,
) -> dict[str, Json]:
    """Measure in rounds until every pair is decided.

    Args:
        subjects: What is compared.
        target: Where it runs.
        workload: What runs.
        margin: Relative difference up to which two models are the same.
        time_s: Seconds after which no further round begins.
        rounds: Maximum number of rounds; None: as many as the time allows.
        seed: Seed of the order within rounds.
        on_round: Called after each round.
        trust_remote_code: Whether code in a model's folder may run.

    Returns:
        ``entrants`` (with the pooled metrics), ``pairs`` (with verdicts), ``rounds`` (the medians
        of each process's blocks), ``in_turns`` (whether the models were interleaved, or ran one
        after another), ``interference`` (shares of the CPU time used by other processes),
        ``conditions`` (what the device's sensors reported), ``device`` and ``protocol``.

    Raises:
        UsageError: One of them does not load or generate.
    """
    contest = PairwiseComparison([e.label for e in subjects], workload.metrics, margin)
    order, seen, conditions = random.Random(seed), list[Blocks](), list[Conditions]()
    with (
        ComparedModels(subjects, target, workload, trust_remote_code=trust_remote_code) as models,
        watching() as watch,
    ):
        end = time.monotonic() + time_s
        while not contest.decided and (rounds is None or contest.rounds < rounds):
            if time.monotonic() >= end:
                break
            measured = models.round(order)
            conditions += [
                m.details.conditions
                for found in measured.values()
                for m in found
                if m.details.conditions is not None
            ]
            blocks = {label: medians(found, workload) for label, found in measured.items()}
            seen.append(blocks)
            contest.add(blocks)
            on_round(contest)
    return {
        "protocol": PROTOCOL,
        "device": target.info().to_json(),
        "confidence": contest.confidence,
        "margin": margin,
        "workload": workload.params(),
        "entrants": [_row(e, seen, workload.metrics) for e in subjects],
        "pairs": contest.pairs(),
        "decided": contest.decided,
        "in_turns": models.together,
        "interference": asdict(watch.seen),
        "conditions": (worst(conditions) or Conditions()).to_json(),
        "rounds": [
            {
                label: {name: list(turns) for name, turns in values.items()}
                for label, values in blocks.items()
            }
            for blocks in seen
        ],
    }


@dataclass(frozen=True)
class _OnTarget:
    """Runs jobs on a target, without limits but those of each job; what is lost is repeated."""

    target: Target

    def submit(self, job: Job) -> JobResult:
        return result_of(self.target, job)

    def interleave(self, jobs: list[Job], order: random.Random) -> list[JobResult]:
        target = self.target
        assert isinstance(target, Interleaves)
        return retried(lambda: target.interleave(jobs, order))


class ComparedModels:
    """Writes the packages, checks that each runs, and measures them interleaved or one alone.

    Args:
        subjects: What is measured.
        target: Where it runs.
        workload: What runs.
        trust_remote_code: Whether code in a model's folder may run.

    Raises:
        UsageError: On entering: one of them does not load or generate.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        target: Target,
        workload: Workload | NetworkWorkload = _TOKENS,
        *,
        trust_remote_code: bool = False,
    ) -> None:
        self._subjects, self._target, self._workload = subjects, target, workload
        self._data = DataCatalog({}, Path.cwd()).to_json()
        self._permissions = Permissions(remote_code=trust_remote_code)
        self._packages: dict[str, Packaged] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="paretune-")

    def __enter__(self) -> ComparedModels:
        """Write all packages and run each once, to fill the file cache and to show errors early."""
        try:
            for number, e in enumerate(self._subjects):
                place = Path(self._folder.name, str(number))
                package = lay_out(e.model, e.runtime, place, link=True)
                self._packages[e.label] = Packaged(package, e.runtime)
                medians(self.block(e, 0.0), self._workload)
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the packages."""
        self._folder.cleanup()

    @cached_property
    def _runner(self) -> InterleavedRunner[str]:
        return InterleavedRunner(self._packages, self._target, _OnTarget(self._target))

    @property
    def together(self) -> bool:
        """Whether all fit into memory at once, and so are interleaved."""
        return self._runner.together

    def round(self, order: random.Random) -> dict[str, list[Measurement]]:
        """Measure each of them in a new process: interleaved, or one after another.

        Args:
            order: Draws the order.

        Raises:
            UsageError: One of them did not end normally.
        """
        try:
            results = self._runner.round(order, lambda label: self._job(label, None))
        except NotMeasuredError as error:
            raise _refused(error) from error
        return {label: _values(result) for label, (result, _) in results.items()}

    def block(self, subject: Subject, seconds: float | None = None) -> list[Measurement]:
        """Measure one of them in a process of its own, while nothing else runs.

        Args:
            subject: Which.
            seconds: Of sampling; None: the workload's.

        Raises:
            UsageError: It did not end normally.
        """
        job = self._job(subject.label, seconds)
        try:
            result = ended_well(subject.label, result_of(self._target, job))
        except NotMeasuredError as error:
            raise _refused(error) from error
        return _values(result)

    def _job(self, label: str, seconds: float | None) -> Job:
        package = self._packages[label]
        task = Measure(
            model=package.model,
            runtime=package.runtime,
            evaluator=self._workload.evaluator,
            params=self._workload.params(),
            seconds=self._workload.block_s if seconds is None else seconds,
            block=True,
            data=self._data,
            permissions=self._permissions,
        )
        return Job(task, _LIMITS)


def _values(result: JobResult) -> list[Measurement]:
    measured: list[Measurement] = result.value
    return measured


def _refused(error: NotMeasuredError) -> UsageError:
    return UsageError(
        f"{error.key} could not be measured: {error}",
        hint="`paretune bench FOLDER` measures this model alone.",
    )


def medians(
    measured: Iterable[Measurement], workload: Workload | NetworkWorkload = _TOKENS
) -> dict[str, list[float]]:
    """Return one process's medians of each compared metric: of each block, or of all samples.

    Raises:
        UsageError: One of them has no value.
    """
    by_name = {m.metric: m for m in measured}
    found: dict[str, list[float]] = {}
    for name in workload.metrics:
        m = by_name.get(name)
        if m is None or m.value is None:
            why = "" if m is None or m.reason is None else f": {m.reason}"
            raise UsageError(
                f"this workload gives no value of {name}{why}",
                hint=workload.options,
            )
        found[name] = list(m.details.turns or (m.value,))
    return found


def _row(subject: Subject, seen: Sequence[Blocks], names: Sequence[str]) -> dict[str, Json]:
    """Return one model's row: the medians of the medians of its processes."""
    metrics: dict[str, Json] = {
        name: {
            "value": statistics.median(
                statistics.median(blocks[subject.label][name]) for blocks in seen
            ),
            "unit": "ms",
            "n": len(seen),
        }
        for name in names
        if seen
    }
    if seen and "decode_ms_p50" in metrics:
        decode = metrics["decode_ms_p50"]["value"]
        metrics["decode_tokens_per_s"] = {"value": 1e3 / decode, "unit": "tokens/s", "n": len(seen)}
    metrics["size_mb"] = {"value": model_bytes(subject.model) / 1e6, "unit": "MB", "n": 1}
    return {
        "label": subject.label,
        "given": subject.given,
        "about": subject.about,
        "runtime": subject.runtime.to_json(),
        "digest": subject.model.digest,
        "metrics": metrics,
    }
