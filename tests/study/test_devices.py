"""The devices of a study on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretune.core.errors import StateError, UsageError
from paretune.core.jsontools import write_json
from paretune.study.devices import (
    DeviceFolder,
    arranged,
    device_folder,
    keep_devices,
    read_devices,
)


def test_the_first_device_is_the_main_one_until_the_study_says_otherwise(tmp_path: Path) -> None:
    first = arranged(tmp_path, ["a", "b"])
    assert first == (DeviceFolder("a", "."), DeviceFolder("b", "devices/b"))
    keep_devices(tmp_path, first)
    assert arranged(tmp_path, ["c", "b", "a"]) == (*first, DeviceFolder("c", "devices/c"))
    keep_devices(tmp_path, arranged(tmp_path, ["a", "c"]))
    assert [device.name for device in read_devices(tmp_path)] == ["a", "c", "b"]
    with pytest.raises(UsageError, match=r"of the device 'a', which is not in `target:` \(b, c\)"):
        arranged(tmp_path, ["b", "c"])


def test_a_study_of_one_device_names_it(tmp_path: Path) -> None:
    write_json(tmp_path / "device.json", {"name": "b"})
    assert arranged(tmp_path, ["a", "b"])[0].name == "a", "nothing was measured"
    (tmp_path / "candidates" / "0001").mkdir(parents=True)
    write_json(tmp_path / "candidates" / "0001" / "outcome.json", {})
    assert arranged(tmp_path, ["a", "b"]) == (
        DeviceFolder("b", "."),
        DeviceFolder("a", "devices/a"),
    )


@pytest.mark.parametrize("name", ["board", "a/b", "..", ".", "../x", "a b", "Ä", "%2e%2e", "a\\b"])
def test_a_folder_lies_in_the_study_whatever_the_name(tmp_path: Path, name: str) -> None:
    folder = (tmp_path / device_folder(name)).resolve()
    assert folder.parent == (tmp_path / "devices").resolve()
    assert device_folder(name) != device_folder(name + "x")


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '{"devices": [{"name": "a"}]}',
        '{"devices": [{"name": "a", "folder": "/etc"}]}',
        '{"devices": [{"name": "a", "folder": "devices/../../x"}]}',
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "devices.json").write_text(content)
    with pytest.raises(StateError, match=r"devices.json cannot be read"):
        read_devices(tmp_path)
