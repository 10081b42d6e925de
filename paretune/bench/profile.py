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
from paretune.targets.device.environment import Environment, Issue, issues

_T_975 = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
    2.086,
)
"""Student's t at 97.5 % by degrees of freedom, from 1."""
_MAD_TO_SD = 1.4826
"""Of a normal distribution."""
_MAD_EFFICIENCY = 0.37
_NOISY_FROM = 0.05
_GIGA = 1e9


def noise_floor(medians: Sequence[float]) -> float:
    """Return how far the medians of two processes of the same work lie apart, 95 times of 100.

    As the logarithm of their ratio, and without bursts: on a shared machine some processes run half
    as slow again for a second. A few of those shall not widen every interval; they are told apart
    (`bursts`). So the spread is the median absolute deviation, which half of the values may be off
    without spoiling it. It knows as much as a standard deviation of 0.37 times as many values does
    (Rousseeuw and Croux, "Alternatives to the median absolute deviation", 1993), hence Student's t
    of so many degrees of freedom.

    Args:
        medians: One a process, two at least.
    """
    logs = [math.log(median) for median in medians]
    middle = statistics.median(logs)
    spread = _MAD_TO_SD * statistics.median(abs(x - middle) for x in logs)
    freedom = min(max(1, round(_MAD_EFFICIENCY * (len(logs) - 1))), len(_T_975))
    return _T_975[freedom - 1] * math.sqrt(2) * spread


def bursts(noise: Mapping[str, Sequence[float]]) -> tuple[int, float]:
    """Return how many of the processes lay beyond the floor of their work, and the furthest share.

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
        noise: Of each process of the A/A run, its medians.
        seen: What others took of the processor meanwhile.
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
    """Return what would spoil measurements on this device, and what spoilt this one."""
    found = list(issues(around))
    if not profile.calm:
        found.append(
            Issue(
                f"while this was measured {Interference(profile.others, profile.stolen)}",
                "bandwidth and arithmetic came out too low, so they rule out no candidate",
                "Run `paretune bench` again when the machine is quiet.",
            )
        )
    if profile.noise_floor > _NOISY_FROM:
        found.append(
            Issue(
                f"two processes of the same work differ by up to {profile.noise_floor:.1%}",
                "a smaller difference between two models cannot be told from noise",
                "Mend what is named here, or let finalists be measured for longer.",
            )
        )
    hit, furthest = bursts(profile.noise)
    if hit:
        of = sum(map(len, profile.noise.values()))
        found.append(
            Issue(
                f"{hit} of {of} timings were up to {furthest:.0%} off what the same work takes",
                "something outside of this system slows it down for a second at a time",
                "On a virtual machine nothing helps but time: give finals (`search: {finals: 5m}`) "
                "and comparisons (--time 10m) more of it; what they compare is hit alike.",
            )
        )
    return tuple(found)


def beside_earlier(profile: DeviceProfile, store_root: Path) -> tuple[DeviceProfile, Issue | None]:
    """Return what to keep in the place of what the store has of the device, and what is said of it.

    The roofs are the best of both. The rest of a calm profile is not given up for a disturbed one.
    """
    try:
        earlier = DeviceProfile.load(store_root, profile.fingerprint)
    except StateError:  # a damaged one is what measuring again mends
        earlier = None
    if earlier is None:
        return profile, None
    if profile.calm or not earlier.calm:
        return profile.with_roofs_of(earlier), None
    seen = Interference(profile.others, profile.stolen)
    return earlier.with_roofs_of(profile), Issue(
        f"while this was measured {seen}",
        f"searches go on with the figures of {earlier.when}, and the better of both rates",
        "Run `paretune bench` again when the machine is quiet; to do without the earlier figures, "
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
        f"  noise floor: but for bursts, the medians of two processes of the same work lie within "
        f"{profile['noise_floor']:.1%} of each other, 95 times of 100 "
        f"({len(profile['noise']['memory'])} processes)"
    ]
    for problem in measured["problems"]:
        lines.append(f"  warning: {problem['what']}: {problem['why']}. {problem['mend']}")
    if measured["kept"] is not None:
        lines.append(f"  kept for searches on this device: {measured['kept']}")
    return lines
