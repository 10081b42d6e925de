"""A study of fakes in real child processes: a stub folder as model, passes that do nothing."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from paretune.api import Setting
from paretune.models import Model
from paretune.search.candidate import RuntimeSettings
from paretune.targets.base import Job
from paretune.workbench import JobWorkbench


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


class FakeSmokeWorkbench(JobWorkbench):
    """The real jobs, but for loading: a stub folder has nothing to load."""

    @classmethod
    def of(cls, setting: Setting, study: Path | None = None) -> FakeSmokeWorkbench:
        return cls(setting.model, setting.store, setting.catalog.to_json(), study=study)

    def smoke(self, package: Model, runtime: RuntimeSettings) -> Job:
        return Job("call", {"function": "paretune_fakes:nothing", "args": {}})
