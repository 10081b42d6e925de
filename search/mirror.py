"""The study in Optuna's storage, so that optuna-dashboard opens it; never read back as truth."""

from __future__ import annotations

import math
import sqlite3
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune.core.candidate import describe
from paretune.core.jsontools import Json, canonical
from paretune.core.result import TrialResult
from paretune.search.constraints import Objective
from paretune.search.mirror_rows import TrialRows, held, insert, rows_of
from paretune.search.space import Chain, PassSlot, Space, Stage

_LOCKED_FOR_S = 2.0
"""How long another program's lock is waited for; the mirror is behind then, until the end."""
_LISTED = 100


class Mirror:
    """One finished trial an outcome, in ``study.db``.

    Optuna wants every trial's parameter to have the same choices. They come from the space; a
    value from outside of it (a baseline, an older configuration) has the file rewritten.

    Args:
        path: The SQLite file.
        name: The study's name.
        objectives: In order.
        space: Where parameters' values come from.
    """

    def __init__(
        self, path: Path, name: str, objectives: Sequence[Objective], space: Space | None = None
    ) -> None:
        self._path = path
        self._name = name
        self._objectives = tuple(objectives)
        self._values: dict[str, dict[Json, None]] = {}
        self._distributions: dict[str, tuple[Any, str]] = {}
        self._added: list[tuple[TrialResult, tuple[float, ...]]] = []
        self._connection: sqlite3.Connection | None = None
        self._number = 0
        if space is not None:
            for stage in space.stages:
                self._learn_stage(stage)
            for grid in space.every_grid:
                self._learn({"name": (grid.name,), **grid.grid} if grid.name else grid.grid)

    def _learn_stage(self, stage: Stage) -> None:
        if isinstance(stage, PassSlot):
            self._learn({f"{stage.name}.{param}": v for param, v in stage.grid.items()})
            return
        for inner in stage.stages if isinstance(stage, Chain) else stage.options:
            self._learn_stage(inner)

    def _learn(self, values: Mapping[str, Sequence[Json]]) -> bool:
        """Add values to what is known; returns whether any was new."""
        new = False
        for name, some in values.items():
            known = self._values.setdefault(name, {})
            fresh = dict.fromkeys(v for v in map(_plain, some) if v not in known)
            known |= fresh
            if fresh:
                self._distributions.pop(name, None)
            new = new or bool(fresh)
        return new

    def _stored(self, name: str, value: Json) -> tuple[float, str]:
        """Return the number that stands for a value, and the choices as JSON."""
        from optuna.distributions import distribution_to_json

        if name not in self._distributions:
            made = _distribution(tuple(self._values[name]))
            self._distributions[name] = made, distribution_to_json(made)
        distribution, text = self._distributions[name]
        return float(distribution.to_internal_repr(value)), text

    def rebuild(
        self,
        outcomes: Sequence[TrialResult],
        violations: Callable[[TrialResult], Sequence[float]] = lambda outcome: (),
    ) -> None:
        """Have the file hold these outcomes; it may be missing, stale or damaged.

        What it holds of them already stays, if that is how they begin; else the file is rewritten.

        Args:
            outcomes: All of the study.
            violations: By how much an outcome breaks each constraint.
        """
        self._added = [(outcome, tuple(violations(outcome))) for outcome in outcomes]
        for outcome in outcomes:
            self._learn({name: (value,) for name, value in _parameters(outcome).items()})
        self.close()
        trials = [self._trial(*added) for added in self._added]
        count = self._held(trials)
        if count is None:
            self._write(trials)
        elif count < len(trials):
            self._insert(trials[count:])

    def _held(self, trials: Sequence[TrialRows]) -> int | None:
        """Open the file; returns how many trials it holds, None if it is not how these begin."""
        import optuna

        if not self._path.is_file():
            return None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage: Any = None
        try:
            storage = self._storage()
            study = optuna.load_study(study_name=self._name, storage=storage)
            same = study.metric_names == [o.metric for o in self._objectives] and [
                d.name.lower() for d in study.directions
            ] == [o.direction for o in self._objectives]
            self._open(study)
            assert self._connection is not None
            count = held(self._connection, self._number, trials) if same else None
        # Damaged, of another version, of another name: whatever is raised, it is written anew.
        except Exception:
            count = None
        finally:
            if storage is not None:
                storage.remove_session()
        if count is None:
            self.close()
        return count

    def _storage(self) -> Any:
        import optuna

        # Not by an address: "?", "%" and "#" in a folder's name mean something else there.
        return optuna.storages.RDBStorage(
            "sqlite:///study.db", engine_kwargs={"creator": self._connect}
        )

    def _open(self, study: Any) -> None:
        """Connect to the file for what is added."""
        self._connection, self._number = self._connect(), study._study_id

    def _write(self, trials: Sequence[TrialRows]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.discard()
        storage = self._storage()
        try:
            study = optuna.create_study(
                storage=storage,
                study_name=self._name,
                directions=[o.direction for o in self._objectives],
            )
            with warnings.catch_warnings():
                # Experimental by name since Optuna 3.2; the dashboard labels its axes with it.
                warnings.simplefilter("ignore")
                study.set_metric_names([o.metric for o in self._objectives])
            self._open(study)
        finally:
            storage.remove_session()
        self._insert(trials)

    def _insert(self, trials: Sequence[TrialRows]) -> None:
        assert self._connection is not None
        insert(self._connection, self._number, trials)

    def _connect(self) -> sqlite3.Connection:
        # As SQLAlchemy connects by itself: its pool hands a connection to any thread.
        made = sqlite3.connect(self._path, timeout=_LOCKED_FOR_S, check_same_thread=False)
        # Not waited for: if the machine loses power, the mirror is written anew.
        made.execute("PRAGMA synchronous=OFF")
        return made

    def add(self, outcome: TrialResult, violations: Sequence[float] = ()) -> None:
        """Add one outcome as a finished trial."""
        self._added.append((outcome, tuple(violations)))
        if self._learn({name: (value,) for name, value in _parameters(outcome).items()}):
            self._write([self._trial(*added) for added in self._added])
        else:
            self._insert([self._trial(outcome, violations)])

    def _trial(self, outcome: TrialResult, violations: Sequence[float]) -> TrialRows:
        values = [outcome.value(o.metric) for o in self._objectives]
        known = [v for v in values if v is not None and math.isfinite(v)]
        complete = len(known) == len(values)
        params = _parameters(outcome).items()
        broken = {str(i): v for i, v in enumerate(violations) if math.isfinite(v)}
        return rows_of(
            known if complete else None,
            {name: self._stored(name, value) for name, value in params},
            _attributes(outcome),
            broken if complete else {},
        )

    def discard(self) -> None:
        """Remove the file."""
        self.close()
        for suffix in ("", "-journal", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _parameters(outcome: TrialResult) -> dict[str, Json]:
    """Return what the candidate is made of, by ``pass.parameter``."""
    candidate = outcome.candidate
    params = {
        f"{step.name}.{name}": _plain(value)
        for step in candidate.recipe
        for name, value in step.params.items()
    }
    return {**params, **{k: _plain(v) for k, v in candidate.runtime.to_json().items()}}


def _plain(value: Json) -> Json:
    """Return a value as Optuna can hold it."""
    return value if value is None or isinstance(value, (int, float, str)) else canonical(value)


def _distribution(values: Sequence[Json]) -> Any:
    """Return the choices of a parameter.

    Whole numbers are a range, so that they can be plotted; so are more numbers than `_LISTED`,
    because Optuna writes all choices of each parameter into each trial.
    """
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if all(type(value) is int for value in values):
        return IntDistribution(min(values), max(values))
    if len(values) > _LISTED and all(type(value) in (int, float) for value in values):
        return FloatDistribution(min(values), max(values))
    return CategoricalDistribution(tuple(values))


def _attributes(outcome: TrialResult) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "id": outcome.id,
        "outcome": outcome.kind.value,
        "candidate": describe(outcome.candidate),
    }
    if outcome.reason is not None:
        attributes["reason"] = outcome.reason
    for name, m in (outcome.measurements or {}).items():
        if m.value is not None:
            attributes[name] = m.value
    return attributes
