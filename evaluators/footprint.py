"""The evaluator ``footprint``: bytes to deploy, memory of the process that serves it, load time."""

from __future__ import annotations

import statistics
import subprocess

from paretune.core.candidate import RuntimeSettings
from paretune.core.child_interpreter import calling
from paretune.core.errors import InvalidArtifactError
from paretune.core.jsontools import canonical
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model
from paretune.core.params import Params, parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.evaluators.base import Budget, EvaluatorBase
from paretune.evaluators.footprint_probe import told_by
from paretune.models.handle import folder_bytes
from paretune.stats.pooling import interval

_TIMEOUT_S = 600


class FootprintParams(Params):
    """How often it is loaded."""

    loads: int = parameter(
        3, "Fresh processes that load it.", unit="processes", search="none", ge=1
    )


class Footprint(EvaluatorBase):
    """Size on disk, peak memory and load time, the last two in processes of their own.

    The size is known at the first rung: it is exact, and rules a candidate out at once.
    """

    name = "footprint"
    needs = ()
    Params = FootprintParams
    params: FootprintParams
    rungs = (Rung.SMOKE, Rung.FULL)
    metrics = (
        MetricSpec("size_mb", "MB", "minimize", device=False),
        MetricSpec("peak_memory_mb", "MB", "minimize", device=True),
        MetricSpec("load_s", "s", "minimize", device=True),
    )

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Return the size alone at the first rung, all three at the last."""
        size = folder_bytes(model.path) / 1e6
        found = [Measurement("size_mb", size, "MB", size, size, 1, "exact-1")]
        if rung is Rung.SMOKE:
            return found
        probes = []
        for n in range(self.params.loads):
            context.progress(Progress(f"footprint:{rung}", n, self.params.loads))
            probes.append(_probe(model, runtime))
        for name, unit in (("peak_memory_mb", "MB"), ("load_s", "s")):
            values = [probe[name] for probe in probes]
            middle = statistics.median(values)
            low, high = interval(values, None)
            why = "one process tells no interval" if low is None else None
            found.append(
                Measurement(
                    name,
                    middle,
                    unit,
                    low,
                    high,
                    len(values),
                    "fresh-process-2",
                    tuple(values),
                    why,
                )
            )
        return found


def _probe(model: Model, runtime: RuntimeSettings) -> dict[str, float]:
    command = calling(
        "paretune.evaluators.footprint_probe:main",
        str(model.path),
        model.kind,
        canonical(runtime.to_json()),
    )
    ran = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    told = told_by(ran)
    if isinstance(told, str):
        raise InvalidArtifactError(f"does not run in a process of its own: {told}")
    return told
