"""What is said of how a value was measured."""

from __future__ import annotations

from paretune.core.details import Details
from paretune.core.measurement import Measurement
from paretune.evaluators.generation.timing import drift, median_of
from paretune.stats.pooling import pool
from paretune.study.measurement_notes import measurement_entry, remarks


def process(samples: list[float]) -> dict[str, Measurement]:
    return {"ms_p50": median_of("ms_p50", samples, "ms", Details(drift=drift(samples)))}


def test_samples_processes_and_outliers_are_counted_over_all_processes() -> None:
    calm = [10.0 + 0.01 * (i * 7 % 11) for i in range(40)]
    pooled = pool([process(calm), process([*calm, 99.0]), process([*calm, 50.0])])
    assert remarks(pooled["ms_p50"]) == [
        "122 samples of 3 processes",
        "2 outliers (2 severe), none left out",
    ]
    again = pool([pooled, process([*calm, 99.0])], None, [None, 1])
    assert remarks(again["ms_p50"])[:2] == [
        "163 samples of 4 processes, 1 of them as a finalist",
        "3 outliers (3 severe), none left out",
    ]


def test_a_drift_in_any_process_is_told() -> None:
    steady = [10.0 + 0.01 * (i * 7 % 11) for i in range(40)]
    warming = [value * (1 if i < 20 else 1.05) for i, value in enumerate(steady)]
    told = remarks(pool([process(steady), process(warming)])["ms_p50"])
    assert told[-1] == "drifted: the second half of a process took 5.1% longer than its first"
    assert not any("drifted" in one for one in remarks(pool([process(steady)])["ms_p50"]))


def test_of_what_no_clock_measured_nothing_is_said() -> None:
    assert remarks(Measurement("accuracy", 0.5, "fraction", 0.4, 0.6, 100)) == []


def test_an_interval_with_one_end_is_none_in_the_document() -> None:
    entry = measurement_entry(Measurement("mine", 0.5, "fraction", low=0.4, n=3))
    assert (entry["value"], entry["low"], entry["high"]) == (0.5, None, None)
