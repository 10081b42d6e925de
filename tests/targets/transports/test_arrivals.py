"""The far side of a transport: it asks for what is missing, and waits for the answer."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from paretune.core.errors import TransientError
from paretune.core.job import Measure, Task
from paretune.core.model import Model, ModelKind
from paretune.core.stamps import InputFiles, take
from paretune.targets.transports.arrivals import Arrivals, CancelledError
from paretune.targets.transports.files import FileStore, send
from paretune.targets.transports.tasks import Describer, files_of, localized


def task_of(folder: Path) -> Measure:
    """Return a task that names a package, a data set and a file of a parameter."""
    (folder / "package" / "sub").mkdir(parents=True)
    (folder / "package" / "config.json").write_text("{}")
    (folder / "package" / "sub" / "weights").write_bytes(b"weights")
    for name in ("rows.jsonl", "words.txt", "other.jsonl"):
        (folder / name).write_text(f"content of {name}")
    link = folder / "link"
    link.symlink_to(folder, target_is_directory=True)
    files = (take(link / "rows.jsonl"), take(folder / "words.txt"))
    return Measure(
        model=Model(ModelKind.ONNX, folder / "package", "sha256:0"),
        runtime=None,  # type: ignore[arg-type]
        evaluator="mine",
        params={"words": "words.txt", "note": "rows", "n": 3, "many": ["words.txt", "x"]},
        data={
            "root": str(link),
            "specs": {"a": {"file": "rows.jsonl"}, "b": {"file": "other.jsonl", "files": None}},
        },
        inputs=(
            InputFiles("data a", files),
            InputFiles("model", (take(folder / "other.jsonl"),), folder),
        ),
    )


def test_a_task_is_the_same_with_paths_of_the_other_machine(tmp_path: Path) -> None:
    near, store = tmp_path / "near", FileStore(tmp_path / "far")
    described = Describer().described(task_of(near))
    stream = io.BytesIO()
    send(files_of(described).values(), stream)
    stream.seek(0)
    assert store.receive(stream) == 4, "the model of the study is not read by this job"
    with localized(described, store) as task:
        assert isinstance(task, Measure)
        assert task.model.path.is_relative_to(tmp_path / "far")
        parts = {p.relative_to(task.model.path).as_posix(): p for p in task.model.parts}
        assert parts.keys() == {"config.json", "sub/weights"}
        assert parts["sub/weights"].read_bytes() == b"weights"
        rows = Path(task.data["specs"]["a"]["file"])
        assert rows.is_relative_to(tmp_path / "far")
        assert rows.suffix == ".jsonl"
        assert rows.read_text() == "content of rows.jsonl"
        words = Path(task.params["words"])
        assert words.read_text() == "content of words.txt"
        assert task.params["many"] == [str(words), "x"]
        assert (task.params["note"], task.params["n"]) == ("rows", 3)
        assert task.data["specs"]["b"]["file"] == "other.jsonl"
        (entry,) = task.inputs
        assert [file.path for file in entry.files] == [rows, words]
        assert [take(file.path).sha256 for file in entry.files] == [f.sha256 for f in entry.files]
    assert not rows.exists()


def test_a_file_is_read_for_its_digest_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import paretune.core.stamps as stamps

    task, read = task_of(tmp_path / "near"), list[Path]()
    digest = stamps.file_digest

    def noting(path: Path) -> str:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(stamps, "file_digest", noting)
    describer = Describer()
    first = describer.described(task)
    assert describer.described(task) == first
    assert len(read) == 2
    weights = tmp_path / "near" / "package" / "sub" / "weights"
    weights.write_bytes(b"changed")
    assert files_of(describer.described(task)).keys() != files_of(first).keys()


class Parent:
    """Answers what an agent asks for, at once."""

    def __init__(self, store: FileStore, task: Task, answer: str = "send") -> None:
        self.asked: list[Sequence[str]] = []
        self.arrivals = Arrivals(store, self.ask)
        self._store, self._task, self._answer = store, task, answer

    def ask(self, id: int, digests: Sequence[str]) -> None:
        self.asked.append(digests)
        if self._answer == "cancel":
            self.arrivals.cancel(None)
            return
        if self._answer == "send":
            stream = io.BytesIO()
            send([files_of(self._task)[digest] for digest in digests], stream)
            stream.seek(0)
            self._store.receive(stream)
        self.arrivals.have(id, "no route to it" if self._answer == "fail" else None)

    def fetch(self) -> Task:
        self.arrivals.expect(1)
        try:
            with ExitStack() as stack:
                return self.arrivals.fetch(1, self._task, stack)
        finally:
            self.arrivals.forget(1)


def test_what_is_missing_is_asked_for_once(tmp_path: Path) -> None:
    task = Describer().described(task_of(tmp_path / "near"))
    parent = Parent(FileStore(tmp_path / "far"), task)
    for _ in range(2):
        parent.fetch()
    assert [sorted(asked) for asked in parent.asked] == [sorted(files_of(task))]


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        ("fail", TransientError, "no route to it"),
        ("nothing", TransientError, "4 of 4 files did not arrive"),
        ("cancel", CancelledError, "cancelled"),
    ],
)
def test_files_that_do_not_arrive(
    tmp_path: Path, answer: str, error: type[Exception], told: str
) -> None:
    task = Describer().described(task_of(tmp_path / "near"))
    with pytest.raises(error, match=told):
        Parent(FileStore(tmp_path / "far"), task, answer).fetch()


def test_a_job_that_is_cancelled_before_it_starts_is_remembered(tmp_path: Path) -> None:
    arrivals = Arrivals(FileStore(tmp_path / "far"), lambda id, digests: None)
    arrivals.expect(7)
    arrivals.cancel(7)
    assert arrivals.forget(7)
    arrivals.expect(8)
    assert not arrivals.forget(8)
