"""What becomes of a study when what its numbers depend on changed; real searches of fakes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import paretune_fakes
import pytest
from fake_study import search, write_fake_study
from pydantic import create_model

from paretune.api import SearchResult
from paretune.core.candidate import Candidate, Step
from paretune.core.errors import UsageError
from paretune.core.jsontools import read_json
from paretune.core.measurement import Measurement
from paretune.core.params import parameter
from paretune.core.parent import Parent
from paretune.core.result import OutcomeKind, TrialResult
from paretune.plugin_identity import files_named
from paretune.preflight.dry_run import foresee
from paretune.study.changes import compare
from paretune.study.folder import read_outcomes

ROWS = [{"t": f"text {n}", "y": "good" if n % 2 else "bad"} for n in range(20)]


def write_rows(file: Path, rows: list[dict[str, str]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A study with two candidates that train, beside a baseline that does not."""
    write_rows(tmp_path / "tone.jsonl", ROWS)
    data = {
        "tone": {"file": "tone.jsonl", "prompt": "{t}", "answer": "{y}", "split": {"test": 0.3}}
    }
    return write_fake_study(tmp_path, {"x": [1, 2], "train": "tone.train"}, data=data)


def of_changes(told: Sequence[str]) -> str:
    """Return the notes but the one that a fake pass does not say what its output is."""
    return "\n".join(note for note in told if "docs/extending.md" not in note)


def notes(result: SearchResult) -> str:
    return of_changes(result.results["notes"])


def ids(config: Path) -> list[int]:
    return [outcome.id for outcome in read_outcomes(config.parent / "study")]


def rewrite(file: Path, **changes: Any) -> None:
    value = read_json(file)
    file.write_text(json.dumps({k: v for k, v in {**value, **changes}.items() if v is not None}))


def test_the_same_again_changes_nothing(config: Path) -> None:
    first, again = search(config), search(config)
    assert notes(first) == notes(again) == ""
    assert ids(config) == [1, 2, 3]


def test_other_labels_in_the_training_data_refuse_the_study(config: Path) -> None:
    """As many rows, the same size: nothing would be seen from outside."""
    search(config)
    flipped = [{**row, "y": "bad" if row["y"] == "good" else "good"} for row in ROWS]
    write_rows(config.parent / "tone.jsonl", flipped)
    before = read_outcomes(config.parent / "study")
    with pytest.raises(UsageError) as refused:
        search(config)
    assert "training data tone.train: 14 rows before, 14 now, content differs" in str(refused.value)
    assert "2 candidates trained on it" in str(refused.value)
    assert "--study DIR" in str(refused.value)
    assert read_outcomes(config.parent / "study") == before
    write_rows(config.parent / "tone.jsonl", ROWS)
    search(config)


def test_training_data_that_no_candidate_on_record_read_may_change(config: Path) -> None:
    text = config.read_text()
    config.write_text(text.replace("train: tone.train", "quality: 0.9"))
    search(config)
    write_rows(config.parent / "tone.jsonl", ROWS[:10])
    config.write_text(text)
    search(config)
    assert ids(config) == [1, 2, 3, 4, 5]
    write_rows(config.parent / "tone.jsonl", ROWS[:8])
    with pytest.raises(UsageError, match=r"7 rows before, 6 now, content differs"):
        search(config)


def test_training_data_stays_on_record_when_the_space_leaves_it_out(config: Path) -> None:
    search(config)
    text = config.read_text()
    config.write_text(text.replace("train: tone.train", "quality: 0.9"))
    search(config)
    write_rows(config.parent / "tone.jsonl", ROWS[:10])
    config.write_text(text)
    with pytest.raises(UsageError, match=r"training data tone\.train: 14 rows before, 7 now"):
        search(config)


def test_each_value_of_a_choice_of_data_counts(config: Path) -> None:
    write_rows(config.parent / "other.jsonl", ROWS)
    text = config.read_text().replace("train: tone.train", "train: tone.train\n    template: ''")
    text = text.replace(
        "data:\n", "data:\n  o: {file: other.jsonl, prompt: '{t}', answer: '{y}'}\n"
    )
    config.write_text(
        text.replace("passes:", "try_first:\n- recipe: [{noop: {train: o}}]\npasses:")
    )
    search(config)
    write_rows(config.parent / "other.jsonl", ROWS[1:])
    with pytest.raises(UsageError, match=r"training data o: 20 rows before, 19 now"):
        search(config)


def test_the_dry_run_says_what_the_search_would(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(config)
    places = {"study": config.parent / "study", "store": config.parent / "store"}
    assert of_changes(foresee(config, **places)["notes"]) == ""
    with monkeypatch.context() as patch:
        patch.setattr(paretune_fakes.ReadBack, "version", 2)
        note = of_changes(foresee(config, **places)["notes"])
        assert "3 candidates are measured again" in note
        assert ids(config) == [1, 2, 3]  # said, not done
    write_rows(config.parent / "tone.jsonl", ROWS[1:])
    with pytest.raises(UsageError) as dry:
        foresee(config, **places)
    with pytest.raises(UsageError) as real:
        search(config)
    assert str(dry.value) == str(real.value)


def test_another_version_of_an_evaluator_measures_again_and_builds_nothing(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(config)
    monkeypatch.setattr(paretune_fakes.ReadBack, "version", 2)
    result = search(config)
    assert "evaluator readback changed: version 1 before, 2 now" in notes(result)
    assert "3 candidates are measured again; their builds are kept" in notes(result)
    found = read_outcomes(config.parent / "study")
    assert len(found) == 3
    assert all(step.cached for o in found for step in o.seconds if step.step == "noop")
    assert notes(search(config)) == ""


def test_another_version_of_a_pass_builds_again(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(config)
    monkeypatch.setattr(paretune_fakes.Noop, "version", 2)
    result = search(config)
    assert "pass noop changed: version 1 before, 2 now" in notes(result)
    assert len(read_outcomes(config.parent / "study")) == 3


@pytest.mark.parametrize("kind", ["evaluator", "pass"])
def test_code_and_packages_from_elsewhere_count(config: Path, kind: str) -> None:
    search(config)
    place = config.parent / "study" / "identity.json"
    known = read_json(place)
    made = known["measured_by"][0] if kind == "evaluator" else known["passes"]["noop"]
    made["code"]["paretune_fakes"] = "0" * 64
    made["distribution"]["paretune-fakes"] = "0.9"
    place.write_text(json.dumps(known))
    said = notes(search(config))
    assert "its code: module paretune_fakes differs" in said
    assert "its package paretune-fakes 0.9 before, 1 now" in said


def test_what_failed_in_measuring_is_tried_again_once_its_evaluator_is_mended(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = config.read_text().replace("train: tone.train", "metric: missing")
    config.write_text(text)
    search(config)
    kinds = [o.kind.value for o in read_outcomes(config.parent / "study")]
    assert kinds == ["ok", "failed", "failed"]
    search(config)
    assert ids(config) == [1, 2, 3]
    monkeypatch.setattr(paretune_fakes.ReadBack, "version", 2)
    assert "3 candidates are measured again" in notes(search(config))


def test_a_file_that_a_parameter_names_counts(config: Path) -> None:
    template = config.parent / "prompt.jinja"
    template.write_text("one")
    config.write_text(config.read_text().replace("train: tone.train", f"template: {template}"))
    search(config)
    artifacts = {o.id: o.artifact for o in read_outcomes(config.parent / "study")}
    kept = os.stat(template)
    template.write_text("two")
    os.utime(template, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert f"pass noop changed: the file {template} differs" in notes(search(config))
    for outcome in read_outcomes(config.parent / "study"):
        assert outcome.artifact not in artifacts.values() or outcome.id == 1


def test_the_models_files_that_changed_are_named(config: Path) -> None:
    search(config)
    (config.parent / "model" / "config.json").write_text('{"model_type": "stub" }')
    (config.parent / "model" / "vocab.txt").write_text("x")
    with pytest.raises(
        UsageError, match=r"model was .*\(config\.json differs, vocab\.txt is new\)"
    ):
        search(config)


def test_facts_of_the_device_that_changed_are_named(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(config)
    from paretune.targets.device import fingerprint

    packages = {**fingerprint.package_versions(), "onnxruntime-openvino": "1.20"}
    monkeypatch.setattr(fingerprint, "package_versions", lambda: packages)
    with pytest.raises(UsageError, match=r"packages\.onnxruntime-openvino was null, is 1\.20"):
        search(config)


def test_another_version_of_paretune_is_told_and_drops_nothing(config: Path) -> None:
    search(config)
    rewrite(config.parent / "study" / "identity.json", paretune="0.0.1")
    assert "begun with paretune 0.0.1" in notes(search(config))
    assert ids(config) == [1, 2, 3]


def of_old(config: Path) -> Path:
    """Make a study's identity what the first version wrote."""
    place = config.parent / "study" / "identity.json"
    missing = ("schema", "training", "rows", "measured_by", "passes", "paretune", "model_files")
    rewrite(place, **dict.fromkeys(missing))
    return place


def test_a_study_of_an_earlier_version_is_accepted_once_and_said(config: Path) -> None:
    (config.parent / "model" / "README.md").write_text("about")
    search(config)
    from paretune.models.handle import earlier_digests

    place = of_old(config)
    rewrite(place, model=next(earlier_digests(config.parent / "model")))
    result = search(config)
    assert "recorded neither training data nor versions" in notes(result)
    assert ids(config) == [1, 2, 3]
    assert read_json(place)["training"].keys() == {"tone.train"}
    assert notes(search(config)) == ""


def test_a_study_of_an_earlier_version_is_refused_with_what_it_did_record(config: Path) -> None:
    search(config)
    rewrite(of_old(config), model="sha256:other")
    with pytest.raises(UsageError, match="model was sha256:other"):
        search(config)


def test_packages_that_were_not_looked_at_then_are_no_change(config: Path) -> None:
    search(config)
    place = of_old(config)
    device = place.with_name("device.json")
    known = read_json(device)
    known["packages"].pop("numpy")
    known["fingerprint"] = "sha256:then"
    device.write_text(json.dumps(known))
    rewrite(place, device="sha256:then")
    with pytest.raises(UsageError, match=r"packages\.numpy was null"):  # that was looked at
        search(config)


@pytest.mark.parametrize(
    ("name", "counts"),
    [("template", True), ("words", True), ("log", False), ("out_file", False), ("declared", False)],
)
def test_a_file_that_is_written_is_no_part_of_a_parameter(
    tmp_path: Path, name: str, counts: bool
) -> None:
    declared = parameter("", "A file that is written.", writes=True)
    plain = parameter("", "A file.")
    kind = create_model("Some", **{name: (str, declared if name == "declared" else plain)})
    (tmp_path / "file").write_text("x")
    named = files_named(kind, {name: "file"}, tmp_path)
    assert [file.name for file in named] == (["file"] if counts else [])


def test_a_function_in_a_file_brings_the_modules_that_it_imports(tmp_path: Path) -> None:
    kind = create_model("Some", postprocess=(str, ""))
    (tmp_path / "inner" / "words").mkdir(parents=True)
    (tmp_path / "inner" / "post.py").write_text("import json\nfrom words.of import word\n")
    (tmp_path / "inner" / "words" / "__init__.py").write_text("")
    (tmp_path / "inner" / "words" / "of.py").write_text("word = str\n")
    (tmp_path / "inner" / "other.py").write_text("")
    named = files_named(kind, {"postprocess": "inner/post.py:answer"}, tmp_path)
    assert [file.name for file in named] == [
        "inner/post.py:answer",
        "inner/words/__init__.py",
        "inner/words/of.py",
    ]


def test_lists_and_folders_name_files_and_closed_choices_do_not(tmp_path: Path) -> None:
    kind = create_model("Some", files=(list[str], []), mode=(Literal["file", "other"], "file"))
    (tmp_path / "inner").mkdir()
    for name in ("file", "inner/a", "inner/b"):
        (tmp_path / name).write_text(name)
    params = {"files": ["file", "inner/", "no such"], "mode": "file", "unknown": "file"}
    named = files_named(kind, params, tmp_path)
    assert [file.name for file in named] == ["file", "inner/a", "inner/b"]


def test_what_a_parent_stopped_falls_with_its_evaluator_or_training() -> None:
    """Such an outcome has no measurement of its own, and may have run no job."""
    accuracy = Measurement("accuracy", 0.5, "fraction", 0.4, 0.6, 40)
    parent = Parent("sha256:p", 1, {"accuracy": accuracy}, {"accuracy": (0.4, 0.6)})
    recipe = (Step("lora", {"train": "tone.train"}), Step("genai", {}))
    stopped = TrialResult(
        2, Candidate(recipe), OutcomeKind.INFEASIBLE, ran_job=False, parent=parent
    )
    now = {
        "evaluators": [{"name": "classification", "params": {"data": "tone.test"}}],
        "measured_by": [{"version": 2}],
        "passes": {"lora": {"version": 2}, "genai": {"version": 1}},
    }
    assert compare(now, now, [stopped]).dropped == []
    assert compare({**now, "measured_by": [{"version": 1}]}, now, [stopped]).dropped == [stopped]
    older = {**now, "passes": {**now["passes"], "lora": {"version": 1}}}
    assert compare(older, now, [stopped]).dropped == [stopped]
