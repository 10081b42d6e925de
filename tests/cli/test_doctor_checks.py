from __future__ import annotations

import json
from pathlib import Path

import pytest

from paretune.cli import doctor_checks as doctor
from paretune.core import packages
from paretune.core.device import TargetInfo
from paretune.core.distributions import variants
from paretune.registry import names


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return doctor.report(tmp_path_factory.mktemp("store"))


def items(found: dict[str, object], title: str) -> dict[str, dict[str, object]]:
    sections = found["sections"]
    assert isinstance(sections, dict)
    return {item["name"]: item for item in sections[title]}


def test_it_is_json(found: dict[str, object]) -> None:
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_each_item_is_there_or_says_what_it_needs(found: dict[str, object]) -> None:
    sections = found["sections"]
    assert isinstance(sections, dict)
    for title, listed in sections.items():
        assert listed, title
        for item in listed:
            assert item["ok"] == (item["needs"] is None)
            assert item["found"] or item["needs"]


def test_run_times_were_really_imported(found: dict[str, object]) -> None:
    workers = items(found, "Workers")
    assert "offers" in str(workers["onnxruntime"]["found"])
    assert "CPU" in str(workers["onnxruntime"]["found"])
    assert str(workers["torch"]["found"]).startswith("2.")


def test_absent_providers_say_what_they_need(found: dict[str, object]) -> None:
    providers = items(found, "Execution providers")
    assert providers["cpu"]["ok"]
    assert str(providers["dml"]["needs"]).startswith("Windows")


def test_every_plug_in_is_listed(found: dict[str, object]) -> None:
    assert set(items(found, "Passes")) == set(names("passes"))
    assert set(items(found, "Evaluators")) == set(names("evaluators"))


def test_it_renders_every_item(found: dict[str, object]) -> None:
    text = doctor.render(found)
    assert "Execution providers\n" in text
    assert "needs: Windows" in text
    assert text.endswith("A search can run here." if found["ok"] else "needs is missing.")


def test_a_worker_that_cannot_import_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "RUNTIMES", ("no_such_runtime",))
    (item,) = items(doctor.report(Path("/tmp")), "Workers").values()
    assert not item["ok"]
    assert "No module named 'no_such_runtime'" in str(item["found"])
    assert "pip install" in str(item["needs"])


def test_an_unwritable_store_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    item = doctor._store(tmp_path / "store")
    assert not item["ok"]
    assert "--store DIR" in str(item["needs"])
    assert not (tmp_path / "store").exists()


def test_a_package_of_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requirements", lambda: ["numpy<1", "no-such-thing==1", "pytest"])
    numpy, absent, fine = doctor._packages()
    assert (numpy["ok"], absent["ok"], fine["ok"]) == (False, False, True)
    assert numpy["needs"] == "pip install 'numpy<1'"
    assert absent["found"] == "absent"


def test_little_memory_is_told(tmp_path: Path) -> None:
    memory = next(
        item
        for item in doctor._machine(TargetInfo("local", memory_free=10**9), tmp_path)
        if item["name"] == "memory"
    )
    assert not memory["ok"]
    assert "4 GB free" in str(memory["needs"])


def test_two_flavours_of_the_run_time_are_told_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"onnxruntime", "onnxruntime-gpu", "onnxruntime-genai"}
    monkeypatch.setattr(
        doctor, "variants", lambda name: {each: "1.31.1" for each in there if name in each}
    )
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "1.31.1")
    item = doctor._flavours()
    assert not item["ok"]
    assert item["found"] == "onnxruntime and onnxruntime-gpu overwrite each other's files"
    assert item["needs"] == (
        "one of them: pip uninstall -y onnxruntime onnxruntime-gpu && "
        "pip install --no-deps onnxruntime-gpu==1.31.1"
    )
    there.remove("onnxruntime")
    assert doctor._flavours()["ok"]
    monkeypatch.setattr(doctor, "requirements", lambda: ["onnxruntime==1.32.0"])
    assert doctor._packages() == []  # another flavour does its work


def test_a_device_that_measures_is_not_asked_for_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = {"torch", "transformers", "peft", "onnxruntime-genai", "optuna", "datasets"}
    for place in (doctor, packages):
        monkeypatch.setattr(
            place, "is_installed", lambda name: name not in absent and bool(variants(name))
        )
    measures = doctor.report(tmp_path, doctor.MEASURE)
    assert measures["role"] == "measure"
    workers = items(measures, "Workers")
    assert (workers["torch"]["ok"], workers["torch"]["found"]) == (True, "absent, not needed")
    assert "offers" in str(workers["onnxruntime"]["found"])
    listed = set(items(measures, "Packages"))
    assert {"numpy", "pydantic", "onnxruntime"} <= listed
    assert not listed & {"torch", "optuna", "transformers"}
    lora = items(measures, "Passes")["lora"]
    assert lora["ok"]
    assert "incomplete, and not needed" in str(lora["found"])
    assert "torch" not in str(doctor.lacking(measures))
    assert "measured here." in doctor.render(measures) or not measures["ok"]


def test_packages_that_single_evaluators_need_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "RUNTIMES", ())
    absent = ("pycocotools", "rapidfuzz")
    for role, more in ((doctor.MEASURE, ("scikit-learn",)), (doctor.SEARCH, ())):
        for place in (doctor, packages):
            lacks = (*absent, *more)
            monkeypatch.setattr(place, "is_installed", lambda name, lacks=lacks: name not in lacks)
        found = doctor.report(tmp_path, role)
        evaluators = items(found, "Evaluators")
        assert evaluators["detection"]["needs"] == "pip install 'paretune[detection]'"
        assert evaluators["embedding"]["ok"] == (not more)
        assert not {each.partition(":")[0] for each in doctor.lacking(found)} & set(evaluators)


def test_a_machine_that_builds_is_asked_for_the_packages_of_the_passes_that_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "RUNTIMES", ("onnxruntime",))
    for place in (doctor, packages):
        monkeypatch.setattr(place, "is_installed", lambda name: name not in ("peft", "optuna"))
    for wanted in (["lora", "genai"], []):
        found = doctor.report(tmp_path, doctor.BUILD, wanted)
        assert not found["ok"]
        assert items(found, "Passes")["lora"]["needs"] == "pip install 'paretune[train]'"
        assert "optuna" not in str(doctor.lacking(found))
        assert doctor.render(found).endswith("a build needs is missing.")
    found = doctor.report(tmp_path, doctor.BUILD, ["genai"])
    assert items(found, "Passes")["lora"]["ok"]
    assert "peft" not in str(doctor.lacking(found))


def test_a_runtime_that_is_wanted_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "RUNTIMES", ("onnxruntime_genai",))
    for place in (doctor, packages):
        monkeypatch.setattr(place, "is_installed", lambda name: name != "onnxruntime-genai")
    found = doctor.report(tmp_path, doctor.MEASURE, ["genai"])
    assert not found["ok"]
    assert items(found, "Workers")["onnxruntime_genai"]["needs"] == "pip install onnxruntime-genai"
    assert any(line.startswith("onnxruntime_genai: absent") for line in doctor.lacking(found))
    assert doctor.render(found).endswith("a measurement needs is missing.")


def test_what_a_measuring_device_needs_depends_on_its_runtimes() -> None:
    plain = doctor.needed_to_measure(["onnxruntime"])
    assert "onnxruntime" in plain
    assert not {"transformers", "torch", "onnxruntime-genai"} & plain
    assert {"transformers", "sentencepiece", "onnxruntime-genai"} <= doctor.needed_to_measure(
        ["genai"]
    )
