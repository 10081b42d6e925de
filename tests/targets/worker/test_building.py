from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from paretune.core.candidate import Step
from paretune.core.errors import PassError
from paretune.core.job import Build, BuildResult
from paretune.core.jsontools import Json, read_json, write_json
from paretune.core.model import Model, ModelKind
from paretune.core.params import Params, parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.models.handle import folder_digest
from paretune.store.artifacts import Store
from paretune.targets.worker import building
from tests.onnx_networks import write_network


class TuneParams(Params):
    x: int = parameter(1, "Written down.")
    train: str = parameter("tone.train", "Data.", search="none")


class Tune:
    """Makes an adapter that names its base."""

    name: ClassVar[str] = "tune"
    version: ClassVar[int] = 1
    produces: ClassVar[ModelKind] = ModelKind.HF_ADAPTER
    packages: ClassVar[tuple[str, ...]] = ()
    provider_matters: ClassVar[bool] = False
    Params: ClassVar[type[Params]] = TuneParams
    runs: ClassVar[list[Any]] = []

    def data(self, params: TuneParams) -> tuple[str, ...]:
        return (params.train,)

    def run(self, model: Model, params: TuneParams, context: Context) -> None:
        self.runs.append((model, params, context.provider))
        assert list(context.out.iterdir()) == []
        (context.scratch / "rubbish").write_text("x")
        (context.out / "adapter.txt").write_text(f"{params.x}")


class Join(Tune):
    """Writes what it was given."""

    name: ClassVar[str] = "join"
    produces: ClassVar[ModelKind] = ModelKind.HF
    provider_matters: ClassVar[bool] = True

    def data(self, params: TuneParams) -> tuple[str, ...]:
        return ()

    def run(self, model: Model, params: TuneParams, context: Context) -> None:
        assert model.base is not None
        self.runs.append((model, params, context.provider))
        (context.out / "model.txt").write_text(model.base.digest + model.digest)


class Network(Tune):
    """Writes a network with a large matrix of the weights `x`."""

    name: ClassVar[str] = "net"
    produces: ClassVar[ModelKind] = ModelKind.ONNX

    def data(self, params: TuneParams) -> tuple[str, ...]:
        return ()

    def run(self, model: Model, params: TuneParams, context: Context) -> None:
        write_network(context.out, width=80, classes=100, seed=params.x)


class Finds(Tune):
    """Tells what it found."""

    name: ClassVar[str] = "finds"

    def run(self, model: Model, params: TuneParams, context: Context) -> None:
        super().run(model, params, context)
        context.details.update(summary="found", sizes=[1, 0.5][: params.x])
        if params.x > 2:
            context.details["sizes"] = [float("nan")] if params.x == 3 else "x" * 70_000


class Idle(Tune):
    """Writes nothing."""

    def run(self, model: Model, params: TuneParams, context: Context) -> None:
        pass


class FakeCatalog:
    """Digests only; `version` stands for the data's content."""

    version = "1"

    @classmethod
    def from_json(cls, value: Json) -> FakeCatalog:
        return cls()

    def digest(self, ref: str) -> str:
        return f"sha256:{ref}{self.version}"


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    passes: dict[str, type[Tune]] = {"tune": Tune, "join": Join, "idle": Idle, "net": Network}
    passes["finds"] = Finds
    monkeypatch.setattr(building, "find_pass", lambda name: passes[name]())
    monkeypatch.setattr(building, "DataCatalog", FakeCatalog)
    monkeypatch.setattr(Tune, "runs", [])
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return Build(
        model=Model(ModelKind.HF, folder, folder_digest(folder)),
        recipe=(Step("tune", {"x": 2}), Step("join")),
        provider="cpu",
        store=tmp_path / "store",
        data={},
    )


def ran() -> list[str]:
    return ["join" if model.base is not None else "tune" for model, _, _ in Tune.runs]


def recorded_seconds(store: Path) -> dict[str, float]:
    notes = [read_json(file)["note"] for file in (store / "actions").glob("**/*.json")]
    return {note["pass"]: note["seconds"] for note in notes}


def build(task: Build) -> BuildResult:
    return building.build(task, lambda progress: None)


def test_a_recipe_is_walked_and_an_adapter_keeps_its_base(task: Build) -> None:
    seen: list[Progress] = []
    built = building.build(task, seen.append)
    assert ran() == ["tune", "join"]
    adapter = Tune.runs[1][0]
    assert adapter.kind is ModelKind.HF_ADAPTER
    assert adapter.base is not None
    assert adapter.base.digest == task.model.digest
    # Passes from elsewhere work on copies: they cannot write to the store, or to the input.
    assert "staging" in adapter.path.parts
    assert "staging" in adapter.base.path.parts
    model = built.model
    assert model.kind is ModelKind.HF
    assert model.base is None
    assert built.bytes == len((model.path / "model.txt").read_text())
    assert [(s.step, s.cached) for s in built.steps] == [("tune", False), ("join", False)]
    assert [p.step for p in seen] == ["tune", "join"]


def test_a_build_tells_its_structure_which_the_store_keeps(
    task: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build(task).structure is None  # of a kind that tells none
    one, other = (replace(task, recipe=(Step("net", {"x": x}),)) for x in (1, 2))
    first, second = build(one), build(other)
    assert first.structure == second.structure is not None
    assert first.model.digest != second.model.digest
    monkeypatch.setattr(building, "structure_of", lambda model: pytest.fail("it is recorded"))
    assert build(one) == replace(first, steps=build(one).steps)
    # An action of an earlier version does not tell it.
    for file in (task.store / "actions").glob("*.json"):
        value = read_json(file)
        value["note"].pop("structure", None)
        write_json(file, value)
    monkeypatch.undo()
    monkeypatch.setattr(building, "find_pass", lambda name: Network())
    monkeypatch.setattr(building, "DataCatalog", FakeCatalog)
    assert build(one).structure == first.structure


def test_what_was_built_is_not_built_again(task: Build) -> None:
    first = build(task)
    again = build(task)
    assert ran() == ["tune", "join"]
    assert again.model == first.model
    assert all(step.cached for step in again.steps)
    recorded = recorded_seconds(task.store)
    assert {step.step: step.s for step in again.steps} == recorded  # what was saved


def test_a_prefix_is_shared(task: Build) -> None:
    build(task)
    other = replace(task, recipe=(task.recipe[0], Step("join", {"x": 9})))
    assert [step.cached for step in build(other).steps] == [True, False]
    assert ran() == ["tune", "join", "join"]


def test_a_default_written_out_is_the_same_step(task: Build) -> None:
    build(task)
    join = Step("join", {"x": 1, "train": "tone.train"})
    same = replace(task, recipe=(task.recipe[0], join))
    assert all(step.cached for step in build(same).steps)


def test_other_data_is_another_step(task: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    build(task)
    monkeypatch.setattr(FakeCatalog, "version", "2")
    steps = build(task).steps
    # The adapter comes out the same, so what follows is found again.
    assert [step.cached for step in steps] == [False, True]


def test_the_provider_counts_where_it_matters(task: Build) -> None:
    build(task)
    assert [s.cached for s in build(replace(task, provider="cuda")).steps] == [True, False]
    assert Tune.runs[-1][2] == "cuda"


def test_the_base_of_an_adapter_belongs_to_its_digest(tmp_path: Path) -> None:
    bases = [Model(ModelKind.HF, tmp_path, f"sha256:{n}") for n in (1, 2)]
    adapters = [Model(ModelKind.HF_ADAPTER, tmp_path, "sha256:a", base) for base in bases]
    digests = {building.input_digest(model) for model in [*bases, *adapters]}
    assert len(digests) == 4


def test_an_empty_recipe_gives_the_input(task: Build) -> None:
    built = build(replace(task, recipe=()))
    assert built.model == task.model
    assert built.steps == ()
    assert built.bytes == 2


def test_a_pass_that_leaves_nothing_fails_and_is_not_remembered(task: Build) -> None:
    with pytest.raises(PassError, match="'idle' ended without writing"):
        build(replace(task, recipe=(Step("idle"),)))
    store = Store(task.store)
    assert list((store.root / "actions").iterdir()) == []
    assert list((store.root / "staging").iterdir()) == []


def test_what_a_pass_found_is_kept_with_its_artifact(task: Build) -> None:
    finding = replace(task, recipe=(Step("finds", {"x": 2}), Step("join")))
    for cached in (False, True):
        steps = build(finding).steps
        assert [(s.cached, s.details) for s in steps] == [
            (cached, {"summary": "found", "sizes": [1, 0.5]}),
            (cached, {}),
        ]
    written = json.loads(json.dumps(task.value_to_json(build(finding))))
    assert task.value_from_json(written).steps == build(finding).steps


@pytest.mark.parametrize(("x", "why"), [(3, "JSON"), (4, "bytes of JSON, expected 65536")])
def test_details_that_cannot_be_kept_are_told(task: Build, x: int, why: str) -> None:
    with pytest.raises(PassError, match=f"'finds': context.details: .*{why}"):
        build(replace(task, recipe=(Step("finds", {"x": x}),)))
