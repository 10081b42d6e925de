"""A real training repeated with another seed: the pass, the builder and the evaluators are real."""

from __future__ import annotations

from pathlib import Path

from paretune import optimize
from tests.test_end_to_end import write_config
from tests.tiny_models import make_tiny_llama


def test_a_repeat_is_another_training_of_the_same_structure(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        make_tiny_llama(tmp_path / "model"),
        passes=[
            {"lora": {"train": "tone.train", "r": 4, "learning_rate": 1e-2, "epochs": 2}},
            "merge",
            {"genai": {"precision": "int8"}},
        ],
        evaluate=[
            {"classification": {"data": "tone.test"}},
            {"generation": {"prompt_tokens": 8, "new_tokens": 4}},
            {"footprint": {"loads": 1}},
        ],
        objectives={"minimize": "size_mb"},  # int8 is smaller than the baseline
        search={"finals": 0, "repeat_pick": 1},
    )

    results = optimize(config, study=tmp_path / "study", store=tmp_path / "store").results
    told = results["repeats"]
    pick = next(row for row in results["candidates"] if row["id"] == told["id"])
    (run,) = told["runs"]
    assert (told["seeds"], run["seeds"], run["outcome"]) == ([0], [1], "ok")
    assert run["artifact"] != pick["artifact"], "other weights"
    for metric, value in run["metrics"].items():
        assert value["value"] is not None, metric
        shared = metric not in ("accuracy", "macro_f1", "kl_per_token", "top1_agreement")
        assert value.get("taken_from") == (pick["id"] if shared else None), metric
    again = optimize(config, study=tmp_path / "study", store=tmp_path / "store").results
    assert again["repeats"] == told
