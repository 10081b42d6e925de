"""Reads earlier studies as priors of a search (`search: {from: [...]}`, ``--from``).

They are only read: neither locked nor changed. What is wrong with one is refused before anything
runs. A study that is known from an earlier run of this one only (`paretune.study.remembered`) and
cannot be used any more is left out with a note: no outcome depends on it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.core.candidate import counted
from paretune.core.errors import ParetuneError, StateError, UsageError
from paretune.core.jsontools import Json, canonical, parse_json, read_json
from paretune.core.measurement import Measurement, MetricSpec
from paretune.core.result import OutcomeKind, TrialResult
from paretune.registry import find_pass
from paretune.search.priors import Prior
from paretune.search.space import Space
from paretune.search.space_mapping import Mapped, SpaceMapping
from paretune.study.folder import read_outcomes
from paretune.study.remembered import Remembered

if TYPE_CHECKING:
    from paretune.config.plan import EarlierStudy, Plan

_BROKEN = (
    OutcomeKind.FAILED,
    OutcomeKind.CRASHED,
    OutcomeKind.INVALID,
    OutcomeKind.TIMEOUT,
    OutcomeKind.OUT_OF_MEMORY,
)
_REASONS = 3


@dataclass(frozen=True)
class Earlier:
    """The earlier studies of a search.

    Attributes:
        priors: By folder; their order in the configuration does not matter.
        notes: Sentences for the user.
        lost: Folders that are remembered and cannot be used now.
    """

    priors: tuple[Prior, ...] = ()
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    def remember(self, study: Path) -> Remembered:
        """Write into a study which ones its search uses; returns what it says now."""
        now = (*(prior.study for prior in self.priors), *self.lost)
        found = Remembered.read(study).now(sorted(now))
        found.write(study)
        return found


def read_earlier(
    plan: Plan,
    specs: Sequence[MetricSpec],
    identity: Mapping[str, Json],
    fingerprint: str,
    study: Path,
) -> Earlier:
    """Return the priors of a search.

    Args:
        plan: The configuration; it names the studies.
        specs: What this search measures.
        identity: Of this search (`paretune.study.identity`).
        fingerprint: Of the device that measures.
        study: The study of this search, which may remember earlier ones.

    Raises:
        UsageError: A study that is named cannot be used here, or is this one.
        StateError: A study that is named is damaged, or was written by a later version.
    """
    reader = _Reader(plan, specs, identity, fingerprint)
    remembered = Remembered.read(study)
    found: dict[str, Prior] = {}
    notes: list[str] = []
    if plan.search.earlier is None:
        for path in map(Path, remembered.studies):
            try:
                found[str(path)] = reader.read(path)
            except ParetuneError as error:
                notes.append(
                    f"{str(path)!r}, which gave this search priors before, is left out: "
                    f"{error.message}"
                )
    for named in plan.search.earlier or ():
        path = Path(os.path.realpath(named.path))
        try:
            if path == Path(os.path.realpath(study)):
                raise UsageError(
                    f"{str(named.path)!r} is the study of this search: its outcomes are results",
                    hint="Name studies of other devices, models or data.",
                )
            found[str(path)] = reader.read(path)
        except UsageError as error:
            raise _placed(plan, named, error) from error
        except StateError as error:
            raise StateError(
                f"{error.message}; the search takes priors from this study",
                hint=f"Leave the study out of its priors. To use it: {error.hint or 'mend it.'}",
            ) from error
    priors = tuple(found[path] for path in sorted(found))
    notes += [sentence(prior) for prior in priors]
    gone = sorted(set(remembered.studies) - found.keys())
    if plan.search.earlier is not None and gone:
        notes.append(
            f"priors of {', '.join(gone)} are not used any more: this search names others; the "
            "outcomes of this study stay valid"
        )
    lost = () if plan.search.earlier is not None else gone
    return Earlier(priors, tuple(notes), tuple(lost))


def _placed(plan: Plan, named: EarlierStudy, error: UsageError) -> UsageError:
    """Return an error at the key that names a study, or at the option."""
    if named.key is None:
        return UsageError(f"--from: {error.message}", hint=error.hint)
    return plan.wrong_at(named.key, error.message, error.hint)


def sentence(prior: Prior) -> str:
    """Return what of a study enters a search."""
    entered = f"{len(prior.results)} of {counted(prior.outcomes, 'outcome')}"
    metrics = ", ".join(prior.metrics) or "success"
    told = f"priors: {entered} of {prior.study} ({origin(prior)}) enter the forecasts of {metrics}"
    near = len(prior.results) - prior.exact
    if near:
        told += f"; {near} of them for the nearest candidate of this space"
    if prior.ignored:
        told += (
            f"; ignored: {prior.ignored}, which stand for nothing in this space or have no value"
        )
    return told


def no_use(strategy: str) -> str:
    """Return that a strategy takes no priors."""
    named = "strategy of auto for this space" if strategy == "auto" else f"strategy {strategy}"
    return (
        f"the {named} takes no priors: what the earlier studies yielded changes nothing "
        "here; `search: {strategy: chains}` uses it"
    )


def origin(prior: Prior) -> str:
    """Return how a study's device, model and data relate to those of this search."""
    parts = {"device": prior.same_device, "model": prior.same_model, "data": prior.same_data}
    other = [name for name, same in parts.items() if not same]
    same = [name for name, is_same in parts.items() if is_same]
    told = [f"other {_joined(other)}"] if other else []
    return ", ".join(told + ([f"same {_joined(same)}"] if same else []))


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


class _Reader:
    def __init__(
        self,
        plan: Plan,
        specs: Sequence[MetricSpec],
        identity: Mapping[str, Json],
        fingerprint: str,
    ) -> None:
        self._space: Space = plan.space
        self._specs = {spec.name: spec for spec in specs}
        asked = [*(o.metric for o in plan.objectives), *(c.metric for c in plan.constraints)]
        self._asked = tuple(dict.fromkeys(asked))
        self._identity = parse_json(canonical(dict(identity)))
        self._fingerprint = fingerprint

    def read(self, folder: Path) -> Prior:
        """Return a study as a prior.

        Raises:
            UsageError: The folder is not a study, or not one of this space and these metrics.
            StateError: It is damaged, or was written by a later version.
        """
        if not folder.is_dir():
            raise UsageError(
                f"{str(folder)!r} is not a folder", hint="Name a study that a search wrote."
            )
        if not (folder / "candidates").is_dir():
            raise UsageError(
                f"{str(folder)!r} is not a study: it has no candidates/",
                hint="Name a folder that `paretune search` wrote, such as studies/tone.",
            )
        outcomes = read_outcomes(folder, samples=False)
        if not outcomes:
            raise UsageError(
                f"study {str(folder)!r} has no outcomes yet", hint="Leave it out, or search it."
            )
        identity = _object(folder / "identity.json")
        results, exact, reasons = self._mapped(outcomes)
        there = {name for result in results for name in result.measurements or {}}
        if sum(reasons.values()) == sum(map(_tells_anything, outcomes)):
            raise UsageError(
                f"none of the {counted(len(outcomes), 'outcome')} of study {str(folder)!r} stands "
                f"for a candidate of this space{_told(reasons)}",
                hint="Leave it out; a study helps if it has the same passes, with values that "
                "this space has or lies around.",
            )
        if not there.intersection(self._asked):
            measured = {(n, m.unit) for o in outcomes for n, m in (o.measurements or {}).items()}
            has = ", ".join(f"{name} ({unit})" for name, unit in sorted(measured)) or "none"
            raise UsageError(
                f"study {str(folder)!r} has no value of a metric that this search is about: "
                f"expected {', '.join(self._asked)}; it has {has}",
                hint="Leave it out, or measure the same metrics, in the same units.",
            )
        return Prior(
            str(folder),
            identity.get("device") == self._fingerprint,
            identity.get("model") == self._identity["model"],
            all(_contents(identity, key) == _contents(self._identity, key) for key in _DATA),
            _texts(identity) == _texts(self._identity),
            len(outcomes),
            results,
            exact,
        )

    def _mapped(
        self, outcomes: Sequence[TrialResult]
    ) -> tuple[tuple[TrialResult, ...], int, Counter[str]]:
        """Return the results that stand for candidates here, how many exactly, and why not more."""
        telling = list(filter(_tells_anything, outcomes))
        mapping = SpaceMapping(self._space, (o.candidate for o in telling), _defaults)
        reasons: Counter[str] = Counter()
        nearest: dict[str, tuple[tuple[float, bool, int], TrialResult]] = {}
        for outcome in telling:
            found = mapping.of(outcome.candidate)
            if isinstance(found, str):
                reasons[found] += 1
                continue
            result = self._result(outcome, found)
            if result is None:
                continue
            rank = (found.distance, not found.settings, outcome.id)
            known = nearest.get(found.candidate.digest)
            if known is None or rank < known[0]:
                nearest[found.candidate.digest] = (rank, result)
        kept = sorted(nearest.values(), key=lambda each: each[1].id)
        exact = sum(distance == 0 and not other for (distance, other, _), _ in kept)
        return tuple(result for _, result in kept), exact, reasons

    def _result(self, outcome: TrialResult, found: Mapped) -> TrialResult | None:
        """Return an outcome as the result of the candidate that it stands for."""
        shared = {
            name: measured
            for name, measured in (outcome.measurements or {}).items()
            if self._tells(measured, found)
        }
        broken = outcome.kind in _BROKEN and found.settings
        if not shared and not broken:
            return None
        return replace(outcome, candidate=found.candidate, measurements=shared)

    def _tells(self, measured: Measurement, found: Mapped) -> bool:
        spec = self._specs.get(measured.metric)
        if spec is None or spec.unit != measured.unit or measured.value is None:
            return False
        return measured.details.taken_from is None and (found.settings or not spec.device)


_DATA = ("data", "training")


def _tells_anything(outcome: TrialResult) -> bool:
    return outcome.kind is not OutcomeKind.SKIPPED and not outcome.transient


def _contents(identity: Mapping[str, Json], key: str) -> list[str]:
    """Return the digests of data sets, whatever their names."""
    found = identity.get(key) or {}
    return sorted({str(digest) for digest in found.values()}) if isinstance(found, dict) else []


def _texts(identity: Mapping[str, Json]) -> list[str]:
    found = identity.get("evaluators") or []
    return sorted(canonical(each) for each in found) if isinstance(found, list) else []


def _told(reasons: Counter[str]) -> str:
    shown = reasons.most_common(_REASONS)
    return ": " + "; ".join(f"{n} x {reason}" for reason, n in shown) if shown else ""


def _object(file: Path) -> dict[str, Json]:
    try:
        found = read_json(file)
        if isinstance(found, dict):
            return found
        why = f"expected an object, found a {type(found).__name__}"
    except FileNotFoundError:
        why = "it is missing, and says which model, data and device the outcomes belong to"
    except ValueError as error:
        why = f"{type(error).__name__}: {error}"
    raise StateError(f"{file} cannot be read: {why}", hint="Restore it, or leave the study out.")


@cache
def _defaults(name: str) -> Mapping[str, Json]:
    """Return the defaults of a pass's parameters; of a pass that is not installed, none."""
    try:
        fields = find_pass(name).Params.model_fields
    except UsageError:
        return {}
    known = {n: f.get_default(call_default_factory=True) for n, f in fields.items()}
    plain = {n: _plain(v) for n, v in known.items() if not fields[n].is_required()}
    return {name: value for name, value in plain.items() if value is not NotImplemented}


def _plain(value: object) -> Json:
    try:
        return parse_json(canonical(value))
    except (TypeError, ValueError):
        return NotImplemented
