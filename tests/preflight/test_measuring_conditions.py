"""What a search says before it measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_study import write_fake_study

from paretune.api import optimize
from paretune.bench.profile import make_profile
from paretune.config import load
from paretune.config.plan import EvaluatorChoice
from paretune.core.device_profile import DeviceProfile
from paretune.core.interference import Interference
from paretune.display.live import Quiet
from paretune.preflight.dry_run import foresee, render
from paretune.preflight.measuring_conditions import about_profile, advice, unsupported
from paretune.preflight.prepared import PreparedSearch
from paretune.search.constraints import parse_constraint
from paretune.store.artifacts import Store
from paretune.targets.device.environment import Environment, Process
from paretune.targets.launchers.local import LocalTarget

NOW = datetime(2026, 3, 1, tzinfo=UTC)
QUIET = Environment(governors=("performance",))


def profile_of(fingerprint: str) -> DeviceProfile:
    """A profile that was measured just now, on a quiet machine."""
    figures = [
        {"name": "timer resolution", "value": 30.0},
        {"name": "job start and end", "value": 90.0},
    ]
    noise = [{"memory": 0.01, "arithmetic": 0.02}, {"memory": 0.0101, "arithmetic": 0.0201}]
    return make_profile(fingerprint, figures, noise, Interference())


class Listener(Quiet):
    """Keeps what is said, and what had begun by then."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.candidates = 0

    def candidate(self, id: int, candidate: object) -> None:
        self.candidates += 1

    def note(self, text: str) -> None:
        if not self.candidates:
            self.notes.append(text)


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[PreparedSearch]:
    config = write_fake_study(tmp_path, {"x": [1]})
    store = Store(tmp_path / "store")
    with LocalTarget(store_root=store.root) as target:
        yield PreparedSearch(load(config), store, target)


def test_a_search_says_that_the_device_was_not_measured(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"x": [1]})
    listener = Listener()
    store = tmp_path / "a store"
    optimize(config, study=tmp_path / "study", store=store, watcher=listener)
    assert listener.candidates > 0
    told = [note for note in listener.notes if "not measured yet" in note]
    assert told == [
        f"note: this device was not measured yet; run `paretune bench --store '{store}'` (takes a "
        "minute), so that searches use the device's own noise floor and roofline"
    ]
    assert "not measured yet" not in render(foresee(config, store=store))


def test_what_is_around_is_told_with_how_to_mend_it(prepared: PreparedSearch) -> None:
    around = replace(
        QUIET,
        busy=(Process(7, "chrome", 0.5),),
        gpu=(Process(8, "python", 512.0),),
        governors=("powersave",),
    )
    prepared.profile = replace(
        profile_of(prepared.device.fingerprint), when=datetime.now(UTC).isoformat()
    )
    assert advice(prepared, lambda seconds: around) == [
        "warning: other programs use the processor: chrome (process 7, 50% of a core). "
        "End them, or measure when they are done.",
        "warning: the frequency governor is powersave. "
        "As root: cpupower frequency-set -g performance.",
    ]
    assert advice(prepared, lambda seconds: QUIET) == []


def test_a_search_that_times_nothing_is_told_nothing(prepared: PreparedSearch) -> None:
    prepared.evaluators = tuple(
        replace(slot, metrics=tuple(replace(spec, device=False) for spec in slot.metrics))
        for slot in prepared.evaluators
    )
    assert advice(prepared, lambda seconds: replace(QUIET, on_battery=True)) == []


def test_a_profile_that_is_new_and_calm_needs_no_word(tmp_path: Path) -> None:
    profile = replace(profile_of("sha256:1"), when=(NOW - timedelta(days=30)).isoformat())
    assert about_profile(profile, tmp_path, NOW) is None


@pytest.mark.parametrize(
    ("days", "others", "said"),
    [
        (31, 0.0, "31 days old; run `paretune bench`"),
        (0, 0.4, "other programs used 40% of the processor"),
    ],
)
def test_a_profile_that_is_old_or_was_disturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, others: float, said: str
) -> None:
    monkeypatch.setenv("PARETUNE_STORE", str(tmp_path))
    profile = replace(
        profile_of("sha256:1"), when=(NOW - timedelta(days=days)).isoformat(), others=others
    )
    told = about_profile(profile, tmp_path, NOW)
    assert told is not None
    assert said in told
    assert "--store" not in told


@pytest.mark.parametrize(
    ("params", "asked", "warned"),
    [
        ({}, ["ttft_ms_p95"], ["ttft_ms_p95"]),
        ({"requests": 130}, ["ttft_ms_p95"], []),
        ({}, ["ttft_ms_p50", "decode_ms_p95"], []),
        ({"streams": 2}, ["decode_ms_p95"], ["decode_ms_p95"]),
        ({"prompt_tokens": [8, 16], "requests": 9}, ["ttft_ms_p95@16"], ["ttft_ms_p95@16"]),
    ],
)
def test_a_limit_that_nobody_can_meet_for_want_of_requests_is_warned_of(
    prepared: PreparedSearch, params: dict[str, Any], asked: list[str], warned: list[str]
) -> None:
    plan = replace(
        prepared.plan,
        evaluators=(EvaluatorChoice("generation", params),),
        objectives=(),
        constraints=tuple(parse_constraint(f"{metric} <= 100") for metric in asked),
    )
    prepared.plan = plan
    told = unsupported(prepared)
    assert [line.split()[0] for line in told] == warned
    assert all("`generation: {requests: 130}`" in line for line in told)
