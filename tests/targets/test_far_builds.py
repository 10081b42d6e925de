"""Studies whose builds run elsewhere: over a loopback sshd, and in another interpreter."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fake_study import search, write_fake_study
from safetensors.numpy import load_file

import paretune
from paretune.core.candidate import Step
from paretune.core.errors import UsageError
from paretune.core.job import Build, Job, JobResult
from paretune.core.jsontools import read_json
from paretune.core.stamps import Stamped, file_digest
from paretune.core.target import Target
from paretune.models.handle import folder_digest, open_model
from paretune.store.artifacts import Store
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.launchers.python import PythonTarget
from paretune.targets.launchers.ssh import SshTarget
from paretune.targets.split import SplitTarget
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.host_files import HostTransport
from paretune.targets.worker.building import build
from tests.onnx_networks import write_network
from tests.targets.sshd import Sshd
from tests.tiny_models import make_tiny_llama

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
_WITHIN_S = 300.0


def interpreter(file: Path, plugins: Path = PLUGINS) -> Path:
    """Write an interpreter that has the plug-ins of a folder, as if they were installed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f'#!/bin/sh\nPYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}{plugins}"\nexport PYTHONPATH\n'
        f'exec {sys.executable} "$@"\n'
    )
    file.chmod(0o755)
    return file


class Jobs:
    """The builds that a target was given, and what to do when one has begun.

    Attributes:
        builds: How many.
        during: Called for each in a thread.
    """

    def __init__(self) -> None:
        self.builds = 0
        self.during: Callable[[], None] = lambda: None

    def note(self, job: Job) -> None:
        if isinstance(job.task, Build):
            self.builds += 1
            threading.Thread(target=self.during, daemon=True).start()


class Board(SshTarget):
    """An `SshTarget` that says what it is given."""

    jobs: Jobs

    def submit(self, job: Job) -> Future[JobResult]:
        self.jobs.note(job)
        return super().submit(job)


@pytest.fixture
def board(sshd: Sshd, tmp_path: Path) -> Iterator[Callable[[], Board]]:
    """Makes targets on the host ``board``, which has the plug-ins of these tests."""
    python = interpreter(tmp_path / "far" / "python")
    with ExitStack() as stack:

        def make() -> Board:
            made = Board(
                name="board",
                host="board",
                python=str(python),
                store=str(tmp_path / "far" / "store"),
            )
            made.jobs = Jobs()
            stack.callback(made.close)
            return made

        yield make


def local(folder: Path) -> LocalTarget:
    return LocalTarget(folder / "store")


def study(folder: Path, target: Target | None = None, parts: int = 0, **config: Any) -> Any:
    """Search a small study; return its results."""
    noop = {"x": [1, 2], "speed": [5.0, 7.0]}
    file = folder / "fake.yaml"
    if not file.exists():
        write_fake_study(folder, noop, **config)
    for number in range(parts):
        text = json.dumps([number, "x" * 1_500_000])
        (folder / "model" / f"part{number}.json").write_text(text)
    found = search(file, target=target)
    return read_json(found.study / "results.json")


def told(results: Any) -> list[Any]:
    """Return what does not depend on when and where a study ran."""
    keys = ("id", "recipe", "outcome", "artifact", "structure", "duplicate_of")
    return [
        [*(row[key] for key in keys), row["metrics"]["accuracy"]["value"]]
        for row in results["candidates"]
    ]


def test_a_study_builds_over_ssh_and_measures_here_as_one_that_is_alone(
    board: Callable[[], Board], tmp_path: Path
) -> None:
    alone = study(tmp_path / "alone")
    far = board()
    here = tmp_path / "here"
    results = study(here, SplitTarget(far, local(here)))
    assert told(results) == told(alone)
    assert far.jobs.builds == 5
    near, other = Store(here / "store"), Store(tmp_path / "alone" / "store")
    assert near.objects() == other.objects()
    assert {a.key: a.digest for a in near.actions()} == {a.key: a.digest for a in other.actions()}
    for name in near.objects():
        assert folder_digest(near.object_path(name)) == name
    held = [file.read_text().split() for file in (near.root / "held").glob("*.objects")]
    assert sorted({name for names in held for name in names}) == near.objects()
    assert not any((near.root / "arriving").glob("*/*"))
    # All of it lies here: nothing is built again there, nor here.
    sent = far.transport.files
    (here / "study").rename(here / "first")
    after = board()
    assert told(study(here, SplitTarget(after, local(here)))) == told(alone)
    assert after.transport.files == 0 < sent
    assert after.transport.fetched == 0 < far.transport.fetched


def test_what_was_built_there_is_measured_there_without_being_sent(
    board: Callable[[], Board], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    send = HostTransport.send

    def noting(transport: HostTransport, files: list[Stamped]) -> None:
        moved.extend(file.sha256 for file in files)
        send(transport, files)

    monkeypatch.setattr(HostTransport, "send", noting)
    results = study(tmp_path / "here", board())
    assert results["device"]["name"] == "board"
    assert {row["outcome"] for row in results["candidates"]} == {"ok"}
    store = Store(tmp_path / "here" / "store")
    built = {file_digest(store.object_path(name) / "fake.txt") for name in store.objects()}
    assert len(built) == 5
    assert not built & set(moved)
    assert len(moved) == len(set(moved))


def test_another_interpreter_builds_into_the_same_store(tmp_path: Path) -> None:
    alone = study(tmp_path / "alone")
    here, python = tmp_path / "here", interpreter(tmp_path / "python")
    other = PythonTarget(here / "store", python=str(python), name="other")
    results = study(here, SplitTarget(other, local(here)))
    assert told(results) == told(alone)
    assert Store(here / "store").objects() == Store(tmp_path / "alone" / "store").objects()


def wait_until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + _WITHIN_S
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_far_build_that_is_killed_is_built_again(
    board: Callable[[], Board], sshd: Sshd, tmp_path: Path
) -> None:
    here, journal = tmp_path / "here", tmp_path / "journal"
    begun = Path(f"{journal}.begun")  # a pass `meet` ends when two builds have begun

    def during() -> None:
        if far.jobs.builds == 2:  # the first is the baseline
            wait_until((begun / "1").exists)
            sshd.cut()
            (begun / "7").touch()

    far = board()
    far.jobs.during = during
    meet = {"x": 1, "journal": str(journal)}
    results = study(here, SplitTarget(far, local(here)), passes=[{"meet": meet}])
    assert [row["outcome"] for row in results["candidates"]] == ["ok", "ok"]
    seconds = [step["step"] for step in results["candidates"][1]["seconds"]]
    assert "build:crashed" in seconds
    assert far.jobs.builds == 3


def test_a_connection_that_breaks_in_a_transfer_back(
    board: Callable[[], Board], sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, arrived = tmp_path / "here", list[str]()
    take = FileStore._take

    def cut(store: FileStore, digest: str, *rest: Any) -> None:
        if len(arrived) == 3:
            arrived.append("cut")
            sshd.cut()
        take(store, digest, *rest)
        arrived.append(digest)

    def refuse(store: FileStore, path: Path, digest: str) -> None:
        raise OSError("every file comes back over the connection")

    monkeypatch.setattr(FileStore, "_take", cut)
    monkeypatch.setattr(FileStore, "copy", refuse)
    alone = study(tmp_path / "alone", parts=6)
    far = board()
    results = study(here, SplitTarget(far, local(here)), parts=6)
    assert told(results) == told(alone)
    assert "cut" in arrived
    steps = [step["step"] for row in results["candidates"] for step in row["seconds"]]
    assert steps.count("build:failed") == 1
    before, of_one = arrived[:3], Store(here / "store").objects()[0]
    names = {path.name for path in Store(here / "store").object_path(of_one).iterdir()}
    after = arrived[4 : 4 + len(names)]
    assert not set(before) & set(after[: len(names) - 4]), "what arrived whole is not sent again"


def test_a_builder_with_another_pass_is_refused(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    for file in (*PLUGINS.glob("*.py"), *PLUGINS.glob("paretune_fakes*/*")):
        place = plugins / file.relative_to(PLUGINS)
        place.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text()
        if file.name == "paretune_fakes.py":
            text = text.replace("version: ClassVar[int] = 1", "version: ClassVar[int] = 2", 1)
        place.write_text(text)
    here, python = tmp_path / "here", interpreter(tmp_path / "python", plugins)
    other = PythonTarget(here / "store", python=str(python), name="other")
    with pytest.raises(UsageError, match=r"'other' cannot build .* noop: pass is version 2 there"):
        study(here, SplitTarget(other, local(here)))
    assert not Store(here / "store").objects()


def test_a_pass_that_reads_a_file_of_this_machine_is_refused(tmp_path: Path) -> None:
    here, python = tmp_path / "here", interpreter(tmp_path / "python")
    (tmp_path / "words.txt").write_text("x")
    other = PythonTarget(here / "store", python=str(python), name="other")
    noop = {"x": 1, "template": str(tmp_path / "words.txt")}
    with pytest.raises(UsageError, match=r"pass noop: its file .*words.txt' lies on this machine"):
        study(here, SplitTarget(other, local(here)), passes=[{"noop": noop}])


CONFIG = """
model: network
passes:
  - onnx_dynamic_int8: {{per_channel: [false, true]}}
    optional: true
evaluate:
  - latency: {{shapes: {{x: [8, 64]}}}}
targets: {{board: {{ssh: board, python: {python}, store: {store}, budget: 1GB}}}}
target: {{build: board, measure: local, threads: [1]}}
objectives: {{minimize: latency_ms_p50}}
search: {{strategy: exhaustive, finals: 0}}
"""


@pytest.mark.usefixtures("sshd")
def test_a_configuration_builds_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paretune.search.trial.PROCESS_S", 0.05)
    write_network(tmp_path / "network", width=64, classes=64)
    (tmp_path / "net.yaml").write_text(CONFIG.format(python=sys.executable, store=tmp_path / "far"))
    found = paretune.optimize(
        tmp_path / "net.yaml", study=tmp_path / "study", store=tmp_path / "store"
    )
    assert found.best is not None
    rows = found.results["candidates"]
    assert len(rows) == 3
    for row in rows:
        task = Build(
            model=open_model(tmp_path / "network"),
            recipe=tuple(Step(step["pass"], step["params"]) for step in row["recipe"]),
            provider="cpu",
            store=tmp_path / "alone",
            data={"specs": {}, "root": str(tmp_path), "allow_network": False},
        )
        here = build(task, lambda progress: None)
        assert (row["artifact"], row["structure"]) == (here.model.digest, here.structure)
    assert Store(tmp_path / "far").objects() == Store(tmp_path / "alone").objects()
    assert Store(tmp_path / "store").objects() == Store(tmp_path / "alone").objects()


@pytest.mark.slow
@pytest.mark.usefixtures("sshd")
def test_a_training_and_what_is_built_from_it_come_back(tmp_path: Path) -> None:
    """Every artifact of a recipe of several passes has the digest that it has if built here."""
    model = make_tiny_llama(tmp_path / "model")
    rows = [{"q": f"line {i}", "a": "yes" if i % 3 else "no"} for i in range(24)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "model": str(model),
        "data": {"qa": {"file": "rows.jsonl", "prompt": "{q}: ", "answer": "{a}"}},
        "passes": [
            {"lora": {"train": "qa", "r": 4, "epochs": 1}},
            "merge",
            {"genai": {"precision": ["fp32", "int8"]}},
        ],
        "evaluate": [{"classification": {"data": "qa"}}, "footprint"],
        "objectives": {"maximize": "accuracy", "minimize": "size_mb"},
        "search": {"finals": 0, "strategy": "exhaustive"},
        "targets": {
            "board": {"ssh": "board", "python": sys.executable, "store": str(tmp_path / "far")}
        },
    }
    made, weights = {}, {}
    for place in ("local", "board"):
        config["target"] = {"build": place, "measure": "local", "threads": [1]}
        (tmp_path / f"{place}.yaml").write_text(yaml.safe_dump(config))
        found = paretune.optimize(
            tmp_path / f"{place}.yaml",
            study=tmp_path / f"study-{place}",
            store=tmp_path / f"store-{place}",
        )
        rows_ = found.results["candidates"]
        assert {row["outcome"] for row in rows_} <= {"ok", "infeasible", "pruned"}, rows_
        assert all(row["metrics"]["kl_per_token"]["value"] is not None for row in rows_)
        store = Store(tmp_path / f"store-{place}")
        made[place] = {action.key: (action.digest, action.kind) for action in store.actions()}
        adapter = next((store.root / "objects").glob("*/adapter_model.safetensors"))
        weights[place] = load_file(adapter)
    assert len(made["board"]) == len(made["local"]) >= 4
    kinds = [sorted(kind for _, kind in made[place].values()) for place in made]
    assert kinds[0] == kinds[1]
    for name, tensor in weights["local"].items():
        assert np.allclose(tensor, weights["board"][name], rtol=1e-3, atol=1e-5), name
    # A training times two libraries for its matrix products, whose last bits differ, and takes the
    # quicker one; where both took the same, nothing differs.
    if all(
        np.array_equal(weights["local"][name], weights["board"][name]) for name in weights["local"]
    ):
        assert made["board"] == made["local"]
