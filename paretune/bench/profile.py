"""What `paretune bench` makes of its figures: the device's profile, warnings, and lines to read."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from paretune.core.candidate import counted
from paretune.core.device_profile import Arithmetic, Bandwidth, DeviceProfile, profile_file
from paretune.core.errors import StateError
from paretune.core.interference import Interference
from paretune.core.jsontools import Json
from paretune.stats.intervals import student_t
from paretune.targets.device.environment import Environment, Issue, issues

_MAD_TO_SD = 1.4826
"""Of a normal distribution."""
_MAD_EFFICIENCY = 0.37
_NOISY_FROM = 0.05
_GIGA = 1e9


def noise_floor(medians: Sequence[float]) -> float:
    """Return the 95 % bound of the difference between the medians of two processes of equal work.

    It is the logarithm of their ratio, without bursts: on a shared machine some processes are up to
    50 % slower for a second. A few of those must not widen every interval; they are counted
    separately (`bursts`). So the spread is the median absolute deviation, which is robust against
    up to half of the values. Its efficiency is that of a standard deviation of 0.37 times as many
    values (Rousseeuw and Croux, "Alternatives to the median absolute deviation", 1993), hence
    Student's t with that number of degrees of freedom.

    Args:
        medians: One per process, at least two.
    """
    logs = [math.log(median) for median in medians]
    middle = statistics.median(logs)
    spread = _MAD_TO_SD * statistics.median(abs(x - middle) for x in logs)
    freedom = max(1, round(_MAD_EFFICIENCY * (len(logs) - 1)))
    return student_t(freedom) * math.sqrt(2) * spread


def bursts(noise: Mapping[str, Sequence[float]]) -> tuple[int, float]:
    """Return how many processes exceeded the noise floor of their work, and the largest excess.

    Args:
        noise: Each process's median seconds, by work.
    """
    beyond = []
    for medians in noise.values():
        least = max(noise_floor(medians), _NOISY_FROM)
        off = (median / statistics.median(medians) for median in medians)
        beyond += [max(x, 1 / x) - 1 for x in off if abs(math.log(x)) > least]
    return len(beyond), max(beyond, default=0.0)


def make_profile(
    fingerprint: str,
    figures: Sequence[Mapping[str, Json]],
    noise: Sequence[Mapping[str, Json]],
    seen: Interference,
) -> DeviceProfile:
    """Return the profile of a device.

    Args:
        fingerprint: The device's.
        figures: What `paretune.bench.figures` measured.
        noise: The medians of each process of the A/A run.
        seen: CPU time used by other processes during the measurement.
    """
    by_name = {figure["name"]: figure for figure in figures}
    medians = {
        name: tuple(float(block[name]) for block in noise) for name in ("memory", "arithmetic")
    }
    return DeviceProfile(
        fingerprint=fingerprint,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        noise_floor=max(noise_floor(each) for each in medians.values()),
        bandwidth=tuple(
            Bandwidth(f["threads"], f["bytes"], f["best"] * _GIGA) for f in figures if "bytes" in f
        ),
        arithmetic=tuple(
            Arithmetic(f["kind"], f["threads"], f["rows"], f["best"] * _GIGA)
            for f in figures
            if "kind" in f
        ),
        timer_s=by_name["timer resolution"]["value"] / _GIGA,
        process_start_s=by_name["job start and end"]["value"] / 1e3,
        noise=medians,
        others=seen.others,
        stolen=seen.stolen,
    )


def problems(around: Environment, profile: DeviceProfile) -> tuple[Issue, ...]:
    """Return what would disturb measurements on this device, and what disturbed this one."""
    found = list(issues(around))
    if not profile.calm:
        found.append(
            Issue(
                f"while this was measured {Interference(profile.others, profile.stolen)}",
                "the measured bandwidth and arithmetic are too low, so no candidate is ruled out "
                "by them",
                "Run `paretune bench` again when the machine is quiet.",
            )
        )
    if profile.noise_floor > _NOISY_FROM:
        found.append(
            Issue(
                f"two processes of the same work differ by up to {profile.noise_floor:.1%}",
                "a smaller difference between two models cannot be distinguished from noise",
                "Fix the causes listed here, or give the finalists more time "
                "(`search: {finals: 5m}`).",
            )
        )
    hit, furthest = bursts(profile.noise)
    if hit:
        of = sum(map(len, profile.noise.values()))
        found.append(
            Issue(
                f"{hit} of {of} timings differ by up to {furthest:.0%} from the median of the same "
                "work",
                "something outside of this system slows it down for about a second at a time",
                "On a virtual machine, only longer measurements help: give the re-measurement of "
                "the finalists (`search: {finals: 5m}`) and comparisons (--time 10m) more time; "
                "they are interleaved, so all models are affected equally.",
            )
        )
    return tuple(found)


def beside_earlier(profile: DeviceProfile, store_root: Path) -> tuple[DeviceProfile, Issue | None]:
    """Merge a new profile with the stored one.

    The highest rates of both are kept. A disturbed profile does not replace the other figures of
    an undisturbed one.

    Returns:
        The profile to save, and an optional warning.
    """
    try:
        earlier = DeviceProfile.load(store_root, profile.fingerprint)
    except StateError:  # measuring again replaces a damaged profile
        earlier = None
    if earlier is None:
        return profile, None
    if profile.calm or not earlier.calm:
        return profile.with_roofs_of(earlier), None
    seen = Interference(profile.others, profile.stolen)
    return earlier.with_roofs_of(profile), Issue(
        f"while this was measured {seen}",
        f"searches continue to use the figures of {earlier.when}, and the higher rates of both",
        "Run `paretune bench` again when the machine is quiet; to discard the earlier figures, "
        f"remove {profile_file(store_root, profile.fingerprint)}.",
    )


def render_figures(measured: Mapping[str, Json]) -> list[str]:
    """Return the figures of a device as lines: the bandwidths as a table, the rest one by one."""
    lines, table = [], dict[str, dict[int, str]]()
    for figure in measured["figures"]:
        if "bytes" in figure:
            size = figure["name"].rpartition(", ")[2]
            table.setdefault(size, {})[figure["threads"]] = f"{figure['best']:.4g}"
            continue
        threads = "" if figure["threads"] is None else counted(figure["threads"], "thread")
        value = f"{figure['value']:.4g} {figure['unit']}"
        spread = f"  [{figure['low']:.4g}, {figure['high']:.4g}], n={figure['n']}"
        lines.append(f"  {figure['name']:<34}{threads:<11}{value:>16}{spread}")
    if table:
        counts = sorted({count for row in table.values() for count in row})
        heads = "".join(f"{counted(count, 'thread'):>12}" for count in counts)
        lines += ["", f"  memory read bandwidth, GB/s{heads}"]
        for size, row in table.items():
            cells = "".join(f"{row.get(count, ''):>12}" for count in counts)
            lines.append(f"    working set {size:>8}     {cells}")
    return lines


def render_profile(measured: Mapping[str, Json]) -> list[str]:
    """Return the noise, the warnings and where the profile is kept as lines."""
    profile = measured["profile"]
    lines = [
        f"  noise floor: the medians of two processes of the same work differ by less than "
        f"{profile['noise_floor']:.1%} in 95 of 100 pairs, bursts excluded "
        f"({len(profile['noise']['memory'])} processes)"
    ]
    for problem in measured["problems"]:
        lines.append(f"  warning: {problem['what']}: {problem['why']}. {problem['mend']}")
    if measured["kept"] is not None:
        lines.append(f"  kept for searches on this device: {measured['kept']}")
    return lines
