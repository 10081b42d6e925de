"""Structures of builds that earlier versions recorded without them, computed from the store."""

from __future__ import annotations

from dataclasses import replace

from paretune.core.model import Model
from paretune.models.handle import detect_kind
from paretune.models.structure import structure_of
from paretune.store.artifacts import Store
from paretune.study.folder import Study


def complete_structures(study: Study, store: Store) -> None:
    """Record the structure of each outcome that has none and whose build lies in the store.

    Args:
        study: The study, locked by this process.
        store: Where its artifacts are kept.
    """
    known: dict[str, str | None] = {}
    for outcome in list(study.outcomes):
        name = outcome.artifact
        if name is None or outcome.structure is not None or not outcome.measurements:
            continue
        if name not in known:
            folder = store.object_path(name)
            there = folder.is_dir()
            known[name] = structure_of(Model(detect_kind(folder), folder, name)) if there else None
        if known[name] is not None:
            study.update(replace(outcome, structure=known[name]))
