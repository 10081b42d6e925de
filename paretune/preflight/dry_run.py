"""What a search would do, before it does anything: candidates, trainings, memory, disk, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.core.candidate import Candidate, counted, describe, recipe_to_json
from paretune.core.jsontools import Json, canonical
from paretune.core.user_paths import default_store, refuse_model_folder
from paretune.plugin_identity import run_of
from paretune.preflight.mlflow_form import check_picks
from paretune.preflight.told_before import told_before
from paretune.registry import find_pass
from paretune.search.sample import SPREAD, WHOLE, spread
from paretune.search.strategies.exhaustive import Exhaustive
from paretune.store.artifacts import Store
from paretune.study.devices import arranged
from paretune.study.prior_entry import entry

if TYPE_CHECKING:
    from paretune.config import Plan
    from paretune.preflight.prepared import PreparedSearch

_SHOWN = 5


def foresee(
    config: Path,
    *,
    study: Path | None = None,
    store: Path | None = None,
    trials: int | None = None,
    time: str | float | None = None,
    allow_network: bool = False,
    trust_remote_code: bool = False,
    from_studies: Sequence[Path | str] | None = None,
    mlflow: bool = False,
) -> dict[str, Json]:
    """Check a whole configuration and estimate the cost of its search; nothing is built.

    Args:
        config: The configuration.
        study: The study that the search would continue; by default that of the configuration.
        store: The store; by default that of the configuration.
        trials: Maximum number of candidates.
        time: Maximum time.
        allow_network: Whether jobs may use the network.
        trust_remote_code: Whether code that models or configurations bring may run.
        from_studies: Earlier studies that give priors, instead of the configuration's.
        mlflow: Whether the search would write the pick as an MLflow folder.

    Returns:
        ``candidates`` in the space, how many were ``looked_at`` and how many of those are ruled
        out (``skipped``, with reasons), distinct ``trainings`` and ``builds``, and the largest
        ``memory_mb`` and the sum of ``disk_mb`` and ``seconds`` that the passes estimate (null
        where a pass gives no estimate). Of a space of more than 2,000 candidates, 200 are
        checked (``sampled``): trainings and builds are counted nevertheless; disk and seconds are
        those of the sample's builds, in proportion. ``priors``: what enters of each earlier study.
        Of several devices these are the main one's, and ``devices`` has the same of each by name.

    Raises:
        UsageError: The configuration is wrong, or the study has outcomes of another model or data.
        StateError: An earlier study is damaged.
    """
    from paretune.config import load

    plan = load(
        config,
        trials=trials,
        time=time,
        allow_network=allow_network,
        trust_remote_code=trust_remote_code,
        from_studies=from_studies,
    )
    if mlflow:
        check_picks(plan)
    place = study or plan.study or Path("studies") / plan.name
    root = store or plan.store or default_store()
    refuse_model_folder(plan.model, Path(place), Path(root))
    if len(plan.devices) < 2:
        return _of_device(plan, Path(place), Store(root))
    settings = {device.name: plan.for_device(device) for device in plan.devices}
    by_device = {
        device.name: _of_device(settings[device.name], Path(place) / device.folder, Store(root))
        for device in arranged(Path(place), list(settings))
    }
    main = next(iter(by_device.values()))
    return {**main, "devices": by_device}


def _of_device(plan: Plan, study: Path, store: Store) -> dict[str, Json]:
    from paretune.preflight.prepared import PreparedSearch

    prepared = PreparedSearch(plan, store)
    try:
        changed = _changed(prepared, study)
        earlier = prepared.earlier(study)
        found = _foresee(prepared)
        return {
            **found,
            "notes": [*changed, *earlier.notes, *found["notes"]],
            "priors": [entry(prior).to_json() for prior in earlier.priors],
        }
    finally:
        prepared.target.close()


def _changed(prepared: PreparedSearch, study: Path) -> list[str]:
    """Return which outcomes of an existing study would be dropped, one sentence each.

    Raises:
        UsageError: It has outcomes of another model or data; the search refuses it too.
    """
    from paretune.models.handle import earlier_digests
    from paretune.study.folder import changes_since, read_outcomes, require_identity

    outcomes = read_outcomes(study)
    require_identity(study, outcomes)
    if not outcomes or not (study / "identity.json").is_file():
        return []
    device = prepared.device.to_json()
    earlier = earlier_digests(prepared.plan.model)
    return changes_since(study, outcomes, prepared.identity(), device, earlier).notes


@dataclass
class _Costs:
    """What the builds of one pass take, of the candidates that were checked."""

    builds: int = 0
    disk: int = 0
    runs: dict[str, float] = field(default_factory=dict)
    """Seconds of each run, up to its last stop."""


def _foresee(prepared: PreparedSearch) -> dict[str, Json]:
    plan = prepared.plan
    named = [prepared.baseline, *plan.try_first]
    sampled = plan.space.size > WHOLE
    candidates = list(
        {c.digest: c for c in (*named, *(spread(plan.space) if sampled else plan.space))}.values()
    )
    skipped: dict[str, int] = {}
    seen, costs = set(), dict[str, _Costs]()
    memory = 0
    known = True
    for candidate in candidates:
        foresight = prepared.look(candidate)
        if foresight.reason is not None:
            skipped[foresight.reason] = skipped.get(foresight.reason, 0) + 1
            continue
        for depth, estimate in enumerate(foresight.estimates, start=1):
            prefix = canonical(recipe_to_json(candidate.recipe[:depth]))
            if prefix in seen:
                continue
            seen.add(prefix)
            cost = costs.setdefault(candidate.recipe[depth - 1].name, _Costs())
            cost.builds += 1
            cost.disk += estimate.bytes_out or 0
            run = run_of(candidate.recipe[:depth])
            cost.runs[run] = max(cost.runs.get(run, 0.0), estimate.seconds or 0.0)
            memory = max(memory, estimate.peak_memory or 0)
            known = known and estimate.seconds is not None
    builds = {name: cost.builds for name, cost in costs.items()}
    if sampled:
        # A pass that looks ahead has more builds than its own parameters say.
        counted = plan.space.tree.builds
        builds = {name: max(n, counted.get(name, 0)) for name, n in builds.items()}
    share = {name: builds[name] / cost.builds for name, cost in costs.items()}
    return {
        "candidates": plan.space.size,
        "looked_at": len(candidates),
        "skipped": sum(skipped.values()),
        "reasons": skipped,
        "sampled": sampled,
        "trainings": round(
            sum(len(c.runs) * share[name] for name, c in costs.items() if find_pass(name).trains)
        ),
        "builds": sum(builds.values()),
        "memory_mb": round(memory / 1e6),
        "disk_mb": round(sum(cost.disk * share[name] for name, cost in costs.items()) / 1e6),
        "build_seconds": round(
            sum(sum(cost.runs.values()) * share[name] for name, cost in costs.items())
        ),
        "build_seconds_complete": known,
        "baseline": describe(prepared.baseline),
        "first": [describe(c) for c in _first(prepared, named)],
        "notes": [*plan.notes, *told_before(prepared)],
        "time_s": plan.search.time_s,
        "trials": plan.search.trials,
        "repeat_pick": plan.search.repeat_pick,
    }


def _first(prepared: PreparedSearch, named: list[Candidate]) -> list[Candidate]:
    """Return the candidates that the search begins with, without duplicates and excluded ones.

    A sampler proposes by measurements, so only the candidates that the configuration names are
    known in advance.
    """
    proposer = getattr(prepared.strategy(named), "proposer", None)
    asked = iter(proposer.ask, None) if isinstance(proposer, Exhaustive) else iter(named)
    found: dict[str, Candidate] = {}
    most = WHOLE if prepared.plan.space.size <= WHOLE else SPREAD
    for candidate in islice(asked, most):
        if prepared.look(candidate).reason is None:
            found.setdefault(candidate.digest, candidate)
        if len(found) == _SHOWN:
            break
    return list(found.values())


def render(found: dict[str, Json]) -> str:
    """Return the result of a dry run as text."""
    if "devices" in found:
        parts = [f"on {name}\n{render(each)}" for name, each in found["devices"].items()]
        return "\n\n".join(parts)
    lines = [
        f"candidates   {found['candidates']} in the space"
        + (f", {_ruled_out(found)} ruled out on this machine" if found["skipped"] else ""),
        f"baseline     {found['baseline']}",
        f"trainings    {found['trainings']} (each is done once and shared by its builds)",
        f"builds       {found['builds']}, trainings included",
        f"time         about {found['build_seconds']} s for all builds"
        + ("" if found["build_seconds_complete"] else " (some passes give no estimate)")
        + ", measuring not included",
        f"memory       about {found['memory_mb']} MB at most",
        f"disk         about {found['disk_mb']} MB in the store",
    ]
    if found["sampled"]:
        checked = f"{found['looked_at']} candidates, spread over the space"
        lines.insert(1, f"checked      {checked}; memory, disk and time are estimated from these")
    for reason, count in found["reasons"].items():
        lines.append(f"  {count} x {reason}")
    if found["time_s"] is not None:
        lines.append(f"the search stops after {found['time_s']:.0f} s")
    if found["trials"] is not None:
        lines.append(f"the search stops after {found['trials']} candidates")
    if found["repeat_pick"]:
        more = counted(found["repeat_pick"], "other training seed")
        lines.append(f"then the pick is built again with {more}")
    lines += [f"note: {note}" for note in found["notes"]]
    if found["first"]:
        lines.append("first: " + "\n       ".join(found["first"]))
    return "\n".join(lines)


def _ruled_out(found: dict[str, Json]) -> str:
    count = str(found["skipped"])
    return f"{count} of {found['looked_at']}" if found["sampled"] else count
