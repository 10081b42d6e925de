"""How often an interval holds what a long re-measurement gives: python benchmarks/coverage.py.

Three packages of SmolLM2 (built first, or found in ``--packages DIR``) are searched over and over,
in turn, each in a study of its own that holds nothing but this one candidate, measured to its end
on the demo's data: speed, footprint, accuracy, in the order of any search. Counted is how often the
interval of ``decode_ms_p50`` in ``results.json`` contains the median of all processes of all
*other* studies of the same package: half an hour of measuring.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml
from common import ROOT, save, table
from verdicts import build

from paretune.api import Search
from paretune.config import load
from paretune.core.device_profile import DeviceProfile
from paretune.core.user_paths import default_store
from paretune.display.live import make_display
from paretune.preflight.prepared import PreparedSearch
from paretune.search.run import Shortcuts
from paretune.stats.pooling import interval, processes_of
from paretune.store.artifacts import Store
from paretune.study.folder import Study
from paretune.targets.device.fingerprint import device

_METRIC = "decode_ms_p50"
_PACKAGES = ("int4", "int4-128", "int8")


def configuration(package: str) -> dict[str, Any]:
    """Return the demo's configuration without its passes, for one package."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "tone.yaml").read_text())
    config["model"] = package
    config["data"]["tone"]["file"] = str(ROOT / "examples" / "data" / "tone.jsonl")
    config["target"]["threads"] = [2]
    del config["passes"], config["baseline"]
    return {**config, "constraints": [], "search": {"seed": 0}}


def measured(folder: Path, number: int, package: str) -> dict[str, Any]:
    """Search once; returns the interval and each process's value."""
    file = folder / f"{number}.yaml"
    file.write_text(yaml.safe_dump(configuration(package), sort_keys=False))
    prepared, study = (
        PreparedSearch(load(file), Store(folder / "store")),
        Study(folder / str(number)),
    )
    try:
        search = Search(prepared, study, make_display(quiet=True), Shortcuts(early_stops=False))
        search.engine.run()
        (outcome,) = study.outcomes
        m = (outcome.measurements or {})[_METRIC]
        return {"low": m.low, "high": m.high, "processes": [p.value for p in processes_of(m)]}
    finally:
        prepared.target.close()
        study.close()


def main() -> None:
    """Measure; print the share and the table; write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, help="where packages are, or are built")
    parser.add_argument("--tries", type=int, default=102)
    given = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in _PACKAGES}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = build(given.packages or folder / "packages")
        profile = DeviceProfile.load(default_store(), device("local").fingerprint)
        if profile is not None:  # as a search finds it after `paretune bench`
            profile.save(folder / "store")
        for number in range(given.tries):
            name = _PACKAGES[number % len(_PACKAGES)]
            found[name].append(measured(folder, number, paths[name]))
            print(number, name, *found[name][-1].values(), flush=True)
    rows, inside, bare = [], list[bool](), list[bool]()
    for name, tries in found.items():
        own, widths = [], []
        for number, one in enumerate(tries):
            others = [v for i, t in enumerate(tries) if i != number for v in t["processes"]]
            middle = statistics.median(others)
            own.append(one["low"] <= middle <= one["high"])
            widths.append(one["high"] / one["low"] - 1)
            low, high = interval(one["processes"], None)
            bare.append(low is not None and high is not None and low <= middle <= high)
        inside += own
        rows.append([name, len(tries), statistics.fmean(own), statistics.median(widths)])
    print(table(("package", "tries", "covered", "median width"), rows))
    floor = None if profile is None else profile.noise_floor
    print(
        f"\ncovered: {statistics.fmean(inside):.3f} of {len(inside)} (noise floor {floor}; "
        f"without it {statistics.fmean(bare):.3f})"
    )
    print(
        save(
            "coverage",
            {
                "tries": found,
                "covered": statistics.fmean(inside),
                "without_floor": statistics.fmean(bare),
                "noise_floor": floor,
            },
        )
    )


if __name__ == "__main__":
    main()
