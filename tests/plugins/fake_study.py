"""A study of fakes in real child processes: a stub folder as model, passes that do nothing."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from paretune.api import Search, SearchResult
from paretune.config import load
from paretune.core.candidate import RuntimeSettings
from paretune.core.job import Call, Job
from paretune.core.model import Model
from paretune.core.target import Target
from paretune.display.live import make_display
from paretune.preflight.prepared import PreparedSearch
from paretune.search.run import Shortcuts
from paretune.store.artifacts import Store
from paretune.study.folder import Study
from paretune.study.job_factory import StudyJobFactory, stops_of
from paretune.targets.launchers.local import LocalTarget


def write_stub_model(folder: Path) -> Path:
    """Write the smallest folder that counts as a Hugging Face model."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "stub"}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    return folder


def write_fake_study(folder: Path, noop: Mapping[str, Any], **changes: Any) -> Path:
    """Write a configuration of one `noop` pass and the `readback` evaluator; returns its path."""
    write_stub_model(folder / "model")
    config = {
        "model": "model",
        "passes": [{"noop": dict(noop)}],
        "baseline": [{"noop": {"x": 0}}],
        "evaluate": ["readback"],
        "target": {"providers": ["cpu"], "threads": [1]},
        "objectives": {"maximize": "accuracy", "minimize": "decode_ms_p50"},
        "search": {"strategy": "exhaustive"},
        **changes,
    }
    file = folder / "fake.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return file


class FakeSmokeWorkbench(StudyJobFactory):
    """The real jobs, but for loading: a stub folder has nothing to load."""

    @classmethod
    def of(cls, prepared: PreparedSearch, study: Path | None = None) -> FakeSmokeWorkbench:
        return cls(
            prepared.model,
            prepared.store,
            prepared.catalog.to_json(),
            study=study,
            inputs=prepared.inputs,
            stops=stops_of(prepared.plan.space),
        )

    def smoke(self, package: Model, runtime: RuntimeSettings) -> Job:
        return Job(Call("paretune_fakes:nothing"))


def search(
    config: Path,
    shortcuts: Shortcuts = Shortcuts(),
    *,
    retry_waits_s: tuple[float, ...] = (0.0, 0.0),
    target: Target | None = None,
    **overrides: Any,
) -> SearchResult:
    """Search a study of fakes in this process, to its end.

    Args:
        config: What `write_fake_study` wrote; study and store are made beside it.
        shortcuts: What the engine may save.
        retry_waits_s: Seconds before each new try.
        target: Where it runs, and is closed at the end; by default this machine.
        **overrides: For `paretune.config.load`.
    """
    folder = config.parent
    store = Store(folder / "store")
    target = target or LocalTarget(store_root=store.root)
    prepared = PreparedSearch(load(config, **overrides), store, target)
    study = Study(folder / "study")
    try:
        made = Search(
            prepared,
            study,
            make_display(quiet=True),
            shortcuts,
            job_factory=FakeSmokeWorkbench.of(prepared, study.folder),
        )
        made.engine.retry_waits_s = made.engine.lost_waits_s = retry_waits_s
        made.engine.run()
        made.repeat_pick()
        return made.finish("finished")
    finally:
        target.close()
        study.close()
