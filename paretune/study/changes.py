"""What becomes of a study when what its numbers depend on is no longer what it was.

Two ends: the study is refused, with each change by name (another model, other data, another
device: no number of it is comparable with a new one); or the numbers that the change touches are
dropped and made again (an evaluator's or a pass's own version, code and packages).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from paretune.core.candidate import counted
from paretune.core.device import PASSING
from paretune.core.jsontools import Json, canonical
from paretune.core.result import OutcomeKind, TrialResult
from paretune.plugin_identity import data_read_by
from paretune.registry import find_evaluator, names
from paretune.study.identity import SCHEMA

_SHOWN = 4
"""Changes that are listed one by one."""
_NOT_OF_OLD = (
    "training",
    "labels",
    "rows",
    "measured_by",
    "passes",
    "paretune",
    "model_files",
    "schema",
)
"""What the first identities did not have."""
_VERSIONS_OF_OLD = {
    "measured_by": {
        "classification": 1,
        "exact_match": 1,
        "perplexity": 1,
        "generation": 2,
        "footprint": 1,
        "custom": 1,
    },
    "passes": {
        "lora": 2,
        "qlora": 1,
        "merge": 1,
        "genai": 1,
        "genai_adapter": 1,
        "matmul_nbits": 1,
    },
}
"""Those of ours when identities began to hold them."""
_LOOKED_AT_OF_OLD = frozenset(
    {
        "numpy",
        "onnxruntime",
        "onnxruntime-genai",
        "peft",
        "torch",
        "transformers",
        "onnxruntime-genai-cuda",
        "onnxruntime-genai-directml",
        "onnxruntime-gpu",
        "onnxruntime-directml",
    }
)
_BROKEN = frozenset(
    {
        OutcomeKind.FAILED,
        OutcomeKind.CRASHED,
        OutcomeKind.INVALID,
        OutcomeKind.TIMEOUT,
        OutcomeKind.OUT_OF_MEMORY,
    }
)


@dataclass
class Changes:
    """What changed since a study's outcomes were made, and what that means.

    Attributes:
        refused: Changes for which nothing of the study can be gone on with, a phrase each.
        dropped: Outcomes that must be made again.
        notes: Sentences for the user on the other changes.
        remeasured: Names of the evaluators whose values do not count any more.
        rebuilt: Names of the passes whose builds do not count any more.
        nothing_ran: No job of the study ever ran: it may become another one.
    """

    refused: list[str] = field(default_factory=list)
    dropped: list[TrialResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remeasured: set[str] = field(default_factory=set)
    rebuilt: set[str] = field(default_factory=set)
    nothing_ran: bool = False

    @property
    def touched(self) -> bool:
        """Whether any values or builds do not count any more."""
        return bool(self.dropped or self.remeasured or self.rebuilt)


def compare(
    known: Mapping[str, Json],
    now: Mapping[str, Json],
    outcomes: Sequence[TrialResult],
    devices: tuple[Mapping[str, Json], Mapping[str, Json]] = ({}, {}),
    earlier_digests: Iterable[str] = (),
) -> Changes:
    """Set a study's identity against today's.

    Args:
        known: What lies in the study.
        now: Today's.
        outcomes: Those on record.
        devices: The facts of the device then and now.
        earlier_digests: What the model's digest would have been under earlier rules; used only
            if the study was begun under one of them.
    """
    found = Changes()
    old = int(known.get("schema", 1)) < SCHEMA and "schema" in now
    _of_model(found, known, now, earlier_digests if old else ())
    _of_data(found, known, now, outcomes)
    for key in sorted({*known, *now} - {*_NOT_OF_OLD, "model", "base", "data", "device"}):
        found.refused += differences(known.get(key), now.get(key), key)
    _of_device(found, known, now, devices)
    if found.refused:
        return found
    _of_evaluators(found, known, now, outcomes)
    _of_passes(found, known, now, outcomes)
    gone = {outcome.id for outcome in found.dropped}
    found.dropped += [o for o in outcomes if o.duplicate_of in gone and o.id not in gone]
    before, today = known.get("paretune"), now.get("paretune")
    if before is not None and today is not None and before != today:
        found.notes.append(
            f"this study was begun with paretune {before}, this is {today}; what it measured with "
            "the same versions of passes and evaluators stays"
        )
    if old and outcomes:
        found.notes.append(
            "this study was begun by a version that recorded neither training data nor versions "
            "and code of what built and measured: whether they have changed is not "
            "known; from now on they are recorded. Name a new folder with --study DIR if one of "
            "them has changed"
        )
    return found


def told(refused: Sequence[str]) -> str:
    """Return the first few changes as one text, and how many there are besides."""
    more = f"; and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    return "; ".join(refused[:_SHOWN]) + more


def joined(known: Mapping[str, Json], now: Mapping[str, Json]) -> dict[str, Json]:
    """Return the identity to keep: today's, and what earlier candidates of the study read."""
    kept = dict(now)
    for key in ("training", "rows"):
        if key in now:
            kept[key] = {**known.get(key, {}), **now[key]}
    if "passes" in now:
        before = known.get("passes", {})
        kept["passes"] = {**before, **now["passes"]}
        for name in before.keys() & now["passes"].keys():
            files = {**before[name].get("files", {}), **now["passes"][name].get("files", {})}
            if files:
                kept["passes"][name] = {**now["passes"][name], "files": files}
    return kept


def _of_model(
    found: Changes, known: Mapping[str, Json], now: Mapping[str, Json], earlier: Iterable[str]
) -> None:
    before, today = known.get("model"), now.get("model")
    if before != today and all(before != digest for digest in earlier):
        files = list(_files(known.get("model_files"), now.get("model_files")))
        more = f" ({', '.join(files)})" if files else ""
        found.refused += [f"{text}{more}" for text in differences(before, today, "model")]
    found.refused += differences(known.get("base"), now.get("base"), "the adapter's base")


def _files(before: Json, now: Json) -> Iterator[str]:
    """Yield which files of two sets differ, a phrase each."""
    before, now = before or {}, now or {}
    for name in sorted({*before, *now}) if before else ():
        if name not in now:
            yield f"{name} is gone"
        elif name not in before:
            yield f"{name} is new"
        elif before[name] != now[name]:
            yield f"{name} differs"


def _of_data(
    found: Changes,
    known: Mapping[str, Json],
    now: Mapping[str, Json],
    outcomes: Sequence[TrialResult],
) -> None:
    rows = (known.get("rows", {}), now.get("rows", {}))
    for key, kind in (("data", "data"), ("training", "training data")):
        before, today = known.get(key, {}), now.get(key, {})
        for ref in sorted(before.keys() & today.keys()):
            told = key == "training" and ref in known.get("data", {}).keys() & now["data"].keys()
            if before[ref] == today[ref] or told:
                continue
            users = [o.id for o in outcomes if ref in _trained_on(o)]
            if key == "training" and not users:
                continue
            counts = ""
            if ref in rows[0] and ref in rows[1]:
                counts = f"{rows[0][ref]} rows before, {rows[1][ref]} now, "
            built = f" ({counted(len(users), 'candidate')} trained on it)" if users else ""
            found.refused.append(f"{kind} {ref}: {counts}content differs{built}")
    before, today = known.get("labels", {}), now.get("labels", {})
    for ref in sorted(before.keys() & today.keys()):
        same = known["data"].get(ref) == now["data"].get(ref)
        if same and before[ref] != today[ref]:
            found.refused.append(f"data {ref}: the labels of its other parts differ")


def _trained_on(outcome: TrialResult) -> set[str]:
    if not outcome.ran_job:
        return set()
    known = set(names("passes"))
    steps = (step for step in outcome.candidate.recipe if step.name in known)
    return {ref for step in steps for ref in data_read_by(step)}


def _of_device(
    found: Changes,
    known: Mapping[str, Json],
    now: Mapping[str, Json],
    devices: tuple[Mapping[str, Json], Mapping[str, Json]],
) -> None:
    before, today = known.get("device"), now.get("device")
    if before == today:
        return
    passing = {"fingerprint", *PASSING}
    facts = [{k: v for k, v in device.items() if k not in passing} for device in devices]
    what = ""
    if all(facts):
        if "schema" not in known:  # fewer packages were looked at
            packages = facts[1].get("packages", {})
            seen = facts[0].get("packages", {}).keys() | _LOOKED_AT_OF_OLD
            facts[1]["packages"] = {name: v for name, v in packages.items() if name in seen}
        inner = list(differences(facts[0], facts[1]))
        if not inner:
            return
        what = f" ({', '.join(inner)})"
    found.refused += [f"{text}{what}" for text in differences(before, today, "device")]


def _of_evaluators(
    found: Changes,
    known: Mapping[str, Json],
    now: Mapping[str, Json],
    outcomes: Sequence[TrialResult],
) -> None:
    today = now.get("measured_by")
    before = known.get("measured_by", _of_old(now, "measured_by"))
    if today is None or len(before) != len(today):
        return
    for choice, old, new in zip(now["evaluators"], before, today, strict=True):
        kind = find_evaluator(choice["name"])
        metrics = {spec.name for spec in kind(kind.Params(**choice["params"])).metrics}
        why = list(_of_maker(old, new))
        hit = [
            o
            for o in outcomes
            if metrics & o.rests_on or (o.kind in _BROKEN and o.artifact is not None)
        ]
        if not why:  # each outcome says which protocol it was measured by
            protocol = new.get("protocol")
            hit = [o for o in hit if protocol is not None and _by_another(o, metrics, protocol)]
            why = [f"protocol {protocol} now"] if hit else []
        if not why:
            continue
        found.remeasured.add(choice["name"])
        _drop(
            found,
            hit,
            f"evaluator {choice['name']} changed: {'; '.join(why)}",
            f"its values ({', '.join(sorted(metrics))}) do not count any more: {{}} measured "
            "again; their builds are kept",
        )


def _of_old(now: Mapping[str, Json], key: str) -> Json:
    """Return what an identity that does not say so has been made by: ours, in known versions."""
    versions = _VERSIONS_OF_OLD[key]
    if key == "passes":
        return {n: {"version": versions[n]} for n in now.get(key, {}) if n in versions}
    return [
        {"version": versions[e["name"]]} if e["name"] in versions else {}
        for e in now.get("evaluators", ())
    ]


def _by_another(outcome: TrialResult, metrics: set[str], protocol: str) -> bool:
    """Return whether one of these was measured by an earlier form of a protocol (``device-1``)."""
    stem = protocol.rpartition("-")[0]
    measured = (outcome.measurements or {}).items()
    return any(
        m.protocol != protocol and m.protocol.rpartition("-")[0] == stem
        for name, m in measured
        if name in metrics
    )


def _of_passes(
    found: Changes,
    known: Mapping[str, Json],
    now: Mapping[str, Json],
    outcomes: Sequence[TrialResult],
) -> None:
    today = now.get("passes", {})
    before = known.get("passes", _of_old(now, "passes"))
    for name in sorted(before.keys() & today.keys()):
        why = list(_of_maker(before[name], today[name]))
        if not why:
            continue
        hit = [
            o
            for o in outcomes
            if (o.ran_job or o.stopped_by_parent)
            and any(s.name == name for s in o.candidate.recipe)
        ]
        found.rebuilt.add(name)
        _drop(
            found,
            hit,
            f"pass {name} changed: {'; '.join(why)}",
            "what it built before is not mixed with what it builds now: {} built and measured "
            "again",
        )


def _drop(found: Changes, hit: Sequence[TrialResult], why: str, what: str) -> None:
    already = {outcome.id for outcome in found.dropped}
    found.dropped += [outcome for outcome in hit if outcome.id not in already]
    if hit:
        candidates = f"{counted(len(hit), 'candidate')} {'is' if len(hit) == 1 else 'are'}"
        found.notes.append(f"{why}; {what.format(candidates)}")


def _of_maker(before: Mapping[str, Json], now: Mapping[str, Json]) -> Iterator[str]:
    """Yield what changed of what an evaluator or a pass is made of, a phrase each.

    Of a study from before more was recorded the version is known alone, if at all.
    """
    for key in ("version", "protocol"):
        if key in before and before[key] != now.get(key):
            yield f"{key} {before[key]} before, {now.get(key)} now"
    if set(before) <= {"version"} < set(now):
        return
    for key, word in (("distribution", "its package "), ("packages", ""), ("imports", "")):
        old, new = before.get(key, {}), now.get(key, {})
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                yield (
                    f"{word}{name} {old.get(name, 'absent')} before, {new.get(name, 'absent')} now"
                )
    yield from (f"its code: {text}" for text in _sources(before.get("code"), now.get("code")))
    # A space that no longer names a file, or names another one, has not changed one.
    old, new = before.get("files", {}), now.get("files", {})
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            yield f"the file {name} differs"


def _sources(before: Json, now: Json) -> Iterator[str]:
    before, now = before or {}, now or {}
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            how = "is gone" if name not in now else "is new" if name not in before else "differs"
            yield f"module {name} {how}"


def differences(before: Json, now: Json, place: str = "") -> Iterator[str]:
    """Yield where two JSON values differ, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            inner = f"{place}.{key}" if place else key
            yield from differences(before.get(key), now.get(key), inner)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from differences(one, other, f"{place}[{i}]")
    elif before != now:
        yield f"{place} was {_cut(before)}, is {_cut(now)}"


def _cut(value: Json) -> str:
    text = value if isinstance(value, str) else canonical(value)
    return text if len(text) <= 60 else text[:57] + "..."
