from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement
from paretune.core.model import ModelKind
from paretune.core.result import OutcomeKind, TrialResult
from paretune.store.artifacts import Store
from paretune.study.folder import Study
from paretune.study.structures import complete_structures
from tests.onnx_networks import write_network


def test_builds_of_earlier_versions_get_their_structure_from_the_store(tmp_path: Path) -> None:
    store, study = Store(tmp_path / "store"), Study(tmp_path / "study")
    for seed in (1, 2):
        with store.stage() as stage:
            folder = write_network(stage / "out", width=80, classes=100, seed=seed)
            digest = store.put(f"key{seed}", folder, ModelKind.ONNX).digest
        outcome = TrialResult(
            seed,
            Candidate((Step("noop", {"x": seed}),), RuntimeSettings("cpu", 1)),
            OutcomeKind.OK,
            measurements={"size_mb": Measurement("size_mb", 1.0, "MB")},
            artifact=digest,
        )
        study.record(outcome)
    study.record(replace(study.outcomes[0], id=3, artifact="sha256:gone"))
    complete_structures(study, store)
    first, second, gone = study.outcomes
    assert first.structure == second.structure is not None
    assert gone.structure is None
    study.close()
    again = Study(tmp_path / "study")
    assert [o.structure for o in again.outcomes] == [first.structure, first.structure, None]
    again.close()
