"""What a search would do, before it does anything: candidates, trainings, memory, disk, time."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.core.candidate import Candidate, describe, recipe_to_json
from paretune.core.jsontools import Json, canonical
from paretune.core.user_paths import default_store, refuse_model_folder
from paretune.passes.base import Pass
from paretune.plugin_identity import run_of
from paretune.preflight.told_before import told_before
from paretune.registry import find_pass
from paretune.search.strategies.exhaustive import Exhaustive
from paretune.store.artifacts import Store

if TYPE_CHECKING:
    from paretune.preflight.prepared import PreparedSearch

_LOOKED_AT = 2000
"""Maximum number of candidates that are checked one by one."""
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

    Returns:
        ``candidates`` in the space, how many were ``looked_at`` and how many of those are ruled
        out (``skipped``, with reasons), distinct ``trainings`` and ``builds``, and the largest
        ``memory_mb`` and the sum of ``disk_mb`` and ``seconds`` that the passes estimate (null
        where a pass gives no estimate).

    Raises:
        UsageError: The configuration is wrong, or the study has outcomes of another model or data.
    """
    from paretune.config import load
    from paretune.preflight.prepared import PreparedSearch

    plan = load(
        config,
        trials=trials,
        time=time,
        allow_network=allow_network,
        trust_remote_code=trust_remote_code,
    )
    place = study or plan.study or Path("studies") / plan.name
    root = store or plan.store or default_store()
    refuse_model_folder(plan.model, Path(place), Path(root))
    prepared = PreparedSearch(plan, Store(root))
    try:
        changed = _changed(prepared, place)
        found = _foresee(prepared)
        return {**found, "notes": [*changed, *found["notes"]]}
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


def _foresee(prepared: PreparedSearch) -> dict[str, Json]:
    plan = prepared.plan
    named = [prepared.baseline, *plan.try_first]
    candidates = list({c.digest: c for c in (*named, *islice(plan.space, _LOOKED_AT))}.values())
    skipped: dict[str, int] = {}
    trainings, builds = set(), set()
    longest: dict[str, float] = {}  # seconds of each run, up to its last stop
    memory, disk = [], 0
    known = True
    for candidate in candidates:
        foresight = prepared.look(candidate)
        if foresight.reason is not None:
            skipped[foresight.reason] = skipped.get(foresight.reason, 0) + 1
            continue
        for depth, estimate in enumerate(foresight.estimates, start=1):
            prefix = canonical(recipe_to_json(candidate.recipe[:depth]))
            if prefix in builds:
                continue
            builds.add(prefix)
            pass_: Pass = find_pass(candidate.recipe[depth - 1].name)
            run = run_of(candidate.recipe[:depth])
            if pass_.trains:
                trainings.add(run)
            longest[run] = max(longest.get(run, 0.0), estimate.seconds or 0.0)
            disk += estimate.bytes_out or 0
            memory.append(estimate.peak_memory or 0)
            known = known and estimate.seconds is not None
    return {
        "candidates": plan.space.size,
        "looked_at": len(candidates),
        "skipped": sum(skipped.values()),
        "reasons": skipped,
        "trainings": len(trainings),
        "builds": len(builds),
        "memory_mb": round(max(memory, default=0) / 1e6),
        "disk_mb": round(disk / 1e6),
        "build_seconds": round(sum(longest.values())),
        "build_seconds_complete": known,
        "baseline": describe(prepared.baseline),
        "first": [describe(c) for c in _first(prepared, named)],
        "notes": [*plan.notes, *told_before(prepared)],
        "time_s": plan.search.time_s,
        "trials": plan.search.trials,
    }


def _first(prepared: PreparedSearch, named: list[Candidate]) -> list[Candidate]:
    """Return the candidates that the search begins with, without duplicates and excluded ones.

    A sampler proposes by measurements, so only the candidates that the configuration names are
    known in advance.
    """
    proposer = getattr(prepared.strategy(named), "proposer", None)
    asked = iter(proposer.ask, None) if isinstance(proposer, Exhaustive) else iter(named)
    found: dict[str, Candidate] = {}
    for candidate in islice(asked, _LOOKED_AT):
        if prepared.look(candidate).reason is None:
            found.setdefault(candidate.digest, candidate)
        if len(found) == _SHOWN:
            break
    return list(found.values())


def render(found: dict[str, Json]) -> str:
    """Return the result of a dry run as text."""
    lines = [
        f"candidates   {found['candidates']} in the space"
        + (f", {found['skipped']} ruled out on this machine" if found["skipped"] else ""),
        f"baseline     {found['baseline']}",
        f"trainings    {found['trainings']} (each is done once and shared by its builds)",
        f"builds       {found['builds']}, trainings included",
        f"time         about {found['build_seconds']} s for all builds"
        + ("" if found["build_seconds_complete"] else " (some passes give no estimate)")
        + ", measuring not included",
        f"memory       about {found['memory_mb']} MB at most",
        f"disk         about {found['disk_mb']} MB in the store",
    ]
    for reason, count in found["reasons"].items():
        lines.append(f"  {count} x {reason}")
    if found["time_s"] is not None:
        lines.append(f"the search stops after {found['time_s']:.0f} s")
    if found["trials"] is not None:
        lines.append(f"the search stops after {found['trials']} candidates")
    lines += [f"note: {note}" for note in found["notes"]]
    if found["first"]:
        lines.append("first: " + "\n       ".join(found["first"]))
    return "\n".join(lines)
