"""Artifacts that travel between two stores: taken over before a build, and listed after it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from paretune.core.folders import folder_files
from paretune.core.job import Build
from paretune.core.made import Made
from paretune.core.model import Model
from paretune.core.stamps import take_all
from paretune.store.artifacts import Store


def take_over(store: Store, seeds: Iterable[Made]) -> None:
    """Put what another store made into this one, which may have made the same step otherwise.

    Args:
        store: This store.
        seeds: Of the first steps of a recipe; their files are moved away.

    Raises:
        TransientError: The files are not those of the digest.
    """
    for seed in seeds:
        with store.lock(seed.key), store.stage() as stage:
            known = store.lookup(seed.key)
            if not seed.files or (known is not None and known.digest == seed.digest):
                continue
            out = stage / "out"
            for file in seed.files:
                place = out / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file.path, place)
            store.put(seed.key, out, seed.kind, seed.note, announced=seed.digest)


def without_known(task: Build, store: Store) -> Build:
    """Return a build without the files of seeds that a store has.

    An artifact that is not whole any more is set aside: its files are sent again.

    Args:
        task: As another machine sent it.
        store: The store; one that stays open reads an artifact once.
    """

    def known(seed: Made) -> bool:
        action = store.action(seed.key)
        there = action is not None and action.digest == seed.digest
        return there and store.is_intact(seed.digest)

    seeds = (replace(seed, files=()) if known(seed) else seed for seed in task.seeds or ())
    return replace(task, seeds=tuple(seeds))


def told(
    store: Store, made: Iterable[tuple[str, Model]], seeds: Sequence[Made]
) -> tuple[Made, ...]:
    """Return what each step made, with the files of those that the other store lacks.

    Args:
        store: Has all of them.
        made: Of each step the key of its action and what it made.
        seeds: What the other store has.
    """
    known = {(seed.key, seed.digest) for seed in seeds}
    found = []
    for key, model in made:
        action = store.action(key)
        note = {} if action is None else action.note
        here = Made(key, model.digest, model.kind, note)
        if (key, model.digest) not in known:
            here = replace(here, files=take_all(model.path, folder_files(model.path)))
        found.append(here)
    return tuple(found)
