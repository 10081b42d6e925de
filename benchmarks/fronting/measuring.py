"""Measures variants: quality on a machine that does other work too, speed on a quiet one."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnx

from paretune.core.resources import usable_cores

PROBE = Path(__file__).parent / "probe.py"
PROMPT, NEW = 64, 96
"""Tokens of the prompt, and that are decoded, in one process of a speed."""
_LIMIT_S = 900
_TOLD = 300


class NotRun(Exception):
    """A runtime does not load or run a build; says what it said."""


def probed(
    interpreter: str, runtime: str, folder: Path, run: Mapping[str, Any], **asked: Any
) -> dict[str, Any]:
    """Run `fronting.probe` once, in a process of its own, and return its figures.

    Raises:
        NotRun: It failed.
    """
    given = {"runtime": runtime, "folder": str(folder), "run": dict(run), **asked}
    given["threads"] = len(usable_cores())
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    command = [interpreter, str(PROBE), json.dumps(given)]
    try:
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotRun(f"did not end within {_LIMIT_S} s") from error
    if ended.returncode != 0:
        said = [line for line in ended.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise NotRun(f"{said[-1].strip()[:_TOLD]} (status {ended.returncode})")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def interleaved(
    asked: Mapping[str, tuple[str, str, Path, Mapping[str, Any]]],
    prompt: Sequence[int],
    rounds: int,
    begun: int = 0,
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Return the seconds of a token in each round, by name, and why others have none.

    Each time is of a fresh process; each round visits all, in turn forward and backward. One that
    fails once is left out.

    Args:
        asked: What `probed` is given, by name.
        prompt: Token ids; `PROMPT` of them.
        rounds: How often each is timed.
        begun: Rounds before these.
    """
    times: dict[str, list[float]] = {name: [] for name in asked}
    failed: dict[str, str] = {}
    for number in range(begun, begun + rounds):
        for name in list(times)[:: 1 if number % 2 == 0 else -1]:
            try:
                found = probed(*asked[name], prompt=list(prompt), new=NEW)
            except NotRun as error:
                failed[name] = str(error)
                del times[name]
            else:
                times[name].append(found["token_s"])
        print(f"round {number + 1} of {begun + rounds}", flush=True)
    return times, failed


def relative_speeds(
    asked: Mapping[str, tuple[str, str, Path, Mapping[str, Any]]],
    base: str,
    prompt: Sequence[int],
    rounds: int,
    alike: Mapping[str, str] = MappingProxyType({}),
    kept: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the `token_figures` of each, by name, and why others have none; see `interleaved`.

    Args:
        asked: What `probed` is given, by name.
        base: The one that speeds are relative to.
        prompt: Token ids; `PROMPT` of them.
        rounds: How often each is timed.
        alike: What makes builds one program on other numbers, by name: those that share it are
            timed as one, by the median of each round. A build that is left out is like no other.
        kept: Seconds of earlier rounds, by name; they count if all have the same number.

    Raises:
        SystemExit: The base is not among them, which is told before any is timed, or does not run.
    """
    if base not in asked:
        raise SystemExit(f"{base} is not measured: run this without --speed first")
    if len({len(kept.get(name, ())) for name in asked}) > 1:
        kept = {}
    times, failed = interleaved(asked, prompt, rounds, len(kept.get(base, ())))
    if base in failed:
        raise SystemExit(f"{base} does not run: {failed[base]}")
    times = {name: [*kept.get(name, ()), *each] for name, each in times.items()}
    pooled = pooled_by(alike, times)
    return {
        name: {
            **token_figures(pooled[name], pooled[base]),
            "token_ms": [round(1000 * second, 3) for second in each],
        }
        for name, each in times.items()
    }, failed


def graph_of(package: Path) -> str:
    """Return a digest of a GenAI package's graph and settings, without the values of its weights.

    `paretune.models.structure` also counts the values of norms of fewer than 1,024 elements, which
    `awq_scaling` changes.
    """
    network = onnx.load(package / "model.onnx", load_external_data=False)
    settings = json.loads((package / "genai_config.json").read_text(encoding="utf-8"))
    told = json.dumps(settings["model"], sort_keys=True).encode()
    return sha256(network.graph.SerializeToString(deterministic=True) + told).hexdigest()


def pooled_by(
    alike: Mapping[str, str], times: Mapping[str, Sequence[float]]
) -> dict[str, list[float]]:
    """Return for each name the median of each round over all that are alike."""
    groups: dict[str, list[Sequence[float]]] = {}
    for name, each in times.items():
        groups.setdefault(alike.get(name, name), []).append(each)
    medians = {
        key: [statistics.median(together) for together in zip(*members, strict=True)]
        for key, members in groups.items()
    }
    return {name: medians[alike.get(name, name)] for name in times}


def token_figures(seconds: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """Return a variant's time of a token, and its speed beside the base's, round by round.

    The time is that of the base, divided by the speed: a machine that is slower in some rounds
    changes both, and orders variants by their ratios.
    """
    ratios = [own / other for other, own in zip(seconds, base, strict=True)]
    speed = statistics.median(ratios)
    return {
        "token_ms_p50": 1000 * statistics.median(base) / speed,
        "speed": speed,
        "speed_low": min(ratios),
        "speed_high": max(ratios),
    }


def _with_range(row: Mapping[str, Any], value: str, name: str, digits: int) -> str | None:
    """Return a figure of a row with its lowest and highest; None if the row has none."""
    if f"{name}_low" not in row:
        return None
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[value]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def speed_of(row: Mapping[str, Any]) -> str | None:
    """Return the speed that `token_figures` found, as a table shows it."""
    return _with_range(row, "speed", "speed", 2)


def divergence_of(row: Mapping[str, Any]) -> str | None:
    """Return the divergence that `fronting.divergence` found, as a table shows it."""
    return _with_range(row, "kl_per_token", "kl", 4)


def perplexity_of(row: Mapping[str, Any]) -> str | None:
    """Return the perplexity that `fronting.divergence` found, as a table shows it."""
    return _with_range(row, "perplexity", "perplexity", 2)


def perplexity_ratio_of(row: Mapping[str, Any]) -> str | None:
    """Return the ratio of the perplexity to the reference's, as a table shows it."""
    return _with_range(row, "ratio", "ratio", 3)
