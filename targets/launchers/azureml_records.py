"""Which jobs were submitted to Azure and whose results were not taken, kept on disk.

A file for each job lies in ``azureml/jobs/`` of the store, from before the job is submitted until
its result has been taken. The process that waits for a job holds its lock, so a killed search
leaves files without a lock: the next search that runs the same task takes over the job.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from paretune.core.jsontools import Json, digest, read_json, write_json

OWN = Path("azureml")
"""Folder in a store for what is known of jobs in Azure."""
JOBS, LOGS = OWN / "jobs", OWN / "logs"


@dataclass
class Claim:
    """A job that this process waits for.

    Attributes:
        name: The job's name in Azure.
        found: Whether an earlier process has submitted it, or was about to.
        limits: What that process allowed it.
        study: The study that it belongs to; None: to none.
    """

    name: str
    found: bool
    limits: Json
    study: str | None
    _file: Path
    _lock: FileLock

    def done(self) -> None:
        """Forget the job: its result was taken, or is not wanted any more."""
        self._file.unlink(missing_ok=True)
        self.leave()
        Path(self._lock.lock_file).unlink(missing_ok=True)

    def leave(self) -> None:
        """Leave the job to another process."""
        self._lock.release()


class Records:
    """The jobs of one compute.

    Args:
        store: Root of the artifact store.
        compute: What names the compute and its workspace.
    """

    def __init__(self, store: Path, compute: str) -> None:
        self._folder, self._compute = store / JOBS, compute
        self._folder.mkdir(parents=True, exist_ok=True)

    def claim(self, task: Json, limits: Json, study: str | None) -> Claim:
        """Return a job of an earlier process for the same task, else a new one, which is noted.

        Args:
            task: What tells it from all others, with what it runs in.
            limits: What it may use.
            study: The study that it belongs to; None: to none.
        """
        key = digest({"task": task, "compute": self._compute}).removeprefix("sha256:")[:20]
        for claim in self._left(f"paretune-{key}-"):
            return claim
        name = f"paretune-{key}-{secrets.token_hex(4)}"
        lock = self._lock(name)
        lock.acquire(timeout=0)
        note = {"compute": self._compute, "study": study, "limits": limits}
        write_json(self._folder / f"{name}.json", note)
        return Claim(name, False, limits, study, self._folder / f"{name}.json", lock)

    def left_by(self, studies: frozenset[str]) -> Iterator[Claim]:
        """Yield the jobs that no process waits for, of some studies or of none.

        Args:
            studies: Their folders.
        """
        for claim in self._left("paretune-"):
            if claim.study is None or claim.study in studies:
                yield claim
            else:
                claim.leave()

    def _left(self, prefix: str) -> Iterator[Claim]:
        for file in sorted(self._folder.glob(f"{prefix}*.json")):
            lock = self._lock(file.stem)
            try:
                lock.acquire(timeout=0)
            except Timeout:  # somebody waits for it
                continue
            try:
                note = read_json(file)
            except (OSError, ValueError):  # it was done meanwhile, or cut short by a full disk
                note = {}
            if note.get("compute") == self._compute:
                yield Claim(file.stem, True, note.get("limits"), note.get("study"), file, lock)
            else:
                lock.release()

    def _lock(self, name: str) -> FileLock:
        # Another thread may end it than the one that began it.
        return FileLock(self._folder / f".{name}.lock", thread_local=False, is_singleton=False)


def remove_logs(store: Path, older_than_s: float = 0.0) -> None:
    """Remove logs of jobs in Azure; the log of a job whose result was not taken stays.

    Args:
        store: Root of the artifact store.
        older_than_s: Only those that were not written for so many seconds.
    """
    jobs, logs = store / JOBS, store / LOGS
    for log in logs.glob("*.log"):
        with suppress(FileNotFoundError):  # another process removed it meanwhile
            old = time.time() - log.stat().st_mtime >= older_than_s
            if old and not (jobs / f"{log.stem}.json").exists():
                log.unlink()


def identity_of(task: Json) -> Json:
    """Return what of a task's JSON decides its result.

    Left out are where things lie on this machine, the times of files, what is sent only because it
    lies here, and where a training may stop.

    Args:
        task: `paretune.core.job.Task.to_json` of a described task.
    """
    found = {key: value for key, value in task.items() if key not in _LEFT_OUT}
    if found.get("model") is not None:
        found["model"] = _model(found["model"])
    found["inputs"] = [
        [entry["what"], [[file["name"], file["sha256"]] for file in entry["files"]]]
        for entry in task.get("inputs", ())
    ]
    return found


def _model(model: Json) -> Json:
    base = model["base"]
    return [model["kind"], model["digest"], None if base is None else _model(base)]


_LEFT_OUT = frozenset({"store", "study", "seeds", "stops"})
