"""What a far side built, taken over into the store of this machine: nothing of it is believed.

The recipe is walked through here. Each step's key is computed here; what was announced under that
key is fetched, compared with what was announced, checked, and stored. What the far side says
beside, its paths, its sizes, its kinds of models, is not used.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import Timeout

from paretune.core.candidate import Step
from paretune.core.checkpoints import Checkpoints
from paretune.core.errors import TransientError, UsageError
from paretune.core.fidelity import Verdict, verdict_from
from paretune.core.folders import folder_files
from paretune.core.job import Build, BuildResult
from paretune.core.jsontools import Json, canonical
from paretune.core.made import Made
from paretune.core.model import Model
from paretune.core.result import checked_details
from paretune.core.stamps import Stamped, file_digest, joint_digest
from paretune.data.catalog import DataCatalog
from paretune.models.containment import check_model, leads_out
from paretune.models.handle import model_bytes
from paretune.models.structure import structure_of
from paretune.passes.base import Pass
from paretune.store.artifacts import Store
from paretune.targets.transports.files import FileStore
from paretune.targets.worker.building import builder_of
from paretune.targets.worker.compared import Origin
from paretune.targets.worker.idle import IdleBuilder

Fetch = Callable[[Mapping[str, int]], FileStore]
"""Brings files, by SHA-256 with their sizes, and returns where they are now."""

_SHA256 = re.compile("[0-9a-f]{64}")
_MOST_FILES = 10_000
_TRIES = 3
_MOST_NOTE_BYTES = 1 << 16
_LEAVES_FREE = 100_000_000
"""Bytes of the disk that a transfer does not fill."""


class KeyInUseError(Exception):
    """Another build holds the key of a step.

    Attributes:
        key: The key.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key[:12]} is in use")
        self.key = key


class AnnouncedError(UsageError):
    """The far side announced what no build of this recipe makes."""


def taken_over(
    task: Build, value: BuildResult, store: Store, data: DataCatalog, fetch: Fetch | None
) -> BuildResult:
    """Return a build's result as this machine sees it; its artifacts are in the store then.

    Its `made` is what was fetched, as it was announced and found to be.

    Args:
        task: What was built.
        value: What the far side says of it.
        store: Of this machine.
        data: The task's data sets.
        fetch: Brings files; None: the far side has written into this store.

    Raises:
        AnnouncedError: It did not announce what this recipe makes, or something impossible.
        UsageError: It sent something else than it announced, or no valid model.
        TransientError: Files did not arrive, or there is no room for them.
        InvalidArtifactError: A step computes something else than what it was built from.
        KeyInUseError: Another build makes a step; what was taken over before it stays.
    """
    if len(value.made) > len(task.recipe):
        raise AnnouncedError(f"{len(value.made)} artifacts of {len(task.recipe)} steps")
    there = {made.key: made for made in value.made}
    walker = builder_of(TakingOver, task, store, data, there=there, fetch=fetch)
    model, steps, verdict = walker.walk(task.recipe, task.model)
    if [step.step for step in value.steps] == [step.name for step in task.recipe]:
        steps = list(value.steps)  # what they took is known there only
    structure = walker.structures.get(model.digest)
    faults = (*value.faults, *store.faults)
    taken = tuple(walker.taken)
    return BuildResult(model, tuple(steps), model_bytes(model), faults, verdict, structure, taken)


@dataclass(frozen=True)
class TakingOver(IdleBuilder):
    """Walks a recipe, and takes over each step that the store lacks.

    Attributes:
        there: What was announced, by key.
        fetch: Brings files; None: there is nothing to fetch.
        taken: What was fetched and stored.
    """

    there: Mapping[str, Made] = field(default_factory=dict)
    fetch: Fetch | None = None
    taken: list[Made] = field(default_factory=list)

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Hold a key; not waited for, as nothing can move or be measured here meanwhile."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self.store.lock(key, wait=False))
            except Timeout as error:
                raise KeyInUseError(key) from error
            yield

    def _run(
        self,
        pass_: Pass,
        params: Any,
        step: Step,
        model: Model,
        key: str,
        checkpoints: Checkpoints,
    ) -> Model:
        announced = self.there.get(key)
        if announced is None or self.fetch is None:
            raise AnnouncedError(
                f"{step.name} was built under another key than this machine computes",
                hint="Are the same versions of its packages installed on both?",
            )
        wanted, note = checked(announced, self.store.root), note_of(step, announced.note)
        if self.permissions.remote_code:
            _check_code(announced, _code_of(model))
        files = self.fetch(wanted)
        with self._stage() as stage:
            try:
                out = self._laid_out(announced, wanted, files, stage)
                check_model(out)
                structure_of(Model(pass_.produces, out, announced.digest))  # it can be read
                made = self.store.put(key, out, pass_.produces, note, announced=announced.digest)
            finally:
                files.discard(wanted)
        self.taken.append(announced)
        return made

    def _laid_out(
        self, made: Made, wanted: Mapping[str, int], files: FileStore, stage: Path
    ) -> Path:
        """Return a folder with an artifact's files, each with a time of its own."""
        assert self.fetch is not None
        for left in reversed(range(_TRIES)):
            out = stage / f"out-{left}"
            try:
                files.lay_out({file.name: file.sha256 for file in made.files}, out)
                break
            except TransientError:  # another search has stored an artifact that shares a file
                if not left:
                    raise
                files = self.fetch(wanted)
        for path in folder_files(out):
            os.utime(path)  # files that have arrived have all the same one
        return out

    def _verdict(self, pass_: Pass, params: Any, made: Model, origin: Origin, key: str) -> Verdict:
        action = self.store.action(key)
        known = None if action is None else verdict_from(action.note)
        if known is not None:
            return known
        announced = self.there.get(key)
        note = {} if announced is None else fidelity_note(announced.note)
        verdict = verdict_from(note)
        if verdict is None:
            raise AnnouncedError(f"{pass_.name} was not compared with what it was built from")
        self.store.annotate(key, note)
        return verdict


def _code_of(model: Model) -> frozenset[str]:
    """Return the SHA-256 of the Python files of a model, and of its base."""
    code = frozenset(file_digest(path) for path in model.path.rglob("*.py") if path.is_file())
    return code if model.base is None else code | _code_of(model.base)


def _check_code(made: Made, known: frozenset[str]) -> None:
    """Refuse code that the step's input does not have: this machine may run it."""
    for file in made.files:
        if file.name.endswith(".py") and file.sha256 not in known:
            raise AnnouncedError(f"the code {file.name[:80]!r}, which its input does not have")


def checked(made: Made, root: Path) -> dict[str, int]:
    """Return the files of an artifact to fetch, with their sizes, if they can be one.

    Args:
        made: As it was announced.
        root: Of the store that it comes to.

    Raises:
        AnnouncedError: They cannot.
        TransientError: There is no room for them.
    """
    files = made.files
    if not 0 < len(files) <= _MOST_FILES:
        raise AnnouncedError(f"an artifact of {len(files)} files")
    for file in files:
        _check_file(file)
    names = [PurePosixPath(file.name) for file in files]
    folders = {parent for name in names for parent in name.parents}
    if len(set(names)) < len(names) or folders & set(names):
        raise AnnouncedError("an artifact with two files of one name")
    ordered = sorted(files, key=lambda file: PurePosixPath(file.name))
    if joint_digest(ordered) != made.digest:
        raise AnnouncedError("an artifact whose digest is not that of its files")
    wanted = {file.sha256: file.stamp.size for file in files}
    if any(wanted[file.sha256] != file.stamp.size for file in files):
        raise AnnouncedError("a file of two sizes")
    size = sum(wanted.values())
    if size > shutil.disk_usage(root).free - _LEAVES_FREE:
        raise TransientError(f"no room for an artifact of {size / 1e6:.0f} MB in {root}")
    return wanted


def _check_file(file: Stamped) -> None:
    name, size = file.name, file.stamp.size
    if not isinstance(name, str) or leads_out(name) or PurePosixPath(name).as_posix() != name:
        raise AnnouncedError(f"a file of the name {str(name)[:80]!r}")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise AnnouncedError(f"a file of the name {name[:80]!r}") from error
    if name == "." or not isinstance(file.sha256, str) or not _SHA256.fullmatch(file.sha256):
        raise AnnouncedError(f"the file {name[:80]!r} without a SHA-256")
    if type(size) is not int or not 0 <= size < 1 << 60:
        raise AnnouncedError(f"the file {name[:80]!r} of {str(size)[:30]} bytes")


def note_of(step: Step, said: Mapping[str, Json]) -> dict[str, Json]:
    """Return what is remembered of how an artifact was made: the step, and figures from there.

    Raises:
        AnnouncedError: A figure is none, or the details are.
    """
    note: dict[str, Json] = {**step.to_json(), "seconds": _seconds(said.get("seconds", 0.0))}
    if "resumed" in said:
        note["resumed"] = _seconds(said["resumed"])
    if "details" in said:
        try:
            note["details"] = checked_details(said["details"])
        except (ValueError, TypeError) as error:
            raise AnnouncedError(str(error)[:200]) from error
    return {**note, **fidelity_note(said)}


def fidelity_note(said: Mapping[str, Json]) -> dict[str, Json]:
    """Return what a note says of the comparison with the source; empty if there is none.

    Raises:
        AnnouncedError: It cannot be read.
    """
    kept = said.get("fidelity") if isinstance(said, Mapping) else None
    if kept is None:
        return {}
    try:
        verdict = verdict_from({"fidelity": kept})
        if verdict is None:  # of another version
            return {}
        note = {
            **verdict.to_json(),
            "compared": None if verdict.compared is None else _figures(verdict),
            "beside": _beside(verdict.beside),
            "seconds": _seconds(kept.get("seconds", 0.0)),
        }
        flags = (verdict.valid, verdict.of_arrays)
        if not isinstance(verdict.reason, str | None) or not all(type(f) is bool for f in flags):
            raise ValueError("a field of a wrong type")
        if len(canonical(note).encode()) > _MOST_NOTE_BYTES:
            raise ValueError("it is too long")
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise AnnouncedError(f"a comparison that is none: {str(error)[:200]}") from error
    return {"fidelity": note}


def _figures(verdict: Verdict) -> dict[str, Json]:
    """Return the figures of a comparison, of tokens or of arrays; errors as of `_compared`."""
    said = verdict.compared or {}
    if not verdict.of_arrays:
        return _compared(said)
    error, runs = said["output_error"], said["runs"]
    outputs = {str(name): value for name, value in said["outputs"].items()}
    more = {name: said[name] for name in ("bound", "fidelity") if name in said}
    if (
        not all(_is_number(value) or value is None for value in (error, *outputs.values()))
        or not (type(runs) is int and runs >= 0)
        or not all(_is_number(value) or isinstance(value, str) for value in more.values())
    ):
        raise ValueError("a figure of a wrong type")
    return {"output_error": error, "outputs": outputs, "runs": runs, **more}


def _compared(said: Mapping[str, Json]) -> dict[str, Json]:
    """Return the figures of a comparison.

    Raises:
        ValueError: One has a wrong type (other errors mean the same).
    """
    figures = {name: said[name] for name in ("kl", "top1", "information")}
    tokens, lengths = said["tokens"], list(said["lengths"])
    more = {name: said[name] for name in ("bound", "fidelity") if name in said}
    if (
        not all(_is_number(value) or value is None for value in figures.values())
        or not _is_number(figures["top1"])
        or not all(type(number) is int and number >= 0 for number in (tokens, *lengths))
        or not all(_is_number(value) or isinstance(value, str) for value in more.values())
    ):
        raise ValueError("a figure of a wrong type")
    return {**figures, "tokens": tokens, "lengths": lengths, **more}


def _beside(said: Mapping[str, Json] | None) -> dict[str, Json] | None:
    """Return what else a comparison has found; only what ours find is kept."""
    if said is None:
        return None
    if "left_out" in said:
        return {"left_out": [str(each) for each in list(said["left_out"])]}
    sketch = said.get("sketch")
    if isinstance(sketch, str):
        return {"sketch": sketch}
    return None if sketch is None else {"sketch": _compared(sketch)}


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _seconds(said: Json) -> float:
    if not _is_number(said):
        raise AnnouncedError(f"{str(said)[:30]!r} seconds")
    if not math.isfinite(said) or not 0 <= said < 1e9:
        raise AnnouncedError(f"{str(said)[:30]} seconds")
    return float(said)
