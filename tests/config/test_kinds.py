"""A recipe whose model no runtime runs, or not as an evaluator needs it, is refused at its key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import paretune
from fake_study import write_fake_study
from paretune_fakes import ReadBack

from paretune.config import load
from paretune.core.errors import UsageError
from tests.onnx_networks import write_network

LORA = {"lora": {"train": "t.train"}}
DATA = {"t": {"file": "t.jsonl", "prompt": "{a}", "answer": "{b}", "split": {"test": 0.5}}}


def written(folder: Path, **changes: Any) -> Path:
    rows = [json.dumps({"a": f"text {n}", "b": "yes"}) for n in range(20)]
    (folder / "t.jsonl").write_text("\n".join(rows) + "\n")
    return write_fake_study(folder, {"x": 1}, data=DATA, **changes)


def onnx_input(folder: Path, **changes: Any) -> Path:
    config = written(folder, **changes)
    write_network(folder / "network")
    value = yaml.safe_load(config.read_text()) | {"model": str(folder / "network")}
    config.write_text(yaml.safe_dump(value))
    return config


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"passes": [LORA]}, "passes"),
        ({"passes": [{"any": [LORA, ["noop", LORA]]}]}, "passes"),
        ({"passes": ["noop"], "baseline": [LORA]}, "baseline"),
        ({"passes": ["noop"], "try_first": [["noop"], [LORA]]}, r"try_first\[1\]"),
        ({"passes": ["noop"], "try_first": [{"recipe": [LORA], "threads": 1}]}, r"try_first\[0\]"),
    ],
)
def test_an_adapter_at_the_end_is_refused(tmp_path: Path, changes: Any, key: str) -> None:
    told = rf"fake\.yaml:\d+: {key}: .*adapter.* no runtime runs .*readback cannot measure it\n"
    with pytest.raises(UsageError, match=told + ".*`merge` or `genai_adapter` after it"):
        load(written(tmp_path, **changes))


@pytest.mark.parametrize(
    "passes",
    [
        [LORA, "merge"],
        [{**LORA, "optional": True}],
        [{**LORA, "optional": True}, {"merge": {}, "optional": True}],
        [{"any": ["noop", LORA]}],
    ],
)
def test_where_something_can_be_measured_the_space_stands(tmp_path: Path, passes: Any) -> None:
    assert load(written(tmp_path, passes=passes, baseline=[])).space.size > 0


@pytest.mark.parametrize("passes", [[], [{"noop": {}, "optional": True}]])
def test_a_network_that_generates_nothing_is_refused(tmp_path: Path, passes: Any) -> None:
    config = onnx_input(
        tmp_path,
        passes=passes,
        baseline=[],
        evaluate=["footprint", "generation"],
        objectives={"minimize": "size_mb"},
    )
    told = (
        r"evaluate\[1\]\.generation: .* needs .* of kind onnx, which the runtime onnxruntime runs"
    )
    with pytest.raises(UsageError, match=told):
        load(config)


def test_a_network_that_no_runtime_runs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paretune.runtimes.onnxruntime.OnnxruntimeRuntime.kinds", frozenset())
    config = onnx_input(tmp_path, passes=[], baseline=[])
    with pytest.raises(UsageError, match="is of kind onnx, which no runtime runs") as caught:
        load(config)
    assert " model: " in str(caught.value)
    assert " baseline: " in str(caught.value)


def test_several_networks_in_a_folder_are_refused(tmp_path: Path) -> None:
    config = onnx_input(tmp_path, passes=[], baseline=[])
    network = tmp_path / "network" / "model.onnx"
    for name in ("a", "b"):
        (network.parent / f"{name}.onnx").write_bytes(network.read_bytes())
    load(config)
    network.unlink()
    with pytest.raises(UsageError, match=r"model .*2 ONNX files in it: a\.onnx, b\.onnx"):
        load(config)


def test_needs_are_refused_at_the_evaluator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReadBack, "needs", ("runs",), raising=False)
    told = r"evaluate\[0\]\.readback: the evaluator readback needs .*of kind hf, which the runtime "
    with pytest.raises(UsageError, match=told + "torch runs: its session generates") as caught:
        load(written(tmp_path, baseline=["noop"], try_first=[["noop"]]))
    assert str(caught.value).count("readback needs") == 1  # though three chains end so


def test_a_plug_in_with_needs_of_no_session_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReadBack, "needs", ("score",), raising=False)
    with pytest.raises(UsageError, match=r"evaluate\[0\]\.readback.*Did you mean|expected some of"):
        load(written(tmp_path))


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_search_and_dry_run_end_with_the_same_sentence(tmp_path: Path, more: list[str]) -> None:
    config = written(tmp_path, passes=[LORA])
    ended = paretune("search", config, "--study", "study", *more, cwd=tmp_path)
    assert ended.returncode == 2
    assert "passes: the resulting model is an adapter (kind hf-adapter)" in ended.stderr
    assert not (tmp_path / "study").exists()
