"""What a pass or an evaluator gets in the worker: data, progress, permissions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.core.checkpoints import Checkpoints
from paretune.core.jsontools import Json
from paretune.core.model import Model
from paretune.core.permissions import Permissions
from paretune.core.progress import Progress

if TYPE_CHECKING:
    from paretune.data.catalog import DataCatalog


def _silent(progress: Progress) -> None:
    del progress


@dataclass(frozen=True)
class Context:
    """What a pass runs with in the worker.

    Attributes:
        out: An empty folder; what the pass leaves there is the new model.
        scratch: A folder for temporary files, removed afterwards.
        data: The configuration's data sets, by reference (``tone.train``).
        provider: The execution provider that the candidate will run on.
        progress: Call it now and then; at most about twice a second is shown.
        permissions: Whether anything may be fetched, and code of a model's folder may run.
        previous: For evaluators: this evaluator's measurements of the rung before, by metric.
        checkpoints: For passes that can continue an earlier run: where they keep its states.
        details: For passes: what a run found, JSON-able and short. It is kept with the outcome and
            shown in the report, ``summary`` as a sentence.
        kernel_times: File of this device's times (`paretune.core.kernel_times`); None: they are
            not kept.
        reference: For evaluators with `against_baseline`: the baseline, unless it is not built.
    """

    out: Path
    scratch: Path
    data: DataCatalog
    provider: str = "cpu"
    progress: Callable[[Progress], None] = _silent
    permissions: Permissions = Permissions()
    previous: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    details: dict[str, Json] = field(default_factory=dict)
    kernel_times: Path | None = None
    reference: Model | None = None

    @property
    def allow_network(self) -> bool:
        """False: nothing may be fetched."""
        return self.permissions.network

    @property
    def trust_remote_code(self) -> bool:
        """False: no code from a model's folder may run."""
        return self.permissions.remote_code
