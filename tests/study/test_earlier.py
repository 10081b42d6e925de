"""Earlier studies as priors: what enters, what is refused, and that nothing of them is a result."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_study import search, write_fake_study

from paretune.config import load
from paretune.core.errors import ConfigError, StateError, UsageError
from paretune.preflight.dry_run import foresee
from paretune.study.results import read_results

NOOP = {"x": [1, 2, 3], "quality": [0.7, 0.9]}
OTHER = {"x": [2, 9], "quality": [0.75, 0.9]}


def made(folder: Path, noop: Mapping[str, Any] = NOOP, **changes: Any) -> Path:
    """Search a study of fakes; returns its folder."""
    folder.mkdir()
    search(write_fake_study(folder, noop, **changes))
    return folder / "study"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two searched studies, ``a/study`` and ``b/study``; not to be written to."""
    folder = tmp_path_factory.mktemp("earlier")
    made(folder / "a")
    made(folder / "b", OTHER)
    return folder


@pytest.fixture
def study(searched: Path, tmp_path: Path) -> Path:
    """A copy of one of them."""
    shutil.copytree(searched / "a" / "study", tmp_path / "a" / "study")
    return tmp_path / "a" / "study"


def elsewhere(study: Path) -> Path:
    """Make a study one of another device."""
    for name in ("identity.json", "device.json"):
        content = json.loads((study / name).read_text())
        content["device" if name == "identity.json" else "fingerprint"] = "sha256:elsewhere"
        (study / name).write_text(json.dumps(content))
    return study


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in found}


def config(folder: Path, noop: Mapping[str, Any] = NOOP, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    return write_fake_study(folder, noop, **{"search": {"strategy": "chains"}, **changes})


def test_nothing_of_an_earlier_study_is_a_result_and_the_study_stays_as_it_is(
    searched: Path, study: Path, tmp_path: Path
) -> None:
    first, second = elsewhere(study), searched / "b" / "study"
    before = files(first), files(second)
    file = config(tmp_path / "c")
    results = search(file, from_studies=[first, second], trials=4).results
    assert (files(first), files(second)) == before, "an earlier study was written to"
    assert len(results["candidates"]) == 4
    assert [row["id"] for row in results["candidates"]] == [1, 2, 3, 4]
    told = {Path(entry["study"]).parent.name: entry for entry in results["priors"]}
    assert told["a"]["device"] == "other"
    assert told["b"]["device"] == "same"
    assert told["a"]["model"] == told["b"]["model"] == "same"
    # The baseline lies outside of both spaces; of the second study only x = 2 lies in this one.
    assert (told["a"]["entered"], told["a"]["outcomes"]) == (6, 7)
    assert (told["b"]["entered"], told["b"]["outcomes"], told["b"]["nearest"]) == (2, 5, 1)
    assert told["a"]["metrics"] == ["accuracy", "decode_ms_p50"]
    assert any("6 of 7 outcomes" in note and "other device" in note for note in results["notes"])
    page = (tmp_path / "c" / "study" / "report.html").read_text()
    assert "Earlier studies used as priors" in page


def test_the_order_of_studies_and_naming_one_twice_change_nothing(
    searched: Path, tmp_path: Path
) -> None:
    studies = [searched / "a" / "study", searched / "b" / "study"]
    file = config(tmp_path / "c")
    told = [foresee(file, from_studies=given) for given in (studies, [*studies[::-1], studies[0]])]
    assert told[0] == told[1]
    assert [entry["entered"] for entry in told[0]["priors"]] == [6, 2]


def test_a_continued_search_remembers_them(searched: Path, study: Path, tmp_path: Path) -> None:
    first, second = searched / "b" / "study", study
    file = config(tmp_path / "c", search={"strategy": "exhaustive"})
    search(file, from_studies=[first], trials=3)
    again = search(file, trials=4).results
    assert [entry["study"] for entry in again["priors"]] == [str(first)]
    other = search(file, from_studies=[second], trials=5).results
    assert [entry["study"] for entry in other["priors"]] == [str(second)]
    assert other["priors_before"] == [str(first)]
    assert other["candidates"][:4] == again["candidates"]
    assert any("are not used any more" in note for note in other["notes"])
    shutil.rmtree(second)
    lost = search(file, trials=6).results
    assert "priors" not in lost
    assert any("is left out" in note for note in lost["notes"])
    none = search(file, from_studies=[], trials=6).results
    assert "priors" not in none
    assert none["priors_before"] == [str(first), str(second)]
    assert read_results(tmp_path / "c" / "study" / "results.json").priors_before


def test_a_strategy_that_takes_no_priors_says_so(searched: Path, tmp_path: Path) -> None:
    first = str(searched / "a" / "study")
    file = config(tmp_path / "c", search={"strategy": "exhaustive", "from": first})
    told = foresee(file)
    assert any("the strategy exhaustive takes no priors" in note for note in told["notes"])


def test_the_configuration_names_them_beside_itself_and_is_complete_once_resolved(
    study: Path, tmp_path: Path
) -> None:
    file = config(tmp_path / "c", search={"strategy": "chains", "from": ["../a/study"]})
    plan = load(file)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(yaml.safe_dump(plan.to_json()))
    again = load(resolved)
    assert again.search.earlier is not None
    assert [study.path for study in again.search.earlier] == [study]
    assert again.to_json() == plan.to_json()


def named(study: Path, folder: Path, **changes: Any) -> Path:
    changes.setdefault("search", {"strategy": "chains", "from": [str(study)]})
    return config(folder, **changes)


def test_a_folder_that_is_not_there_is_refused_at_its_key(tmp_path: Path) -> None:
    file = named(tmp_path / "gone", tmp_path / "c")
    with pytest.raises(ConfigError, match=r"search\.from\[0\]: no study folder"):
        load(file)
    with pytest.raises(UsageError, match="--from: no study folder"):
        load(config(tmp_path / "d"), from_studies=[tmp_path / "gone"])


def test_a_folder_without_outcomes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"search\.from\[0\].*is not a study"):
        foresee(named(tmp_path / "empty", tmp_path / "c"))
    (tmp_path / "empty" / "candidates").mkdir()
    with pytest.raises(UsageError, match="has no outcomes yet"):
        foresee(config(tmp_path / "d"), from_studies=[tmp_path / "empty"])


def test_damaged_and_later_studies_are_refused(study: Path, tmp_path: Path) -> None:
    file = named(study, tmp_path / "c")
    outcome = study / "candidates" / "0003" / "outcome.json"
    kept = outcome.read_text()
    outcome.write_text(kept[:40])
    with pytest.raises(StateError, match=r"outcome\.json cannot be read"):
        search(file)
    outcome.write_text(json.dumps({**json.loads(kept), "schema": 2}))
    with pytest.raises(StateError, match=r"of a later version.* takes priors from") as caught:
        foresee(file)
    assert "Remove" not in str(caught.value.hint), "nothing is wrong with that study"
    outcome.write_text(kept)
    (study / "identity.json").unlink()
    with pytest.raises(StateError, match=r"identity\.json cannot be read: it is missing"):
        foresee(file)
    assert not (tmp_path / "c" / "study" / "identity.json").exists(), "the search has begun"


def test_a_study_of_another_space_or_metrics_is_refused(study: Path, tmp_path: Path) -> None:
    file = config(tmp_path / "c", {"x": [7, 8]})
    with pytest.raises(UsageError, match=r"none of the 7 outcomes.*noop\.x = 1 is not"):
        foresee(file, from_studies=[study])
    for outcome in study.glob("candidates/*/outcome.json"):
        content = json.loads(outcome.read_text())
        content["metrics"] = {"load_s": {**content["metrics"]["accuracy"], "unit": "s"}}
        outcome.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"expected accuracy, .*; it has load_s \(s\)"):
        foresee(config(tmp_path / "d"), from_studies=[study])


def test_a_study_is_no_prior_of_itself(study: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is the study of this search"):
        foresee(config(tmp_path / "c"), study=study, from_studies=[study])
