"""What a search reads is checked around each use: nothing is kept of a file that changed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fake_study import search, write_fake_study

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InputChangedError, InputTouchedError
from paretune.core.stamps import take
from paretune.data.catalog import DataCatalog, DataSpec
from paretune.models.handle import open_model
from paretune.models.inputs import MODEL, Inputs, check, renewed
from paretune.store.artifacts import Store
from paretune.study.folder import read_outcomes
from paretune.study.job_factory import StudyJobFactory
from tests.tiny_models import make_tiny_llama

ROWS = [{"t": f"text {n}", "y": "good" if n % 2 else "bad"} for n in range(20)]


def replace(file: Path, *, in_place: bool) -> None:
    """Put other content of the same size at a file's place, with its time."""
    kept, content = file.stat(), file.read_bytes()
    place = file if in_place else file.with_name(f".{file.name}.new")
    place.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(place, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    place.replace(file)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_tiny_llama(tmp_path / "model")


@pytest.mark.parametrize("in_place", [True, False])
def test_other_weights_of_the_same_size_and_time_are_seen(model: Path, in_place: bool) -> None:
    inputs = Inputs(open_model(model))
    before = inputs.entries(MODEL)
    check(before)
    replace(model / "model.safetensors", in_place=in_place)
    with pytest.raises(InputChangedError, match=r"model\.safetensors has another content \(\d+"):
        check(before)
    with pytest.raises(InputChangedError, match="bytes as before"):
        inputs.entries(MODEL)


def test_a_change_that_was_taken_back_spoils_what_ran_meanwhile(model: Path) -> None:
    inputs, file = Inputs(open_model(model)), model / "model.safetensors"
    before = inputs.entries(MODEL)
    replace(file, in_place=True)
    replace(file, in_place=True)
    os.utime(file)
    with pytest.raises(InputTouchedError, match="rewritten while it was in use, with the same"):
        check(before)
    check(inputs.entries(MODEL))


@pytest.mark.parametrize("name", ["chat_template.json", "vocab.txt"])
def test_a_file_that_joins_the_model_is_seen(model: Path, name: str) -> None:
    inputs = Inputs(open_model(model))
    (model / "README.md").write_text("about")
    before = inputs.entries(MODEL)
    (model / name).write_text("x")
    with pytest.raises(InputChangedError, match=f"{name} is new"):
        check(before)


def test_a_file_that_is_gone_is_seen(model: Path) -> None:
    before = Inputs(open_model(model)).entries(MODEL)
    (model / "tokenizer.json").unlink()
    with pytest.raises(InputChangedError, match=r"tokenizer\.json cannot be read: No such file"):
        renewed(before)


def test_a_package_that_links_to_the_input_changes_nothing(model: Path, tmp_path: Path) -> None:
    with open(model / "model.safetensors", "ab") as file:
        file.truncate(2 << 20)  # large enough to be linked: its inode's time changes
    opened, store = open_model(model), Store(tmp_path / "store")
    bench = StudyJobFactory(opened, store, {}, links=True)
    with bench.packaged(opened, RuntimeSettings()) as package:
        assert (package.path / "model.safetensors").stat().st_nlink == 2
        job = bench.smoke(package, RuntimeSettings())
        check(job.task.inputs)
        assert len(job.task.inputs) == 1
        replace(model / "model.safetensors", in_place=True)
        with pytest.raises(InputChangedError):
            check(job.task.inputs)


def test_a_data_set_read_anew_must_be_what_was_digested(tmp_path: Path) -> None:
    file = tmp_path / "tone.csv"
    file.write_text("t,y\na,good\nb,bad\n")
    catalog = DataCatalog({"tone": DataSpec(file="tone.csv", prompt="{t}", answer="{y}")}, tmp_path)
    catalog.load("tone")
    told = json.loads(json.dumps(catalog.to_json()))
    DataCatalog.from_json(told).load("tone")
    file.write_text("t,y\na,bad\nb,good\n")
    with pytest.raises(InputChangedError, match="data tone changed during the search: it has 2"):
        DataCatalog.from_json(told).load("tone")


# From here on: real searches, with real child processes.


@pytest.fixture
def config(tmp_path: Path) -> Path:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "tone.jsonl").write_text(lines)
    spec = {"file": "tone.jsonl", "prompt": "{t}", "answer": "{y}", "split": {"test": 0.3}}
    return write_fake_study(tmp_path, {"x": [1, 2], "train": "tone.train"}, data={"tone": spec})


def meddling(config: Path, how: str, file: Path) -> Path:
    text = config.read_text()
    config.write_text(
        text.replace("train: tone.train", f"train: tone.train\n    meddle: '{how}:{file}'")
    )
    return config


@pytest.mark.parametrize("how", ["other", "in place"])
@pytest.mark.parametrize("which", ["model/model.safetensors", "tone.jsonl"])
def test_what_was_replaced_while_a_pass_ran_is_neither_stored_nor_recorded(
    config: Path, how: str, which: str
) -> None:
    """The same size and the same time: the store would give it out for the good one for ever."""
    file = config.parent / which
    with pytest.raises(InputChangedError, match=f"{file.name} has another content") as told:
        search(meddling(config, how, file))
    assert "What was measured before stays on record" in str(told.value)
    assert [o.id for o in read_outcomes(config.parent / "study")] == [1]
    assert len(Store(config.parent / "store").actions()) == 1  # the baseline's


def test_once_the_file_is_back_the_same_command_goes_on(config: Path) -> None:
    file = config.parent / "model" / "model.safetensors"
    content = file.read_bytes()
    with pytest.raises(InputChangedError):
        search(meddling(config, "other", file))
    file.write_bytes(content)
    search(config)
    assert [o.kind for o in read_outcomes(config.parent / "study")] == ["ok"] * 3


def test_a_file_written_anew_to_the_same_content_has_the_job_run_again(config: Path) -> None:
    result = search(meddling(config, "same", config.parent / "model" / "model.safetensors"))
    assert [row["outcome"] for row in result.results["candidates"]] == ["ok"] * 3
    again = [s["step"] for row in result.results["candidates"] for s in row["seconds"]]
    assert again.count("build:failed") == 1


@pytest.mark.parametrize("which", ["model/model.safetensors", "tone.jsonl"])
def test_what_was_replaced_between_two_candidates_ends_the_search(
    config: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    from paretune.api import Search

    after = Search._after

    def meddle(self: Search, outcome: Any, summary: Any) -> None:
        after(self, outcome, summary)
        if outcome.id == 2:
            replace(config.parent / which, in_place=False)

    monkeypatch.setattr(Search, "_after", meddle)
    with pytest.raises(InputChangedError, match="changed during the search"):
        search(config)
    assert [o.id for o in read_outcomes(config.parent / "study")] == [1, 2]


def test_what_no_candidate_reads_may_change(config: Path) -> None:
    (config.parent / "model" / "README.md").write_text("one")
    search(meddling(config, "other", config.parent / "model" / "README.md"))
    assert [o.kind for o in read_outcomes(config.parent / "study")] == ["ok"] * 3


def test_a_file_that_is_written_while_it_is_digested_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pipe"
    file.write_text("x")
    assert take(file).sha256 == take(file, "another name").sha256
