"""A study three times from the same artifacts: python benchmarks/repeatability.py [--large].

Twice as a search does it, and once with every candidate measured to the end. The space is that of
``examples/tone.yaml`` with one of its two trainings (``--both`` takes both), or the larger one of
``phrase_tone.py`` (``--large``; no second search). Told are: whether the two agree (Kendall's tau
of the speed ranking among candidates that differ by more than the noise floor; the same pick or the
same group), what share of the time went into measuring, and how many accuracy examples the search
looked at, against all of them for every candidate, for which front.

Fronts are the same if each member of the one is, in the other study, on the front or among those
that may beat one of its members after all (``membership`` in results.json).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import phrase_tone
import yaml
from common import ROOT, candidate_table, save, table

from paretune.api import Search
from paretune.config import load
from paretune.core.device_profile import DeviceProfile
from paretune.core.user_paths import default_store
from paretune.display.live import make_display
from paretune.preflight.prepared import PreparedSearch
from paretune.search.run import Shortcuts
from paretune.store.artifacts import Store
from paretune.study.folder import Study
from paretune.targets.device.fingerprint import device

_METRIC = "decode_ms_p50"
_FLOOR = 0.03
"""Taken where `paretune bench` has not been run on this machine."""
_KINDS = {
    "generation": "speed",
    "footprint": "speed",
    "finals": "speed",
    "smoke": "smoke",
    "classification": "accuracy",
}


def configuration(*, both: bool, large: bool) -> dict[str, Any]:
    """Return the configuration, to be searched to its end."""
    if large:
        return phrase_tone.configuration(
            phrase_tone.LARGE, baseline=phrase_tone.BASELINE, search={"seed": 0}
        )
    config: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "tone.yaml").read_text())
    config["model"] = str(ROOT / ".models" / "smollm2")
    config["data"]["tone"]["file"] = str(ROOT / "examples" / "data" / "tone.jsonl")
    if not both:
        config["passes"][0]["lora"]["epochs"] = 1
    config["search"] = {"seed": 0}
    return config


def searched(file: Path, folder: Path, store: Path, *, whole: bool) -> dict[str, Any]:
    """Search once; returns the results document, and seconds."""
    prepared, study = PreparedSearch(load(file), Store(store)), Study(folder)
    try:
        search = Search(prepared, study, make_display(), Shortcuts(early_stops=not whole))
        start = time.perf_counter()
        search.engine.run()
        results = dict(search.finish("finished").results)
        return {**results, "wall_s": time.perf_counter() - start}
    finally:
        prepared.target.close()
        study.close()


def kendall(a: Mapping[str, float], b: Mapping[str, float], floor: float) -> tuple[float, int]:
    """Return tau over the pairs that differ by more than the floor, and how many those are."""
    agree = total = 0
    for x, y in combinations(sorted(a.keys() & b.keys()), 2):
        if abs(a[x] / a[y] - 1) <= floor:
            continue
        total += 1
        agree += (a[x] < a[y]) == (b[x] < b[y])
    return (2 * agree / total - 1 if total else 1.0), total


def key_of(row: Mapping[str, Any]) -> str:
    """Return what a candidate is, whatever its number."""
    return yaml.safe_dump([row["recipe"], row["runtime"]], default_flow_style=True)


def speeds(results: Mapping[str, Any]) -> dict[str, float]:
    """Return each fully measured candidate's time per token."""
    return {
        key_of(row): row["metrics"][_METRIC]["value"]
        for row in results["candidates"]
        if row["outcome"] == "ok"
    }


def picks(results: Mapping[str, Any]) -> set[str]:
    """Return the pick and its group."""
    best = results["best"]
    ids = {best}.union(*(g["members"] for g in results["groups"] if best in g["members"]))
    return {key_of(row) for row in results["candidates"] if row["id"] in ids}


def examples(results: Mapping[str, Any]) -> int:
    """Return the accuracy examples that a study looked at; what it took over was free."""
    return sum(
        row["metrics"].get("accuracy", {"n": 0})["n"]
        for row in results["candidates"]
        if any(s["step"].startswith("classification") and not s["cached"] for s in row["seconds"])
    )


def all_examples(results: Mapping[str, Any]) -> int:
    """Return how many a full evaluation of every candidate takes."""
    n: int = results["baseline"]["metrics"]["accuracy"]["n"]
    return n * len(results["candidates"])


def front(results: Mapping[str, Any]) -> set[str]:
    """Return the members of the front."""
    return {key_of(row) for row in results["candidates"] if row["pareto"]}


def may_be_on_it(results: Mapping[str, Any]) -> set[str]:
    """Return the members of the front, and those that may beat one of them after all."""
    ids = {id for member in results["membership"] for id in (member["id"], *member["rivals"])}
    return {key_of(row) for row in results["candidates"] if row["id"] in ids}


def shares(results: Mapping[str, Any]) -> dict[str, float]:
    """Return seconds by kind of step."""
    spent: dict[str, float] = {}
    for row in results["candidates"]:
        for step in row["seconds"]:
            if step["cached"]:
                continue
            name = step["step"].split(":")[0]
            kind = _KINDS.get(name, "building")
            spent[kind] = spent.get(kind, 0.0) + step["s"]
    return spent


def tell(names: Sequence[str], found: Mapping[str, Mapping[str, Any]]) -> list[list[Any]]:
    """Return one row a study."""
    return [
        [
            name,
            found[name]["wall_s"],
            *(shares(found[name]).get(k, 0.0) for k in ("building", "smoke", "speed", "accuracy")),
            examples(found[name]),
        ]
        for name in names
    ]


def main() -> None:
    """Search again and again; print the tables; write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--both", action="store_true", help="both trainings of the demo")
    parser.add_argument("--large", action="store_true", help="the larger study")
    given = parser.parse_args()
    config = configuration(both=given.both, large=given.large)
    names = ("first", "whole") if given.large else ("first", "again", "whole")
    found = dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory() as temporary:
        file, store = Path(temporary, "study.yaml"), Path(temporary, "store")
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        profile = DeviceProfile.load(default_store(), device("local").fingerprint)
        if profile is not None:  # as a search finds it after `paretune bench`
            profile.save(store)
        for name in names:
            found[name] = searched(file, Path(temporary, name), store, whole=name == "whole")
            print(candidate_table(found[name]), "\n", flush=True)
    floor = _FLOOR if profile is None else profile.noise_floor
    print(
        table(
            ("study", "wall s", "building", "smoke", "speed", "accuracy", "examples"),
            tell(names, found),
        )
    )
    first, other = found[names[0]], found[names[1]]
    tau, pairs = kendall(speeds(first), speeds(other), floor)
    same = picks(first) & picks(other)
    print(
        f"\n{names[0]} and {names[1]}: Kendall's tau {tau:.3f} over {pairs} pairs that differ by "
        f"more than {floor:.3f}; {'the same pick or group' if same else 'another pick'}"
    )
    whole, share = found["whole"], examples(first) / all_examples(first)
    strictly = front(first) == front(whole)
    equal = front(first) <= may_be_on_it(whole) and front(whole) <= may_be_on_it(first)
    print(
        f"examples looked at: {share:.2f} of all; first and whole have "
        f"{'the same' if equal else 'another'} front ({'also' if strictly else 'not'} by the "
        "point values)"
    )
    print(
        save(
            "repeatability-large" if given.large else "repeatability",
            {
                "tau": tau,
                "pairs": pairs,
                "floor": floor,
                "same_pick": bool(same),
                "share": share,
                "same_front": equal,
                "same_front_by_points": strictly,
                "studies": found,
            },
        )
    )


if __name__ == "__main__":
    main()
