"""Turns results into observations of the models, and asks these for forecasts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from paretune.core.candidate import Candidate
from paretune.core.measurement import Measurement, Rung
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Objective
from paretune.search.strategies.base import View
from paretune.search.surrogate.allowance import Allowance
from paretune.search.surrogate.costs import Costs
from paretune.search.surrogate.earlier import EarlierStudies
from paretune.search.surrogate.encoding import Encoding
from paretune.search.surrogate.layout import Subject
from paretune.search.surrogate.process import ForecasterProcess
from paretune.search.surrogate.scale import ENOUGH, Scale
from paretune.search.surrogate.structures import Structures
from paretune.search.surrogate.told import Told
from paretune.search.trial_state import Trial

if TYPE_CHECKING:
    from paretune.search.surrogate.layout import Matrix

SUCCESS = "success"
"""Name under which it is forecast whether a candidate works at all."""
WORKED = (OutcomeKind.OK, OutcomeKind.INFEASIBLE, OutcomeKind.PRUNED, OutcomeKind.DUPLICATE)
_SHARES_SPREAD, _LOGS_SPREAD = 0.3, 0.5
"""By how much a share, or the logarithm of a time or size, is expected to differ."""
_UNKNOWN = 0.02
"""Relative standard deviation of a measurement without an interval that is not exact."""
_WIDTH_IN_DEVIATIONS = 2 * 1.96


class Learner:
    """Holds what the models of a search have learned.

    A metric is forecast from its third value on, when its scale is settled.

    Attributes:
        scales: Of each metric that is forecast.
        costs: What trials took, and what candidates will take.
        told: Turns forecasts into what is reported of a trial.
        earlier: What earlier studies have seen; None: there are none.

    Args:
        encoding: Of the space.
        objectives: What is better.
        allowance: What the models may cost; None: whatever they cost.
    """

    def __init__(
        self,
        encoding: Encoding,
        objectives: Sequence[Objective],
        allowance: Allowance | None = None,
    ) -> None:
        self._encoding = encoding
        self._objectives = objectives
        self.scales: dict[str, Scale] = {}
        self.costs = Costs()
        self.told = Told(SUCCESS)
        self.earlier: EarlierStudies | None = None
        self._allowance = allowance
        self._models: ForecasterProcess | None = None
        self._device: dict[str, bool] = {}
        self._observed: dict[str, list[tuple[Matrix, float, float, bool]]] = {}
        self._learned = 0
        self._samples: dict[tuple[object, ...], int] = {}
        self._rungs: dict[int, Rung | None] = {}
        self._parents: set[str] = set()
        self._structures = Structures(encoding.recipe_columns)
        self._measured: dict[int, Matrix] = {}

    def learn(self, results: Sequence[TrialResult], view: View) -> None:
        """Take results into account.

        Args:
            results: All of them, in the order in which they came; new ones are at the end.
            view: What can be read of the search.
        """
        models = self._made(view)
        for result in results[self._learned :]:
            row = self._encoding.row(result.candidate)
            if row is None:
                continue
            for name, value, variance in self.costs.learn(result, view):
                models.observe(name, row.tolist(), value, variance)
            if not result.transient:
                models.observe(SUCCESS, row.tolist(), float(result.kind in WORKED), 0.0)
            self._observe_all(result, result.measurements or {})
            self._observe_parent(result)
        self._learned = len(results)

    def learn_rung(self, trial: Trial) -> None:
        """Take into account what was measured of a trial that is paused, once for each rung."""
        if self._rungs.get(trial.id) is not trial.rung:
            self._rungs[trial.id] = trial.rung
            self._observe_all(trial, trial.measurements)
            self.costs.note_built(trial)

    def forecast(self, candidates: Sequence[Candidate]) -> Mapping[str, tuple[Matrix, Matrix]]:
        """Return mean and standard deviation by name, for each candidate of the space."""
        assert self._models is not None, "it has learned"
        return self._models.forecast(self._encoding.rows(candidates))

    def _made(self, view: View) -> ForecasterProcess:
        if self._models is not None:
            return self._models
        # Of what is only limited, bad values say where the limit lies: none is bounded.
        better = {limit.metric: 0 for limit in view.limits}
        better |= {o.metric: 1 if o.direction == "maximize" else -1 for o in self._objectives}
        specs = {spec.name: spec for spec in view.metrics}
        self._device = {name: name not in specs or specs[name].device for name in better}
        shares = {name for name, spec in specs.items() if spec.unit == "fraction"}
        recipe = self._encoding.recipe_columns
        subjects = {
            name: Subject(
                None if self._device[name] else recipe,
                sign,
                _SHARES_SPREAD if name in shares else _LOGS_SPREAD,
            )
            for name, sign in better.items()
        }
        self._models = ForecasterProcess(
            self._encoding.layout, subjects, self._allowance, view.clock
        )
        if view.priors:
            self._learn_earlier(self._models, view)
        return self._models

    def _learn_earlier(self, models: ForecasterProcess, view: View) -> None:
        """Take earlier studies into account; their metrics are forecast from the beginning.

        Times and sizes are pure logarithms then, so that another device differs by a shift.
        """
        self.earlier = EarlierStudies(view.priors, self._objectives)
        for name in self._device:
            units = self.earlier.units(name)
            if units:
                self.scales[name] = Scale(share=True) if "fraction" in units else Scale(0.0)
        success = (SUCCESS, lambda result: result.kind in WORKED)
        for each in self.earlier.observations(
            view, self._encoding, self._device, success, self._scaled, self.costs
        ):
            models.observe_earlier(*each)

    def _scaled(self, measured: Measurement) -> tuple[float, float] | None:
        """Return a value of an earlier study as it is forecast, and its variance."""
        value = _finite_value(measured)
        if value is None:
            return None
        return _in_scale(self.scales[measured.metric], value, _deviation(measured, value))

    def _observe_all(
        self, tried: TrialResult | Trial, measurements: Mapping[str, Measurement]
    ) -> None:
        row = self._encoding.row(tried.candidate)
        if row is None:
            return
        self._note_structure(tried, row)
        for name in self._device:
            if name in measurements and self._is_new(tried, row, measurements[name]):
                self._observe(row, measurements[name])

    def _note_structure(self, tried: TrialResult | Trial, row: Matrix) -> None:
        """Have the metrics of the device forecast from what changes the structure of a build."""
        recipe, structure = tried.candidate.recipe, tried.structure
        if structure is None or not recipe or not self._structures.note(row, structure, recipe[-1]):
            return
        assert self._models is not None, "it was made before"
        ignored = self._structures.ignored
        kept = [c for c in range(len(self._encoding.layout.ordered)) if c not in ignored]
        for name, device in self._device.items():
            if device:
                self._models.narrow(name, kept)

    def _observe_parent(self, result: TrialResult) -> None:
        """Take over what was measured of the trained model, once.

        A build's metric is then forecast as its parent's, less what such builds cost elsewhere.
        """
        parent = result.parent
        if parent is None or parent.artifact in self._parents:
            return
        row = self._encoding.parent_row(result.candidate, parent.steps)
        if row is None:
            return
        self._parents.add(parent.artifact)
        for name, measured in parent.metrics.items():
            if name in self._device and not self._device[name]:
                self._observe(row, measured)

    def _is_new(self, tried: TrialResult | Trial, row: Matrix, measured: Measurement) -> bool:
        """Return whether a value tells more than one that was learned.

        It does not if it is of the same build, with other settings, or was taken over from a
        candidate that is the same to the models.
        """
        if self._device[measured.metric]:
            source = measured.details.taken_from
            first = self._measured.setdefault(tried.id if source is None else source, row)
            return source is None or first is row or not self._structures.same(first, row)
        key, count = (measured.metric, *tried.candidate.recipe), measured.n or 0
        if count <= self._samples.get(key, -1):
            return False
        self._samples[key] = count
        return True

    def _observe(self, row: Matrix, measured: Measurement) -> None:
        models = self._models
        assert models is not None, "it was made before"
        value, name = _finite_value(measured), measured.metric
        if value is None:
            return
        known = self._observed.setdefault(name, [])
        known.append((row, value, _deviation(measured, value), measured.taken_over))
        new = known[-1:]
        if name not in self.scales:
            if len(known) < ENOUGH:
                return
            self.scales[name], new = Scale.of([v for _, v, *_ in known], measured.unit), known
        elif not self.scales[name].takes(value):
            # The first values were positive by chance: all are forecast as they are from now on,
            # without those of earlier studies, which are logarithms.
            self.scales[name], new = Scale(), known
            models.forget(name)
            self.told.forget(name)
        for place, seen, its_deviation, taken_over in new:
            observed = _in_scale(self.scales[name], seen, its_deviation)
            if observed is not None:
                if not taken_over:
                    self.told.note(name, observed[1])
                models.observe(name, place.tolist(), *observed)


def _finite_value(measured: Measurement) -> float | None:
    """Return a measurement's value; None: it has none that is finite.

    One that was taken over from a build of the same structure counts, too, with its wider interval:
    else a speed would be known of the first training only, and be taken for its effect.
    """
    value = measured.value
    return value if value is not None and math.isfinite(value) else None


def _in_scale(scale: Scale, value: float, deviation: float) -> tuple[float, float] | None:
    """Return a value as it is forecast, and its variance; None: it lies outside of the scale."""
    scaled = scale.of_value(value)
    return (scaled, scale.of_deviation(value, deviation) ** 2) if math.isfinite(scaled) else None


def _deviation(measured: Measurement, value: float) -> float:
    """Return the standard deviation of a measurement."""
    if measured.low is not None and measured.high is not None:
        return (measured.high - measured.low) / _WIDTH_IN_DEVIATIONS
    return 0.0 if measured.protocol.startswith("exact") else _UNKNOWN * abs(value)
