"""What a measurement holds beside its value and samples; the only place where it becomes JSON.

`Details` has a typed field for everything that another part reads: pairing by example, bounds,
processes, notes. What one evaluator alone reads and shows is a dataclass of that evaluator. Its
JSON lies in `Details.extra`, as a plug-in's own keys do. In ``measurements.json`` all of them lie
side by side under ``details``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, TypeVar

from paretune.core.conditions import Conditions
from paretune.core.jsontools import Json, canonical
from paretune.core.on_disk import MayBeOnDisk
from paretune.core.part import Part, plain

P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class CpuTaken(Part):
    """CPU time that others used while something was timed, as shares of the whole (0 to 1).

    Attributes:
        others: Used by other programs on this machine.
        stolen: Used by other machines on the same hardware.
        processes: How many of several pooled processes were disturbed, where the shares are the
            largest of theirs; None: the shares are of one process.
    """

    others: float
    stolen: float
    processes: int | None = None


@dataclass(frozen=True)
class ProcessValue(Part):
    """What one process measured of a metric.

    Attributes:
        n: Number of samples.
        value: Its value, in the metric's unit.
        round: Round of a comparison that it was measured in; None: in none.
        turns: Medians of its turns in that round.
        level: Factor that makes its value comparable with values of another hour; None: none.
        interference: What others used meanwhile; None: too little to matter.
        conditions: What the device's sensors reported; None: they were not read.
    """

    n: int
    value: float
    round: int | None
    turns: tuple[float, ...] = ()
    level: float | None = None
    interference: CpuTaken | None = None
    conditions: Conditions | None = None

    @property
    def rescaled(self) -> float:
        """The value times the level."""
        return self.value if self.level is None else self.value * self.level

    @property
    def disturbed(self) -> bool:
        """Whether its value alone is not used: others or throttling disturbed it in a round."""
        return self.round is not None and (self.interference is not None or self.throttled)

    @property
    def throttled(self) -> bool:
        """Whether the device reported that it was throttled meanwhile."""
        return self.conditions is not None and bool(self.conditions.throttled)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        known = {name: _READERS[name](value[name]) for name in OF_ONE_PROCESS if name in value}
        return cls(value.get("n", 0), value.get("value", math.nan), value.get("round"), **known)


OF_ONE_PROCESS = ("turns", "level", "interference", "conditions")
"""Fields of `Details` that say something of a single process."""


@dataclass(frozen=True)
class Outliers(Part):
    """Numbers of samples beyond Tukey's fences; none of them is left out."""

    severe_low: int
    mild_low: int
    mild_high: int
    severe_high: int

    @property
    def severe(self) -> int:
        """Those beyond the outer fences."""
        return self.severe_low + self.severe_high

    @property
    def count(self) -> int:
        """All of them."""
        return self.severe + self.mild_low + self.mild_high


@dataclass(frozen=True)
class Drift(Part):
    """How the second half of a run compares with the first.

    Attributes:
        relative: Change of the second half's median; None: too few samples.
        p: How often chance alone makes the halves differ so much.
        drifts: Whether that is too rare for chance.
        of: Number of processes that `p` is the smallest of.
    """

    relative: float | None
    p: float
    drifts: bool
    of: int = 1


@dataclass(frozen=True)
class SpreadUsed(Part):
    """The spread between processes that an interval draws on.

    Attributes:
        candidates: How many candidates it was estimated from.
    """

    candidates: int

    def to_json(self) -> dict[str, Json]:
        """Return ``{"from": candidates}``."""
        return {"from": self.candidates}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(value["from"])


BY_EXAMPLE = ("rows", "windows_seen", "tokens_scored", "order", "of_rows", "scores")
"""Fields of `Details` that are as long as there are samples: they may be on disk."""


@dataclass(frozen=True, eq=False)
class Details(Mapping[str, Json]):
    """What a measurement holds beside its value and samples.

    Plug-ins of version 0.1 wrote and read a mapping, so this is one as well: of what the files
    hold. This package's own code uses the fields.

    Attributes:
        early: The evaluator's last rung is still to come.
        final: Bounds of the value at the last rung, if the evaluator itself knows them.
        rows: Which examples the samples belong to, by number (a plug-in may use names).
        windows_seen: Of a perplexity: which windows the samples belong to, by number.
        tokens_scored: Of a perplexity: the number of scored tokens of each of these windows.
        order: Of a perplexity: `windows_seen` in the order of measuring.
        of_rows: Of a macro F1: row, right class and predicted class of each example.
        scores: Of a metric that is not a mean over examples: what each row says of it
            (`paretune.stats.intervals.jackknife_scores`).
        processes: Of a pooled speed: what each process measured.
        spread: Of a pooled speed: the spread in the study that its interval draws on.
        turns: Of a speed: medians of the turns in which one process measured.
        level: Of a speed: see `ProcessValue`.
        interference: Of a speed: what others used of the processor meanwhile.
        conditions: Of a metric of the device: what its sensors reported; of several pooled
            processes the worst.
        outliers: Of a timed value: how many samples are outliers.
        drift: Of a timed value: whether it changed during the run.
        prompt_tokens: Of a timed generation: tokens of the prompt.
        new_tokens: Of a timed generation: tokens after it.
        data: The data set, where it is not the one that the candidates are compared on.
        non_finite_samples: How many samples were left out because they are not finite.
        taken_from: The candidate that measured the value, where it is another one of the same
            structure (`search/sharing.py`); None: it was measured on this one.
        extra: Further keys, of one evaluator.
    """

    early: bool = False
    final: tuple[float, float] | None = None
    rows: MayBeOnDisk[tuple[Any, ...] | None] = MayBeOnDisk(None)
    windows_seen: MayBeOnDisk[tuple[int, ...] | None] = MayBeOnDisk(None)
    tokens_scored: MayBeOnDisk[tuple[int, ...] | None] = MayBeOnDisk(None)
    order: MayBeOnDisk[tuple[int, ...] | None] = MayBeOnDisk(None)
    of_rows: MayBeOnDisk[tuple[tuple[int, int, int], ...] | None] = MayBeOnDisk(None)
    scores: MayBeOnDisk[tuple[float, ...] | None] = MayBeOnDisk(None)
    processes: tuple[ProcessValue, ...] | None = None
    spread: SpreadUsed | None = None
    turns: tuple[float, ...] = ()
    level: float | None = None
    interference: CpuTaken | None = None
    conditions: Conditions | None = None
    outliers: Outliers | None = None
    drift: Drift | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    data: str | None = None
    non_finite_samples: int | None = None
    taken_from: int | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Return what the files hold under ``details``."""
        found = dict(self.extra)
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name != "extra" and value != f.default:
                found[f.name] = plain(value)
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Details:
        """Read what `to_json` wrote, or what a plug-in gave.

        A key with the name of a field and a value that the field cannot have is the plug-in's own.
        """
        if isinstance(value, Details):
            return value
        known: dict[str, Any] = {}
        extra: dict[str, Json] = {}
        for key, given in value.items():
            try:
                known[key] = _READERS[key](given)
            except (AttributeError, KeyError, TypeError, ValueError):
                extra[key] = given
        return cls(**known, extra=extra)

    def adding(self, part: Part) -> Details:
        """Return the same with an evaluator's own dataclass among the further keys."""
        return replace(self, extra={**self.extra, **part.to_json()})

    def part(self, kind: type[P]) -> P | None:
        """Return what `adding` added, as its dataclass; None if a key is missing."""
        own = {f.name: self.extra[f.name] for f in fields(kind) if f.name in self.extra}
        try:
            return kind.from_json(own)
        except TypeError:
            return None

    def __getitem__(self, key: str) -> Json:
        return self.to_json()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_json())

    def __len__(self) -> int:
        return len(self.to_json())

    def __hash__(self) -> int:
        return hash(canonical(self.to_json()))


def _reader(*kinds: type) -> Callable[[Any], Any]:
    """Return a function that takes a value of these types, and no boolean for a number."""

    def read(value: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(f"expected {kinds}, found {value!r}")
        return value

    return read


def _sequence(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    listed = _reader(list, tuple)
    return lambda value: tuple(map(read, listed(value)))


def _part(kind: type[Part]) -> Callable[[Any], Part]:
    return lambda value: value if isinstance(value, kind) else kind.from_json(value)


def _bounds(value: Any) -> tuple[float, float]:
    low, high = value
    return float(low), float(high)


_number, _whole = _reader(int, float), _reader(int)
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "early": bool,
    "final": _bounds,
    "rows": _sequence(_reader(int, str)),
    "windows_seen": _sequence(_whole),
    "tokens_scored": _sequence(_whole),
    "order": _sequence(_whole),
    "of_rows": _sequence(_sequence(_whole)),
    "scores": _sequence(_number),
    "processes": _sequence(_part(ProcessValue)),
    "spread": _part(SpreadUsed),
    "turns": _sequence(_number),
    "level": _number,
    "interference": _part(CpuTaken),
    "conditions": _part(Conditions),
    "outliers": _part(Outliers),
    "drift": _part(Drift),
    "prompt_tokens": _whole,
    "new_tokens": _whole,
    "data": _reader(str),
    "non_finite_samples": _whole,
    "taken_from": _whole,
}
