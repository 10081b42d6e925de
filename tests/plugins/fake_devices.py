"""A study of fakes on several devices, which are this machine under other names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_study import FakeSmokeWorkbench, write_fake_study

from paretune.config import load
from paretune.core.device import TargetInfo
from paretune.core.jsontools import Json, read_json
from paretune.core.target import Target
from paretune.display.live import Display, make_display
from paretune.preflight.prepared import PreparedSearch
from paretune.searching.one import Beside, Search, SearchResult
from paretune.searching.several import search_devices
from paretune.searching.shown import DeviceWatcher
from paretune.store.artifacts import Store
from paretune.study.folder import Study
from paretune.targets.launchers.local import LocalTarget

DEVICES = {"board": {"python": "board"}, "laptop": {"python": "laptop"}}
HERE, BOARD = {"name": "local", "threads": [1]}, {"name": "board", "threads": [2]}


class Named(LocalTarget):
    """This machine under another name, with other packages."""

    def __init__(self, name: str, store_root: Path) -> None:
        super().__init__(store_root)
        self.name = name

    def preload(self, packages: Iterable[str]) -> None:
        """Leave it: no job of fakes imports what the study's kind of models needs."""

    def info(self) -> TargetInfo:
        info = super().info()
        return replace(info, packages={**info.packages, "paretune-fake": f"of {self.name}"})


def write_devices_study(folder: Path, target: list[dict[str, Any]], **changes: Any) -> Path:
    """Write a configuration of one `noop` pass for several devices."""
    noop = {"x": [1, 2], "journal": str(folder / "builds")}
    evaluate = [{"readback": {"journal": str(folder / "journal")}}]
    passes = [{"noop": {**noop, **changes.pop("noop", {})}}]
    common = {"evaluate": evaluate, "passes": passes, "targets": DEVICES, "target": target}
    return write_fake_study(folder, {}, **(common | changes))


def search(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    display: Display | None = None,
    targets: Mapping[str, type[LocalTarget]] = {},
    **overrides: Any,
) -> SearchResult:
    """Search a study of fakes on several devices; study and store are beside the configuration.

    Args:
        config: What `write_devices_study` wrote.
        monkeypatch: Puts this machine in the place of the devices.
        display: Receives the events.
        targets: By name, another class than `Named`.
        **overrides: For `paretune.config.load`.
    """
    folder = config.parent

    def opened(name: str, declared: object, store_root: Path, permissions: object) -> Target:
        made: Target = targets.get(name, Named)(name, store_root)  # type: ignore[arg-type]
        return made

    monkeypatch.setattr("paretune.searching.several.open_target", opened)

    def made(
        prepared: PreparedSearch, study: Study, watcher: DeviceWatcher, beside: Beside
    ) -> Search:
        factory = FakeSmokeWorkbench.of(prepared, study.folder)
        found = Search(prepared, study, watcher, job_factory=factory, beside=beside)
        found.engine.retry_waits_s = found.engine.lost_waits_s = (0.0, 0.0)
        return found

    return search_devices(
        load(config, **overrides),
        folder / "study",
        Store(folder / "store"),
        display or make_display(quiet=True),
        search=made,
    )


def leases(study: Path) -> list[dict[str, Any]]:
    """Return what a study says of who used which machine."""
    return [json.loads(line) for line in (study / "leases.jsonl").read_text().splitlines()]


def rows_of(study: Path) -> dict[int, Json]:
    """Return a study's candidates by their numbers."""
    return {row["id"]: row for row in read_json(study / "results.json")["candidates"]}
