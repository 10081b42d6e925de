"""What lies in the store, who holds it, and its removal: never what a live study uses."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from paretune.errors import UsageError
from paretune.jsontools import Json, read_json
from paretune.search.candidate import Step, describe_step
from paretune.store import Action, Store, held_in
from paretune.study import in_use


@dataclass(frozen=True)
class Artifact:
    """One object of the store.

    Attributes:
        digest: Its digest.
        bytes: Size of its files.
        made_by: The passes that made it, last steps only, such as ``genai (precision=int4)``.
        used: When it was made or found last, in seconds since the epoch.
        studies: Folders of the studies that came to use it.
        live: True if one of them is being searched now.
        keys: The actions that point at it.
    """

    digest: str
    bytes: int
    made_by: tuple[str, ...]
    used: float
    studies: tuple[str, ...]
    live: bool
    keys: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Return what a user may want to know."""
        return {
            "artifact": self.digest,
            "bytes": self.bytes,
            "made_by": list(self.made_by),
            "used": self.used,
            "studies": list(self.studies),
            "live": self.live,
        }


@dataclass(frozen=True)
class Removed:
    """What a cleaning did.

    Attributes:
        artifacts: How many were removed.
        bytes: Their size.
        kept_live: How many stayed only because a live study uses them.
    """

    artifacts: int
    bytes: int
    kept_live: int


def artifacts(store: Store) -> list[Artifact]:
    """Return every artifact of a store, the one that was used last first."""
    holders = _holders(store)
    by_digest: dict[str, list[Action]] = {}
    for action in store.actions():
        by_digest.setdefault(action.digest, []).append(action)
    found = [_artifact(store, name, acts, holders) for name, acts in by_digest.items()]
    return sorted(found, key=lambda artifact: -artifact.used)


@dataclass(frozen=True)
class _Holder:
    study: str
    objects: frozenset[str]
    live: bool


def _holders(store: Store) -> list[_Holder]:
    return [
        _Holder(
            str(value["study"]),
            frozenset(held_in(file.with_suffix(".objects"))),
            in_use(Path(value["study"])),
        )
        for file in sorted((store.root / "held").glob("*.json"))
        for value in (read_json(file),)
    ]


def _artifact(
    store: Store, name: str, actions: Iterable[Action], holders: Iterable[_Holder]
) -> Artifact:
    acts = list(actions)
    held = [holder for holder in holders if name in holder.objects]
    return Artifact(
        digest=name,
        bytes=acts[0].bytes,
        made_by=tuple(sorted({_described(action) for action in acts})),
        used=max(store.used(action.key) for action in acts),
        studies=tuple(holder.study for holder in held),
        live=any(holder.live for holder in held),
        keys=tuple(action.key for action in acts),
    )


def _described(action: Action) -> str:
    if "pass" not in action.note:
        return action.kind.value
    return describe_step(Step(str(action.note["pass"]), dict(action.note.get("params", {}))))


def clean(
    store: Store,
    *,
    older_than_s: float | None = None,
    size_budget: int | None = None,
    study: Path | None = None,
) -> Removed:
    """Remove artifacts; without a condition all of them. What a live study uses stays.

    Args:
        store: The store.
        older_than_s: Only what was not used for so many seconds.
        size_budget: Only until the store holds at most so many bytes; what was used longest ago
            goes first.
        study: Only what this study uses and no other does.

    Raises:
        UsageError: The store knows no such study.
    """
    store.sweep()
    shutil.rmtree(store.root / "damaged", ignore_errors=True)
    (store.root / "damaged").mkdir()
    every = artifacts(store)
    chosen = list(reversed(every))  # used longest ago first
    if study is not None:
        place = str(study.resolve())
        if not any(place == holder.study for holder in _holders(store)):
            raise UsageError(
                f"store {str(store.root)!r} holds nothing for a study {place!r}",
                hint="`paretune cache` lists which studies hold what.",
            )
        chosen = [a for a in chosen if a.studies == (place,)]
    if older_than_s is not None:
        chosen = [a for a in chosen if time.time() - a.used > older_than_s]
    total = sum(a.bytes for a in every)
    count = size = kept = 0
    for artifact in chosen:
        if size_budget is not None and total - size <= size_budget:
            break
        if artifact.live:
            kept += 1
        elif _remove(store, artifact):
            count, size = count + 1, size + artifact.bytes
    _forget_gone_studies(store)
    return Removed(count, size, kept)


def _remove(store: Store, artifact: Artifact) -> bool:
    """Remove an artifact and its actions; False if a search came to use it meanwhile.

    It goes under the locks under which a worker that finds or makes it also records that its
    study holds it. The object goes last: no action may point at nothing.
    """
    with ExitStack() as locks:
        try:
            for key in artifact.keys:
                locks.enter_context(store.lock(key, wait=False))
        except Timeout:  # being looked up or built
            return False
        locks.enter_context(store.lock_object(artifact.digest))
        if any(h.live and artifact.digest in h.objects for h in _holders(store)):
            return False
        for key in artifact.keys:
            (store.root / "actions" / f"{key}.json").unlink(missing_ok=True)
        stage = locks.enter_context(store.stage())
        folder = store.object_path(artifact.digest)
        if folder.is_dir():
            folder.rename(stage / "object")  # gone at once, however long the removal takes
    return True


def _forget_gone_studies(store: Store) -> None:
    """Take out of the list what holds nothing any more, or whose folder is gone."""
    there = {path.name.replace("-", ":", 1) for path in (store.root / "objects").iterdir()}
    for holder in (store.root / "held").glob("*.json"):
        listed = holder.with_suffix(".objects")
        gone = not Path(read_json(holder)["study"]).is_dir()
        if gone or not held_in(listed) & there:
            if in_use(Path(read_json(holder)["study"])):
                continue
            listed.unlink(missing_ok=True)
            holder.unlink()
