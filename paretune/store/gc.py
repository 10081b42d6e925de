"""What lies in the store, who holds it, and its removal: never what a live study uses."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from paretune.core.candidate import Step, describe_step
from paretune.core.errors import UsageError
from paretune.core.folders import folder_size, remove_files
from paretune.core.jsontools import Json, read_json
from paretune.store import checkpoints
from paretune.store.artifacts import Action, Store, held_in

_UNRECORDED = "not recorded how"


@dataclass(frozen=True)
class Artifact:
    """One object of the store, or the checkpoints of one run.

    Attributes:
        digest: Its digest; of checkpoints ``checkpoint:`` and the key of their run.
        bytes: Size of its files.
        made_by: The passes that made it, last steps only, such as ``genai (precision=int4)``; of
            an object whose record was never written (its process was killed), that.
        used: When it was made or found last, in seconds since the epoch.
        studies: Folders of the studies that came to use it.
        live: True if one of them is being searched now.
        keys: The actions that point at it; there may be none.
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
    by_digest: dict[str, list[Action]] = {name: [] for name in store.objects()}
    for action in store.actions():
        by_digest.setdefault(action.digest, []).append(action)
    found = [_artifact(store, name, acts, holders) for name, acts in by_digest.items()]
    there = [artifact for artifact in found if artifact is not None]
    there += [_checkpoints(each, holders) for each in checkpoints.kept(store)]
    return sorted(there, key=lambda artifact: -artifact.used)


@dataclass(frozen=True)
class _Holder:
    study: str
    objects: frozenset[str]
    live: bool


def _holders(store: Store) -> list[_Holder]:
    found = []
    for file in sorted((store.root / "held").glob("*.json")):
        study = _study_of(file)
        if study is not None:
            held = frozenset(held_in(file.with_suffix(".objects")))
            found.append(_Holder(str(study), held, in_use(study)))
    return found


def _study_of(holder: Path) -> Path | None:
    """Return the study that an entry of the list names; None if another process removed it."""
    try:
        return Path(read_json(holder)["study"])
    except FileNotFoundError:
        return None


def _artifact(
    store: Store, name: str, actions: Iterable[Action], holders: Iterable[_Holder]
) -> Artifact | None:
    """Return what is to be known of an object; None if another process removed it meanwhile."""
    acts = list(actions)
    held = [holder for holder in holders if name in holder.objects]
    try:
        used = [store.used(action.key) for action in acts]
        if not acts:
            used = [store.object_path(name).stat().st_mtime]
        size = acts[0].bytes if acts else folder_size(store.object_path(name))
    except FileNotFoundError:
        return None
    return Artifact(
        digest=name,
        bytes=size,
        made_by=tuple(sorted({_described(action) for action in acts})) or (_UNRECORDED,),
        used=max(used),
        studies=tuple(holder.study for holder in held),
        live=any(holder.live for holder in held),
        keys=tuple(action.key for action in acts),
    )


def _checkpoints(kept: checkpoints.Kept, holders: Iterable[_Holder]) -> Artifact:
    name = checkpoints.name_of(kept.key)
    held = [holder for holder in holders if name in holder.objects]
    places = ", ".join(map(str, kept.places)) or "none whole"
    return Artifact(
        digest=name,
        bytes=kept.bytes,
        made_by=(f"checkpoints of {_step_of(kept.note) or 'a run'}: {places}",),
        used=kept.used,
        studies=tuple(holder.study for holder in held),
        live=any(holder.live for holder in held),
        keys=(),
    )


def _described(action: Action) -> str:
    return _step_of(action.note) or action.kind


def _step_of(note: Mapping[str, Json]) -> str | None:
    if "pass" not in note:
        return None
    return describe_step(Step(str(note["pass"]), dict(note.get("params", {}))))


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
    for aside in (store.root / "damaged").iterdir():  # the folder stays: others move into it
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)
    shutil.rmtree(store.root / "compared", ignore_errors=True)  # computed anew where it is missed
    for name in ("arriving", "partial", "digests"):  # fetched anew, and read anew
        remove_files(store.root / name)
    every = artifacts(store)
    chosen = list(reversed(every))  # used longest ago first
    if study is not None:
        place = str(study.resolve())
        if not any(place == holder.study for holder in _holders(store)):
            raise UsageError(
                f"store {str(store.root)!r} has no artifacts of the study {place!r}",
                hint="`paretune cache` lists the studies and their artifacts.",
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
        elif remove(store, artifact):
            count, size = count + 1, size + artifact.bytes
    _forget_gone_studies(store)
    return Removed(count, size, kept)


def remove(store: Store, artifact: Artifact) -> bool:
    """Remove an artifact and its actions; False if a search came to use it meanwhile.

    It goes under the locks under which a worker that finds or makes it also records that its
    study holds it. The object goes last: no action may point at nothing.
    """
    if checkpoints.is_name(artifact.digest):
        return _remove_checkpoints(store, artifact)
    with ExitStack() as locks:
        try:
            for key in artifact.keys:
                locks.enter_context(store.lock(key, wait=False))
        except Timeout:  # being looked up or built
            return False
        locks.enter_context(store.lock_object(artifact.digest))
        if any(h.live and artifact.digest in h.objects for h in _holders(store)):
            return False
        now = {action.key for action in store.actions() if action.digest == artifact.digest}
        if not now <= set(artifact.keys):  # recorded or built again since the list was made
            return False
        for key in artifact.keys:
            (store.root / "actions" / f"{key}.json").unlink(missing_ok=True)
        stage = locks.enter_context(store.stage())
        folder = store.object_path(artifact.digest)
        try:
            folder.rename(stage / "object")  # gone at once, however long the removal takes
        except FileNotFoundError:  # set aside by another process, or never there
            return False
    return True


def _remove_checkpoints(store: Store, artifact: Artifact) -> bool:
    """Remove the checkpoints of a run; False if it runs now, or a live study has come to use it."""
    key = checkpoints.key_of(artifact.digest)
    try:
        with checkpoints.lock(store, key):
            if any(h.live and artifact.digest in h.objects for h in _holders(store)):
                return False
            return checkpoints.remove(store, key)
    except Timeout:
        return False


def _forget_gone_studies(store: Store) -> None:
    """Take out of the list what holds nothing any more, or whose folder is gone."""
    there = {*store.objects(), *(checkpoints.name_of(each.key) for each in checkpoints.kept(store))}
    for holder in (store.root / "held").glob("*.json"):
        listed, study = holder.with_suffix(".objects"), _study_of(holder)
        if study is None or in_use(study):
            continue
        if not study.is_dir() or not held_in(listed) & there:
            listed.unlink(missing_ok=True)
            holder.unlink(missing_ok=True)


def forget(store: Store, study: Path) -> None:
    """Take a study out of the list of those that use a store."""
    for holder in (store.root / "held").glob("*.json"):
        if _study_of(holder) == study.resolve():
            holder.with_suffix(".objects").unlink(missing_ok=True)
            holder.unlink(missing_ok=True)


def in_use(folder: Path) -> bool:
    """Return whether a process holds a study now."""
    lock = folder / ".lock"
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, blocking=False):
            return False
    except Timeout:
        return True
