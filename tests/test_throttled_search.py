"""Whole searches on a made-up tree of sensors: what was throttled is measured again, and marked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import paretune
from paretune.core.resources import usable_cores
from paretune.search import throttling
from tests.onnx_networks import write_network
from tests.sysfs_trees import CPU, intel, raspberry_pi, write_tree

CONFIG = """
model: network
passes:
  - onnx_dynamic_int8: {{per_channel: false}}
    optional: true
evaluate:
  - {evaluator}
{targets}
objectives: {{minimize: {metric}}}
search: {{time: 20m, finals: 0, strategy: exhaustive}}
"""
HEAT = '''
import os
from pathlib import Path

root = Path(os.environ["PARETUNE_SYSFS"])


def seconds(session, examples):
    """Measure; where the list says so, the processor reaches its temperature limit meanwhile."""
    left = (root / "hot").read_text().split()
    (root / "hot").write_text(" ".join(left[1:]))
    if left[:1] == ["yes"]:
        count = root / "{counter}"
        count.write_text(str(int(count.read_text()) + 1))
    return 5.0
'''


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Jobs do not wait for the device to cool."""
    monkeypatch.setattr("paretune.search.trial.PROCESS_S", 0.05)
    monkeypatch.setattr(throttling.Throttling, "cool_s", 0.0)
    monkeypatch.setenv("PARETUNE_SYSFS", str(tmp_path / "sys"))
    write_network(tmp_path / "network", width=64, classes=64)


def search(folder: Path, **config: Any) -> dict[str, Any]:
    file = folder / "net.yaml"
    file.write_text(CONFIG.format(**config))
    found = paretune.optimize(
        file, study=folder / "study", store=folder / "store", trust_remote_code=True
    )
    rows = found.results["candidates"]
    # A candidate that is slower on this machine may be pruned.
    assert [row["outcome"] for row in rows] in (["ok", "ok"], ["ok", "pruned"])
    return dict(found.results)


def measured_by(folder: Path, id: int, metric: str) -> dict[str, Any]:
    """Return the details of a candidate's metric as its file has them."""
    file = folder / "study" / "candidates" / f"{id:04}" / "measurements.json"
    details: dict[str, Any] = json.loads(file.read_text())[metric]["details"]
    return details


def test_a_throttled_measurement_is_made_again_and_one_that_stays_so_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first candidate is throttled once, the second one both times."""
    core = usable_cores()[0]
    counter = f"{CPU}/cpu{core}/thermal_throttle/core_throttle_count"
    write_tree(tmp_path / "sys", intel() | {"hot": "yes no yes yes"})
    (tmp_path / "heat.py").write_text(HEAT.format(counter=counter))
    monkeypatch.syspath_prepend(str(tmp_path))
    results = search(
        tmp_path,
        evaluator="custom: {function: 'heat:seconds', metric: spent_s, unit: s, device: true, "
        "direction: minimize}",
        targets="target: {threads: [1]}",
        metric="spent_s",
    )
    assert (tmp_path / "sys" / "hot").read_text() == "", "four measurements were made"
    first, second = (row["conditions"] for row in results["candidates"])
    assert first["repeated"]
    assert "throttled" not in first
    assert second["throttled"] == ["processor: temperature limit"]
    assert (second["frequency_mhz"], second["temperature_c"]) == (3100.0, 61.0)
    assert results["sensors"] == ["frequency", "temperature", "throttling"]
    (note,) = (note for note in results["notes"] if "throttled" in note)
    assert "while candidate 2 was measured (processor: temperature limit)" in note
    (marked,) = results["candidates"][1]["metrics"]["spent_s"]["remarks"]
    assert marked == "measured while the device was throttled (processor: temperature limit)"
    page = (tmp_path / "study" / "report.html").read_text()
    assert "measured while the device was throttled: processor: temperature limit" in page
    assert "this device reports frequency, temperature and throttling." in page


def test_conditions_come_with_the_result_from_another_interpreter(tmp_path: Path) -> None:
    write_tree(tmp_path / "sys", raspberry_pi(cooling=2, temperature=83_000))
    results = search(
        tmp_path,
        evaluator="latency: {shapes: {x: [8, 64]}}",
        targets=f"targets: {{board: {{python: {sys.executable}}}}}\n"
        "target: {build: local, measure: board, threads: [1]}",
        metric="latency_ms_p50",
    )
    for row in results["candidates"]:
        assert row["conditions"]["throttled"] == ["processor: cooling device cpufreq-cpu0"]
        assert row["conditions"]["temperature_c"] == 83.0
    first = results["candidates"][0]["metrics"]["latency_ms_p50"]
    assert "3 of 3 processes were measured while the device was throttled" in first["reason"]
    processes = measured_by(tmp_path, 1, "latency_ms_p50")["processes"]
    assert all(process["conditions"]["throttled"] for process in processes)
    assert results["devices"]["board"]["sensors"] == results["sensors"]


def test_a_silent_device_is_named_once(tmp_path: Path) -> None:
    results = search(
        tmp_path,
        evaluator="latency: {shapes: {x: [8, 64]}}",
        targets="target: {threads: [1]}",
        metric="latency_ms_p50",
    )
    assert results["sensors"] == []
    assert not any("conditions" in row for row in results["candidates"])
    page = (tmp_path / "study" / "report.html").read_text()
    assert page.count("reports neither the frequency nor the temperature") == 1
