"""What is written at once is what Optuna writes, one trial after another."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Objective
from paretune.search.mirror import Mirror

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

OBJECTIVES = (Objective("accuracy", "maximize"), Objective("size_mb", "minimize"))
TABLES = {
    "studies": "study_name",
    "study_directions": "direction, objective",
    "study_system_attributes": "key, value_json",
    "trials": "number, state",
    "trial_values": "number, objective, value, typeof(value), value_type",
    "trial_params": "number, param_name, param_value, typeof(param_value), distribution_json",
    "trial_user_attributes": "number, key, value_json",
    "trial_system_attributes": "number, key, value_json",
}

finite = st.floats(allow_nan=False, allow_infinity=False)
params = st.fixed_dictionaries(
    {"precision": st.sampled_from(["int4", "int8"])},
    optional={
        "block_size": st.integers(1, 4),
        "rate": st.sampled_from([0.1, 1, 1e-5]),
        "exclude": st.lists(st.text(max_size=3), max_size=2),
        "on": st.sampled_from([True, False, None]),
    },
)


@st.composite
def outcomes(draw: st.DrawFn) -> TrialResult:
    step = Step("genai", draw(params))
    names = draw(st.sets(st.sampled_from(["accuracy", "size_mb", "other"])))
    measured = {n: Measurement(n, draw(st.none() | finite), "u") for n in names}
    reason = draw(st.none() | st.text(max_size=5))
    kind = draw(st.sampled_from(OutcomeKind))
    candidate = Candidate((step,), RuntimeSettings("cpu", draw(st.integers(1, 3))))
    return TrialResult(1, candidate, kind, reason=reason, measurements=measured)


def by_optuna(path: Path, given: list[tuple[TrialResult, tuple[float, ...]]]) -> None:
    """Write the same as `Mirror` does, by Optuna's own functions alone."""
    mirror = Mirror(path.with_name("values.db"), "s", OBJECTIVES)
    mirror.rebuild([outcome for outcome, _ in given])
    distributions = {name: mirror._distributions[name][0] for name in mirror._distributions}
    mirror.close()
    study = optuna.create_study(
        storage=f"sqlite:///{path}", study_name="s", directions=["maximize", "minimize"]
    )
    study.set_metric_names(["accuracy", "size_mb"])
    for outcome, broken in given:
        study.add_trial(_trial(outcome, broken, distributions))
    study._storage.remove_session()


def _trial(outcome: TrialResult, broken: tuple[float, ...], distributions: Any) -> Any:
    from paretune.search.mirror import _attributes, _parameters

    values = [outcome.value(o.metric) for o in OBJECTIVES]
    complete = None not in values
    params = _parameters(outcome)
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.FAIL,
        values=values if complete else None,
        params=params,
        distributions={name: distributions[name] for name in params},
        user_attrs=_attributes(outcome),
        constraints={str(i): v for i, v in enumerate(broken)} if complete else None,
    )


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    with closing(sqlite3.connect(path)) as file:
        for table, columns in TABLES.items():
            joined = " join trials using (trial_id)" if table.startswith("trial_") else ""
            rows = file.execute(f"select {columns} from {table}{joined} order by {columns}")
            found[table] = rows.fetchall()
    return found


@settings(max_examples=6, deadline=None)
@given(st.lists(st.tuples(outcomes(), st.tuples(finite)), min_size=1, max_size=6), st.data())
def test_the_rows_are_those_that_optuna_writes(
    given: list[tuple[TrialResult, tuple[float, ...]]], data: st.DataObject
) -> None:
    """... whatever was written before a search went on."""
    first = data.draw(st.integers(0, len(given)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        by_optuna(folder / "optuna.db", given)
        # Violations come by place: the same outcome may be there twice.
        broken = {id(outcome): violations for outcome, violations in given}
        given = [(outcome, broken[id(outcome)]) for outcome, _ in given]
        mirror = Mirror(folder / "study.db", "s", OBJECTIVES)
        mirror.rebuild([o for o, _ in given[:first]], lambda o: broken[id(o)])
        for outcome, violations in given[first:]:
            mirror.add(outcome, violations)
        mirror.close()
        assert dump(folder / "study.db") == dump(folder / "optuna.db")
        trials = optuna.load_study(
            study_name="s", storage=f"sqlite:///{folder / 'study.db'}"
        ).get_trials()
        assert [t.number for t in trials] == list(range(len(given)))
        assert all(t.datetime_start == t.datetime_complete is not None for t in trials)


def test_a_file_that_optuna_wrote_is_added_to(tmp_path: Path) -> None:
    """As an earlier version wrote it: it is held, and not written again."""
    candidate = Candidate((Step("genai", {"precision": "int4"}),), RuntimeSettings("cpu", 1))
    measured = {"accuracy": Measurement("accuracy", 0.5, "u"), "size_mb": Measurement("x", 3.0, "")}
    results = [TrialResult(n, candidate, OutcomeKind.OK, measurements=measured) for n in (1, 2, 3)]
    by_optuna(tmp_path / "study.db", [(result, (0.25,)) for result in results])
    with closing(sqlite3.connect(tmp_path / "study.db")) as file:
        before = file.execute("select * from trials").fetchall()
    mirror = Mirror(tmp_path / "study.db", "s", OBJECTIVES)
    mirror.rebuild(results, lambda outcome: (0.25,))
    mirror.add(results[0], (0.25,))
    mirror.close()
    with closing(sqlite3.connect(tmp_path / "study.db")) as file:
        after = file.execute("select * from trials").fetchall()
    assert after[:3] == before
    assert len(after) == 4
