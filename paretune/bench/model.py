"""A model's speed, footprint and share of the device's roofline, measured as in a search."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from paretune.bench.device import device_line, value_of
from paretune.config.measurable import misfits, need_of
from paretune.config.model_source import given_model
from paretune.core.candidate import RuntimeSettings
from paretune.core.device_profile import DeviceProfile
from paretune.core.errors import UsageError
from paretune.core.job import Call, Job, Limits, Measure
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement, by_metric
from paretune.core.model import Model
from paretune.core.target import Target, is_far, preload
from paretune.core.traffic import Traffic
from paretune.data.catalog import DataCatalog
from paretune.models.handle import inspect, open_model
from paretune.preflight.measuring_conditions import about_profile, bench_command, issues_on
from paretune.preflight.packages import measuring_packages
from paretune.registry import find_evaluator
from paretune.runtimes.package import lay_out
from paretune.runtimes.serving import required_runtime, traffic_of
from paretune.search.roofline import context_of, roofline_entry
from paretune.search.trial import PROCESS_S
from paretune.stats.pooling import pool
from paretune.targets.launchers.local import LocalTarget

_EVALUATORS = ("generation", "footprint")
_LIMITS = Limits(seconds=600.0)
_SHARES = {"decode_ms_p50": "decode_share", "ttft_ms_p50": "ttft_share"}


def bench_model(
    path: Path,
    target: Target | None = None,
    *,
    threads: int | None = None,
    store_root: Path | None = None,
) -> dict[str, Json]:
    """Measure a model's speed and footprint on this device, as a search would.

    Args:
        path: A model folder of a kind that can be served (a GenAI or a Hugging Face folder).
        target: Where to measure; None: this machine.
        threads: Threads to run it with; None: the physical cores.
        store_root: The store with the device's profile, which is used if it was not disturbed;
            None: use no profile.

    Returns:
        ``{"device", "model", "runtime", "measurements": [...], "noise_floor": share or None,
        "roofline": {...} or None, "no_roofline": why there is no share of the roof or None,
        "problems": [{"what", "why", "mend"}, ...]}``. A speed is pooled from several processes
        (``details.processes``); `roofline` is as in ``results.json``.

    Raises:
        UsageError: There is no such model, or it is of a kind that cannot be served by itself.
        ParetuneError: It does not load or generate, or a limit was hit.
        StateError: The device's profile is damaged.
    """
    model = open_model(given_model(path))
    needs = [need_of(name, {}) for name in _EVALUATORS]
    for misfit in misfits(model.kind, needs, f"model {str(path)!r}"):
        raise UsageError(misfit.message, hint=misfit.hint)
    if target is None:
        with LocalTarget() as made:
            return bench_model(path, made, threads=threads, store_root=store_root)
    preload(target, measuring_packages([(model.kind, "")], _EVALUATORS))
    found = issues_on(target, seconds=1.0)  # first: what follows is our own load
    info = target.info()
    profile = None if store_root is None else DeviceProfile.load(store_root, info.fingerprint)
    calm = profile if profile is not None and profile.calm else None
    floor = None if calm is None else calm.noise_floor
    runtime = RuntimeSettings("cpu", threads or info.cores)
    measured: dict[str, Measurement] = {}
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        package = lay_out(model, runtime, Path(folder, "package"), link=True)
        for name in _EVALUATORS:
            measured |= _measured(target, package, runtime, name, floor)
    roof = _needs(target, model, runtime, calm, measured)
    return {
        "device": info.to_json(),
        "model": model.to_json(),
        "runtime": runtime.to_json(),
        "measurements": [m.to_json() for m in measured.values()],
        "noise_floor": floor,
        "roofline": roof,
        "no_roofline": _why_no_share(roof, profile, store_root),
        "problems": [asdict(trouble) for trouble in found],
    }


def _measured(
    target: Target, package: Model, runtime: RuntimeSettings, name: str, floor: float | None
) -> dict[str, Measurement]:
    """Measure one evaluator's last rung in as many processes as it asks for, one after another."""
    several = getattr(find_evaluator(name), "processes", 1)
    blocks = []
    for number in range(several):
        task = Measure(
            model=package,
            runtime=runtime,
            evaluator=name,
            params={},
            seconds=PROCESS_S if several > 1 else None,
            block=number > 0,
            data=DataCatalog({}, Path.cwd()).to_json(),
        )
        blocks.append(by_metric(value_of(target, Job(task, _LIMITS))))
    return pool(blocks, floor) if several > 1 else blocks[0]


def _needs(
    target: Target,
    model: Model,
    runtime: RuntimeSettings,
    profile: DeviceProfile | None,
    measured: Mapping[str, Measurement],
) -> dict[str, Json] | None:
    """Return what the model needs of the device, and which share of the roofline it reaches."""
    counter = required_runtime(model.kind).traffic_counter
    needs: Traffic | None
    if counter:
        call = Call(counter, {"folder": str(model.path)})
        # The folder lies on this machine.
        with LocalTarget() if is_far(target) else nullcontext(target) as here:
            counted = value_of(here, Job(call, _LIMITS))
        if counted is None:
            return None
        cache = counted.pop("cache_bytes") * context_of(measured)
        counted["bytes_per_token"] += cache
        needs = Traffic(**counted)
    else:
        needs = traffic_of(inspect(model.path), runtime, context_of(measured))
    return None if needs is None else roofline_entry(needs, runtime, profile, measured)


def _why_no_share(
    needs: Mapping[str, Json] | None, profile: DeviceProfile | None, store_root: Path | None
) -> str | None:
    if needs is None:
        return "the number of bytes that this model reads per token is not known"
    if profile is None or store_root is None:
        command = "paretune bench" if store_root is None else bench_command(store_root)
        return f"this device was not measured yet; run `{command}` first (takes a minute)"
    return None if profile.calm else about_profile(profile, store_root, datetime.now(UTC))


def render_model(measured: Mapping[str, Json]) -> str:
    """Return what `bench_model` measured as lines of text."""
    runtime, roof = measured["runtime"], measured["roofline"] or {}
    lines = [
        device_line(measured["device"]),
        "",
        f"{measured['model']['path']} on {runtime['provider']} x{runtime['threads']}",
    ]
    for m in measured["measurements"]:
        value = "no value" if m["value"] is None else f"{m['value']:.4g} {m['unit']}"
        spread = "" if m["low"] is None else f"  [{m['low']:.4g}, {m['high']:.4g}], {_counted(m)}"
        reason = f"  ({m['reason']})" if m["reason"] and m["value"] is None else ""
        share = roof.get(_SHARES.get(m["metric"], ""))
        shown = "" if share is None else f"  {share:.0%} of the roofline"
        lines.append(f"  {m['metric']:<22}{value:>20}{spread}{shown}{reason}")
    lines.append("")
    if roof:
        lines.append(
            f"  bytes read per decoded token: {roof['bytes_per_token'] / 1e6:.4g} MB; the roofline "
            "is the time to read them at the bandwidth of this device"
        )
    if measured["no_roofline"] is not None:
        lines.append(f"  no share of the roofline: {measured['no_roofline']}")
    if measured["noise_floor"] is not None:
        lines.append(
            f"  intervals are at least as wide as this device's noise floor "
            f"({measured['noise_floor']:.1%} between two processes)"
        )
    for problem in measured["problems"]:
        lines.append(f"  warning: {problem['what']}: {problem['why']}. {problem['mend']}")
    return "\n".join(lines)


def _counted(measurement: Mapping[str, Json]) -> str:
    """Return the numbers of samples and of processes that an interval is computed from."""
    n, processes = measurement["n"], len(measurement["details"].get("processes", ()))
    if n == processes:  # one value per process
        return f"{n} processes"
    return f"n={n}" + (f" in {processes} processes" if processes > 1 else "")
