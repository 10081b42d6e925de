"""Who is stopped early: models inside a limit that met slow spells, models far outside of it.

Processes of a model differ by 3 %, and 15 % of them meet a spell in which all is 20 % slower. Each
candidate goes through the engine of a search, whose jobs are answered by drawn figures. Beside it
stands what one look decides. Then copies of the baseline, and broken models, under limits that are
relative to the baseline, looked at in part: perplexity by window, macro F1 by example.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, table
from deciding.parallel import simulate

from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.result import OutcomeKind
from paretune.evaluators.classes import class_measurements as classified
from paretune.search.constraints import parse_constraint
from paretune.search.evidence import relied_on, rough_slack

_LIMIT_MS = 10.0
_SIGMA, _SPELLS, _SLOWER = 0.03, 0.15, 1.2
_MARGINS = (-0.10, -0.05, -0.02, 0.0, 0.3)
_FLOORS = (None, 0.05, 0.10)
_WINDOWS, _LOOKED_AT, _WINDOW_TOKENS = 16, 8, 255
_EXAMPLES, _ROUGH = 300, 48


def run(studies: int, seed: int = 0) -> tuple[str, dict[str, Any]]:
    """Return the shares that were stopped early, and what one look would have stopped."""
    rows, speeds = [], []
    for floor in _FLOORS:
        for margin in _MARGINS:
            seen = simulate(_speed, [(margin, floor)] * (10 * studies), 1, seed)
            stopped, one, looks = (float(np.mean(part)) for part in zip(*seen, strict=True))
            speeds.append(
                {
                    "margin": margin,
                    "noise_floor": floor,
                    "n": len(seen),
                    "stopped": stopped,
                    "one_look": one,
                    "looks": looks,
                }
            )
            where = (
                "at the limit"
                if not margin
                else (f"{abs(margin):.0%} {'outside' if margin > 0 else 'inside'}")
            )
            rows.append([where, "none" if floor is None else f"{floor:.0%}", stopped, one, looks])
    shown = table(("a model", "noise floor", "stopped", "by one look", "processes looked at"), rows)
    rows, parts = [], []
    for metric, kind in (("perplexity", "copy"), ("perplexity", "broken"), ("macro_f1", "copy")):
        look = _perplexity if metric == "perplexity" else _macro_f1
        seen = simulate(look, [(kind,)] * (5 * studies), 2, seed)
        stopped, one = (float(np.mean(part)) for part in zip(*seen, strict=True))
        parts.append(
            {
                "metric": metric,
                "model": kind,
                "n": len(seen),
                "stopped": stopped,
                "by_its_interval": one,
            }
        )
        rows.append([metric, kind, stopped, one])
    shown += "\n\n" + table(("metric", "a model", "stopped", "by its interval alone"), rows)
    return shown, {"speeds": speeds, "parts": parts}


def _speed(rng: np.random.Generator, margin: float, floor: float | None) -> tuple[bool, bool, int]:
    """Return whether a model was stopped, whether one look would have, and how many there were."""
    plugins = str(ROOT / "tests" / "plugins")
    if plugins not in sys.path:
        sys.path.insert(0, plugins)
    from fake_search import FakeTarget, make_engine, measures, noop

    drawn: list[float] = []

    class Drawn(FakeTarget):
        def _value(self, job: Any, params: dict[str, Any]) -> Any:
            value = super()._value(job, params)
            if measures(job, "generation"):
                slow = _SLOWER if rng.random() < _SPELLS else 1.0
                ms = params["ms"] * slow * math.exp(rng.normal(0, _SIGMA))
                if params["x"] == 2 and job.task.rung is Rung.ROUGH:
                    drawn.append(ms)
                value = [
                    Measurement("decode_ms_p50", ms, "ms", 0.99 * ms, 1.01 * ms, 99, "device-2")
                ]
            return value

    two = [noop(x=1, ms=8.0), noop(x=2, ms=_LIMIT_MS * (1 + margin), quality=0.95)]
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(
            Path(folder), two, (f"decode_ms_p50 <= {_LIMIT_MS}",), noise_floor=floor
        )
        engine.target = Drawn()
        engine.evaluators = [
            replace(slot, processes=3) if slot.name == "generation" else slot
            for slot in engine.evaluators
        ]
        engine.run()
    early = engine.recorder.outcomes[1].kind is OutcomeKind.INFEASIBLE
    one = 0.99 * drawn[0] - rough_slack(floor) * drawn[0] > _LIMIT_MS
    return early, one, len(drawn)


def _perplexity(rng: np.random.Generator, kind: str) -> tuple[bool, bool]:
    """Return whether ``perplexity <= baseline * 1.2`` stops a model after half of its windows."""
    # A text's beginning is harder than what follows, for every model.
    harder = np.linspace(1.15, 0.9, _WINDOWS)
    base = harder * rng.lognormal(math.log(2.3 * _WINDOW_TOKENS), 0.1, _WINDOWS)
    mine = base + (5.0 * _WINDOW_TOKENS if kind == "broken" else 0.0)
    reference, order = _windows(base, list(range(_WINDOWS))), list(range(_WINDOWS))
    rng.shuffle(order)
    look = _windows(mine, order[:_LOOKED_AT]).noting(early=True)
    limit = parse_constraint("perplexity <= baseline * 1.2").resolve(
        {"perplexity": reference.value or 0.0}
    )
    assert limit is not None
    spec = MetricSpec("perplexity", "", "minimize", False)
    first = _windows(mine, [0, 1, 2])  # as the rough look was before
    return (
        limit.surely_broken(relied_on(look, spec, reference=reference)),
        limit.surely_broken(first),
    )


def _windows(sums: Any, seen: list[int]) -> Measurement:
    shown = sorted(seen)
    means = [float(sums[i]) / _WINDOW_TOKENS for i in shown]
    drawn = np.random.default_rng(0).integers(0, len(means), (500, len(means)))
    low, high = np.exp(np.quantile(np.asarray(means)[drawn].mean(axis=1), (0.025, 0.975)))
    return Measurement(
        "perplexity",
        math.exp(sum(means) / len(means)),
        "",
        float(low),
        float(high),
        protocol="windows-1",
        samples=tuple(means),
        details={
            "windows_seen": shown,
            "tokens_scored": [_WINDOW_TOKENS] * len(shown),
            "order": seen,
        },
    )


def _macro_f1(rng: np.random.Generator, kind: str) -> tuple[bool, bool]:
    """Return whether ``macro_f1 >= baseline - 0.05`` stops a copy after its first 48 examples."""
    del kind
    truth = rng.choice(5, _EXAMPLES, p=(0.4, 0.25, 0.2, 0.1, 0.05))
    wrong = rng.random(_EXAMPLES) > 0.8
    told = np.where(wrong, rng.integers(0, 5, _EXAMPLES), truth)
    rows = list(range(_EXAMPLES))
    random.Random(int(rng.integers(1 << 30))).shuffle(rows)
    labels = tuple("abcde")

    def score(some: list[int]) -> Measurement:
        found = classified(
            labels, some, [int(truth[i]) for i in some], [int(told[i]) for i in some], 0
        )
        return next(m for m in found if m.metric == "macro_f1")

    whole, look = score(rows), score(rows[:_ROUGH]).noting(early=True)
    limit = parse_constraint("macro_f1 >= baseline - 0.05").resolve(
        {"macro_f1": whole.value or 0.0}
    )
    assert limit is not None
    spec = MetricSpec("macro_f1", "fraction", "maximize", False)
    relied = relied_on(look, spec, reference=whole)
    return limit.surely_broken(relied), limit.surely_broken(look)
