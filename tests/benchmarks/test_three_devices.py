"""What the benchmark of three devices reads of a study, and when it is content."""

from __future__ import annotations

import json
from pathlib import Path

import common
import pytest
import three_devices
import yaml
from fake_devices import BOARD, HERE, search, write_devices_study

from paretune.config import load


def test_a_study_of_several_devices_is_shown_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_devices_study(tmp_path, [HERE, BOARD])
    search(config, monkeypatch)
    for module in (common, three_devices):
        monkeypatch.setattr(module, "OUT", tmp_path / "out")
    assert three_devices.shown(tmp_path / "study", 0, 12.0, config) == 0
    told = capsys.readouterr().out
    for name in ("local", "board"):
        assert f"| {name} | local |" in told
        assert f"| {name} | board |" in told
    assert "2 devices on 1 machine(s); 0 overlap with something else" in told
    written = json.loads((tmp_path / "out" / "three_devices.json").read_text())
    assert written["ok"]
    assert [pick["of"] for pick in written["picks"]] == ["local", "board"]
    assert (tmp_path / "out" / "three_devices.svg").read_text().startswith("<svg")

    leases = tmp_path / "study" / "leases.jsonl"
    first = json.loads(leases.read_text().splitlines()[0])
    leases.write_text(leases.read_text() + json.dumps({**first, "kind": "measure"}) + "\n")
    assert three_devices.shown(tmp_path / "study", 0, 12.0, config) == 1, "two ran at once"


def test_without_results_it_fails(tmp_path: Path) -> None:
    assert three_devices.shown(tmp_path, 2, 1.0, tmp_path / "config.yaml") == 1


@pytest.mark.parametrize("trains", [True, False])
def test_its_space_is_a_part_of_the_demos(tmp_path: Path, trains: bool) -> None:
    limit = "decode_ms_p50 <= 10"
    file = three_devices.configured(tmp_path, tmp_path / "python", 9, trains=trains, limit=limit)
    document = yaml.safe_load(file.read_text())
    assert document["constraints"][-1] == limit
    assert [entry["name"] for entry in document["target"]] == ["local", "one-core", "older"]
    example = yaml.safe_load(three_devices.EXAMPLE.read_text())
    assert document["passes"][-1]["any"][0] in example["passes"][-1]["any"]
    assert ("accuracy" in str(document["constraints"])) == trains
    if Path(document["model"]).is_dir():
        assert [device.space.size for device in load(file).devices] == [3, 3, 3]
