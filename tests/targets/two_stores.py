"""Two stores of one machine, as if each were on its own: what one builds, the other takes over."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fake_study import write_stub_model

from paretune.core.candidate import Step
from paretune.core.job import Build, BuildResult
from paretune.core.made import Made
from paretune.data.catalog import DataCatalog
from paretune.models.handle import open_model
from paretune.store.artifacts import Store
from paretune.targets.transports.builds import taken_over
from paretune.targets.transports.files import FileStore, send
from paretune.targets.transports.tasks import Describer, files_of, localized
from paretune.targets.worker import building
from paretune.targets.worker.stored import found

DATA: dict[str, Any] = {"specs": {}, "root": "/", "allow_network": False}
CATALOG = DataCatalog.from_json(DATA)


@dataclass
class Sides:
    """Two stores of one machine, as if each were on its own.

    Attributes:
        folder: Of both.
        task: A build of two steps, with the near store.
        fetched: What was fetched, by SHA-256.
        change: Changes what the far side sends.
    """

    folder: Path
    task: Build
    fetched: list[str] = field(default_factory=list)
    change: Callable[[bytes], bytes] = lambda content: content

    @property
    def near(self) -> Store:
        return Store(self.folder / "near")

    @property
    def far(self) -> Store:
        return Store(self.folder / "far")

    def seeds(self) -> tuple[Made, ...]:
        """Return what the near store has of the recipe."""
        seeds = []
        for key, model in found(self.task, self.near, CATALOG)[1]:
            action = self.near.action(key)
            assert action is not None
            files = Describer().files_in(model.path)
            seeds.append(Made(key, model.digest, str(model.kind), action.note, files))
        return tuple(seeds)

    def built(self, seeds: tuple[Made, ...] = ()) -> BuildResult:
        """Build on the far side, which keeps the files; return what the parent reads of it."""
        store, stream = FileStore(self.folder / "far"), io.BytesIO()
        task = Describer().described(replace(self.task, seeds=seeds))
        known = files_of(task)
        send([known[digest] for digest in store.missing(known)], stream)
        stream.seek(0)
        store.receive(stream)
        with localized(task, store) as there:
            assert isinstance(there, Build)
            value = building.build(there, lambda progress: None)
        for made in value.made:
            for file in made.files:
                store.adopt(file.path, file.sha256)
        return task.value_from_json(json.loads(json.dumps(task.value_to_json(value))))

    def fetch(self, wanted: Mapping[str, int], store: FileStore) -> None:
        """Bring files from the far side."""
        missing, stream = store.missing(wanted), io.BytesIO()
        self.fetched += missing
        send(FileStore(self.folder / "far").named(missing), stream)
        sent = io.BytesIO(self.change(stream.getvalue()))
        store.receive(sent, {name: wanted[name] for name in missing})

    def take(self, value: BuildResult) -> BuildResult:
        """Take over on the near side."""

        def fetch(wanted: Mapping[str, int]) -> FileStore:
            store = FileStore(self.folder / "near", "arriving/board")
            self.fetch(wanted, store)
            return store

        return taken_over(self.task, value, self.near, CATALOG, fetch)

    def nothing_came(self) -> None:
        """Require that the near store has no artifact, and that nothing lies outside of it."""
        assert not self.near.objects()
        assert not self.near.actions()
        assert {path.name for path in self.folder.iterdir()} <= {"near", "far", "model"}
        for path in (self.folder / "near").rglob("*"):
            assert not path.is_symlink()
            assert path.is_dir() or path.suffix == ".lock" or path.parent.parent.name == "arriving"


def two_stores(folder: Path) -> Sides:
    """Return two empty stores in a folder, and a build of two steps."""
    model = open_model(write_stub_model(folder / "model"))
    steps = (Step("noop", {"x": 1}), Step("noop", {"x": 2}))
    store = folder / "near"
    return Sides(folder, Build(model=model, recipe=steps, provider="cpu", store=store, data=DATA))
