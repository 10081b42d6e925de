"""One study, three devices, three picks: python benchmarks/three_devices.py [--minutes 9].

SmolLM2 learns the demo's task, and is made small for this machine and for two devices behind ssh:
`one-core`, whose sshd is held to a single core by ``taskset``, and `older`, whose environment has
another release of onnxruntime. Both are an sshd of this script's own on loopback, with a store of
its own. The space is a part of that of ``examples/tone.yaml`` (one training, three builds), so that
every candidate is measured on all three within the time. ``--without-training`` quantizes SmolLM2
as it is, and asks for no accuracy: the same in a few minutes.

Printed are what each device picks, what each device's pick costs on the others, and the timeline of
the one measuring slot that the three share, as they are one machine. The exit status is 1 if two
measurements overlap, or a device has no pick, or what a pick costs on a device is not known.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml
from common import OUT, ROOT, save, table
from timeline import MEASURE, as_svg, as_text, conflicts, read

from paretune.core.candidate import Candidate, describe
from paretune.core.jsontools import read_json
from paretune.core.resources import physical_cores

sys.path.insert(0, str(ROOT))

from tests.environments import install, make_environment
from tests.targets.sshd import Sshd, client_of, start

OLDER = "1.31.0"
"""Of onnxruntime, on the device `older`."""
EXAMPLE = ROOT / "examples" / "tone.yaml"
_BUILDS = [
    {"genai": {"precision": "int4"}},
    {"genai": {"precision": "int8", "is_symmetric": False, "block_size": 128}},
    [
        {"genai": {"precision": "fp32"}},
        {"matmul_nbits": {"bits": 4, "keep_8bit": [["*down_proj*", "*lm_head*"]]}},
    ],
]


def main() -> int:
    """Search, print what was found, save the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0, help="of the search")
    parser.add_argument("--without-training", action="store_true")
    parser.add_argument("--prefer", help="metric to pick by first; default: as the demo does")
    parser.add_argument("--limit", help="a further constraint, as 'decode_ms_p50 <= 10'")
    parser.add_argument("--onnxruntime", default=OLDER, help="the other release")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="paretune-devices-") as name:
        place = Path(name)
        started: list[Sshd] = []
        try:
            for device in ("one-core", "older"):
                started.append(start(place / device, device))
            held = ["taskset", "--all-tasks", "--cpu-list", "--pid", "0"]
            subprocess.run([*held, str(started[0].process.pid)], check=True, capture_output=True)
            os.environ["PATH"] = f"{client_of(place / 'client', started)}:{os.environ['PATH']}"
            older = older_python(place, given.onnxruntime)
            config = configured(
                place,
                older,
                given.minutes,
                trains=not given.without_training,
                prefer=given.prefer,
                limit=given.limit,
            )
            begin = time.monotonic()
            command = [sys.executable, "-m", "paretune", "search", config]
            options = ["--study", place / "study", "--store", place / "store"]
            status = subprocess.run([*command, *options], check=False).returncode
            seconds = time.monotonic() - begin
        finally:
            for sshd in started:
                with contextlib.suppress(psutil.NoSuchProcess):  # a connection that ends meanwhile
                    sshd.stop()
                sshd.process.kill()
        return shown(place / "study", status, seconds, config)


def older_python(place: Path, version: str) -> Path:
    """Return the interpreter of an environment with another onnxruntime.

    Raises:
        SystemExit: It cannot be installed.
    """
    python = make_environment(place / "older-environment")
    done = install(python, f"onnxruntime=={version}")
    if done.returncode != 0:
        raise SystemExit(f"onnxruntime {version} cannot be installed: {done.stderr.strip()}")
    return python


def configured(
    place: Path,
    older: Path,
    minutes: float,
    *,
    trains: bool,
    prefer: str | None = None,
    limit: str | None = None,
) -> Path:
    """Write the configuration: the example's, with fewer candidates and more devices."""
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    document["model"] = str((EXAMPLE.parent / document["model"]).resolve())
    tone = document["data"]["tone"]
    tone["file"] = str((EXAMPLE.parent / tone["file"]).resolve())
    lora = {**document["passes"][0]["lora"], "epochs": 1}
    document["passes"] = [*([{"lora": lora}, "merge"] if trains else []), {"any": _BUILDS}]
    if not trains:
        document["constraints"] = [c for c in document["constraints"] if "accuracy" not in c]
    if limit is not None:
        document["constraints"] = [*document["constraints"], limit]
    document["targets"] = {
        "one-core": {"ssh": "one-core", "python": sys.executable, "store": str(place / "store-a")},
        "older": {"ssh": "older", "python": str(older), "store": str(place / "store-b")},
    }
    cores = physical_cores()
    document["target"] = [
        {"name": "local", "threads": [cores]},
        {"name": "one-core", "threads": [1]},
        {"name": "older", "threads": [cores]},
    ]
    search = {"strategy": "exhaustive", "seed": 0, "finals": "20s"}
    if prefer is not None:
        search["prefer"] = prefer
    document["search"] = {"time": f"{minutes:g}m", **search}
    file = place / "tone.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return file


def shown(study: Path, status: int, seconds: float, config: Path) -> int:
    """Print and save what a study found; return the exit status of this script."""
    if not (study / "results.json").is_file():
        print(f"the search ended with status {status} and has no results", file=sys.stderr)
        return 1
    results, uses = read_json(study / "results.json"), read(study / "leases.jsonl")
    names = list(results["devices"])
    print(f"\nsearched in {seconds:.0f} s, exit status {status}\n")
    print(
        table(
            ("device", "cores", "onnxruntime", "pick", "accuracy", "ms per token", "MB"),
            [device_row(name, found, study) for name, found in results["devices"].items()],
        )
    )
    metrics = [objective["metric"] for objective in results["objectives"]]
    head = ("the pick of", "on", *metrics, "meets every limit there")
    print("\nWhat each pick reaches on each device, and its cost beside the device's own pick:\n")
    print(table(head, [row for pick in results["picks"] for row in cost_rows(pick, metrics)]))
    one = results.get("one_for_all")
    if one is not None:
        print(f"\none for all: the pick of {one['of']}, at most {one['worst']:.1%} worse")
    overlapping = conflicts(uses)
    measured = {use.who for use in uses if use.kind == MEASURE}
    machines = {use.machine for use in uses if use.kind == MEASURE}
    print(f"\n{as_text(uses)}\n")
    count = sum(use.kind == MEASURE for use in uses)
    print(
        f"{count} measurements of {len(measured)} devices on {len(machines)} machine(s); "
        f"{len(overlapping)} overlap with something else"
    )
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "three_devices.svg").write_text(as_svg(uses), encoding="utf-8")
    known = [on["id"] is not None for pick in results["picks"] for on in pick["on"].values()]
    ok = (
        status == 0
        and not overlapping
        and len(machines) == 1
        and measured == set(names)
        and known == [True] * len(names) ** 2
    )
    content = {
        "ok": ok,
        "status": status,
        "seconds": round(seconds, 1),
        "config": yaml.safe_load(config.read_text(encoding="utf-8")),
        "devices": results["devices"],
        "picks": results["picks"],
        "one_for_all": one,
        "overlapping": [[vars(one), vars(other)] for one, other in overlapping],
        "leases": [vars(use) for use in uses],
    }
    print(f"{save('three_devices', content)}, {OUT / 'three_devices.svg'}")
    return 0 if ok else 1


def device_row(name: str, found: Mapping[str, Any], study: Path) -> list[Any]:
    """Return what a device is and what it picked."""
    device, best = found["device"], found["best"]
    facts = [name, device["cores"], device["packages"].get("onnxruntime")]
    if best is None:
        return [*facts, "none", None, None, None]
    rows = read_json(study / found["folder"] / "results.json")["candidates"]
    pick = next(row for row in rows if row["id"] == best)
    values = found["metrics"][str(best)]
    columns = ("accuracy", "decode_ms_p50", "size_mb")
    return [
        *facts,
        f"{best}: {describe(Candidate.from_json(pick))}",
        *(values.get(metric, {}).get("value") for metric in columns),
    ]


def cost_rows(pick: Mapping[str, Any], metrics: list[str]) -> list[list[Any]]:
    """Return a row for each device that a pick was compared on."""
    rows = []
    for name, on in pick["on"].items():
        if on["id"] is None:
            rows.append([pick["of"], name, *("not known" for _ in metrics), on["reason"]])
            continue
        cells = []
        for metric in metrics:
            value = on["values"][metric]
            cost = "" if value["cost"] is None else f" ({value['cost']:+.1%})"
            cells.append(
                "not measured" if value["value"] is None else f"{value['value']:.4g}{cost}"
            )
        rows.append([pick["of"], name, *cells, "yes" if on["feasible"] else "**no**"])
    return rows


if __name__ == "__main__":
    sys.exit(main())
