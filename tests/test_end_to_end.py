"""The whole line with real passes and real models: tiny ones here, SmolLM2 in the slow tests."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune.api import SearchResult, optimize
from paretune.reporting.picking import pick_again
from paretune.study.results import Results
from tests.tiny_models import make_tiny_llama

ROOT = Path(__file__).resolve().parents[1]


def tone_rows(count: int) -> list[dict[str, str]]:
    words = {"joy": ["sun", "song", "dance"], "fear": ["dark", "wolf", "fall"]}
    return [
        {"phrase": f"the {words[tone][i % 3]} on road {i}", "tone": tone}
        for i in range(count)
        for tone in ("joy", "fear")
    ]


def write_config(folder: Path, model: Path, **changes: Any) -> Path:
    rows = tone_rows(24)
    (folder / "tone.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "model": str(model),
        "data": {
            "tone": {
                "file": "tone.jsonl",
                "prompt": "{phrase}: ",
                "answer": "{tone}",
                "split": {"test": 0.3},
            }
        },
        "passes": [
            {"lora": {"train": "tone.train", "r": 4, "learning_rate": 1e-2, "epochs": 4}},
            "merge",
            {"genai": {"precision": ["fp32", "int8"]}},
        ],
        "evaluate": [
            {"classification": {"data": "tone.test", "rough_examples": 8}},
            {"generation": {"prompt_tokens": 8, "new_tokens": 4}},
            {"footprint": {"loads": 1}},
        ],
        "target": {"threads": [1]},
        "objectives": {"maximize": "accuracy", "minimize": "size_mb"},
        **changes,
    }
    file = folder / "tone.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return file


def check_study(result: SearchResult, folder: Path, store: Path) -> None:
    """What holds of every finished study with something feasible."""
    results = json.loads((result.study / "results.json").read_text())
    Results.model_validate(results)
    assert results["status"] == "finished"
    assert results["best"] is not None
    for name in ("report.html", "results.csv", "study.db", "config.yaml", "device.json"):
        assert (result.study / name).is_file()
    assert result.best is not None
    for name in (
        "genai_config.json",
        "tokenizer.json",
        "model_card.md",
        "sample.py",
        "recipe.yaml",
    ):
        assert (result.best / name).is_file(), name
    ran = subprocess.run(
        [sys.executable, result.best / "sample.py", "the sun"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    again = optimize(result.best / "recipe.yaml", study=folder / "again", store=store, single=True)
    before = next(c for c in results["candidates"] if c["id"] == results["best"])
    after = next(
        c
        for c in again.results["candidates"]
        if c["recipe"] == before["recipe"] and c["runtime"] == before["runtime"]
    )
    assert after["artifact"] == before["artifact"]
    assert after["metrics"]["accuracy"] == before["metrics"]["accuracy"]


def test_a_tiny_llama_is_trained_built_measured_and_handed_over(tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path / "model")
    store = tmp_path / "store"
    result = optimize(write_config(tmp_path, model), study=tmp_path / "study", store=store)
    check_study(result, tmp_path, store)
    rows = result.results["candidates"]
    assert [row["outcome"] for row in rows] == ["ok", "ok", "ok"]  # the baseline is not tuned
    assert rows[1]["metrics"]["accuracy"]["value"] >= rows[0]["metrics"]["accuracy"]["value"]
    trained = [s for row in rows for s in row["seconds"] if s["step"] == "lora"]
    assert [s["cached"] for s in trained] == [False, True]
    picked = pick_again(
        result.study, "accuracy >= 0", ("size_mb",), (), out=tmp_path / "p", store=store
    )
    small = min(rows, key=lambda row: row["metrics"]["size_mb"]["value"])
    assert picked["best"] == small["id"]
    assert (tmp_path / "p" / "sample.py").is_file()


def test_what_builds_but_does_not_load_is_invalid(tmp_path: Path) -> None:
    from paretune.registry import find_pass

    model = make_tiny_llama(tmp_path / "model")
    file = write_config(
        tmp_path,
        model,
        passes=[{"genai": {"precision": ["fp32", "fp16"]}}],
    )
    result = optimize(file, study=tmp_path / "study", store=tmp_path / "store")
    rows = result.results["candidates"]
    assert [row["outcome"] for row in rows] == ["ok", "skipped"]
    assert "fp16" in rows[1]["reason"]
    assert find_pass("genai").name == "genai"


def test_an_unchanged_model_runs_through_pytorch(tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path / "model")
    file = write_config(tmp_path, model, passes=[])
    result = optimize(file, study=tmp_path / "study", store=tmp_path / "store")
    (row,) = result.results["candidates"]
    assert (row["outcome"], row["recipe"]) == ("ok", [])
    assert result.best is not None
    assert (result.best / "model.safetensors").is_file()


@pytest.mark.parametrize("real", [False, pytest.param(True, id="stories260k")])
def test_a_tokenizer_that_puts_a_token_first(
    tmp_path: Path, request: pytest.FixtureRequest, real: bool
) -> None:
    store = tmp_path / "store"
    model = (
        request.getfixturevalue("stories260k")
        if real
        else make_tiny_llama(tmp_path / "model", sentencepiece=True)
    )
    file = write_config(
        tmp_path,
        model,
        passes=[{"genai": {"precision": ["fp32", "int8", "int4"]}}],
        evaluate=[
            {"classification": {"data": "tone.test"}},
            {"perplexity": {"data": "text", "window": 64, "max_tokens": 256}},
            {"footprint": {"loads": 1}},
        ],
        objectives={"minimize": ["perplexity", "size_mb"]},
    )
    config = yaml.safe_load(file.read_text())
    (tmp_path / "text.txt").write_text(
        "Once upon a time, there was a little girl named Lily. " * 20
    )
    config["data"]["text"] = {"file": "text.txt", "text": "{text}"}
    file.write_text(yaml.safe_dump(config))
    result = optimize(file, study=tmp_path / "study", store=store)
    check_study(result, tmp_path, store)
    best = next(c for c in result.results["candidates"] if c["id"] == result.results["best"])
    if real:
        assert best["metrics"]["perplexity"]["value"] < 10  # it knows how stories begin
    measured = json.loads((result.study / "candidates/0001/measurements.json").read_text())
    assert measured["accuracy"]["details"]["tokenizer_mismatches"] == 0
    assert result.best is not None
    assert json.loads((result.best / "paretune_tokenizer.json").read_text())["prepend"] == [1]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it trains and measures a real model, on however busy a machine
def test_smollm2_learns_the_tones(smollm2: Path, tmp_path: Path) -> None:
    """One training on the demo's data: the tuned model lands between 80 and 97 %."""
    config = yaml.safe_load((ROOT / "examples" / "tone.yaml").read_text())
    config["model"] = str(smollm2)
    config["data"]["tone"]["file"] = str(ROOT / "examples" / "data" / "tone.jsonl")
    config["passes"][0]["lora"]["epochs"] = 1
    tuned = config["passes"][:2]
    config["baseline"] = [*tuned, {"genai": {"precision": "fp32"}}]
    config["passes"] = [*tuned, {"genai": {"precision": "int8"}}]
    config["constraints"] = []
    config["target"] = {"threads": [2]}
    config["search"] = {}
    file = tmp_path / "tone.yaml"
    file.write_text(yaml.safe_dump(config))
    store = tmp_path / "store"
    result = optimize(file, study=tmp_path / "study", store=store)
    check_study(result, tmp_path, store)
    fp32, int8 = result.results["candidates"]
    assert 0.78 <= fp32["metrics"]["accuracy"]["value"] <= 0.97
    assert abs(fp32["metrics"]["accuracy"]["value"] - int8["metrics"]["accuracy"]["value"]) < 0.05
    assert int8["metrics"]["size_mb"]["value"] < 300
