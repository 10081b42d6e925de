"""A package answers raw rows as the evaluator does, in a process that has only what it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from paretune.config.plan import EvaluatorChoice
from paretune.core.candidate import RuntimeSettings
from paretune.core.permissions import Permissions
from paretune.data.catalog import DataCatalog
from paretune.data.context import Context
from paretune.data.spec import DataSpec
from paretune.evaluators.arrays.classification import ArrayClassification
from paretune.evaluators.arrays.recognition import Recognition
from paretune.models.handle import open_model
from paretune.runtimes.package import lay_out
from paretune.runtimes.sample_program import write_sample
from paretune.study.raw_rows import PACKAGE, add_raw_rows, keep_raw_rows
from tests.onnx_networks import write_network

CPU = RuntimeSettings("cpu", 1)
LABELS = ["cat", "dog", "fox"]
NEEDED = ("numpy", "onnxruntime")


def write_tokens(folder: Path) -> None:
    """Write a network that gives the mean of its tokens' rows of a table."""
    weights = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["e"]),
            helper.make_node("ReduceMean", ["e"], ["y"], axes=[1], keepdims=0),
        ],
        "tokens",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weights, "table")],
    )
    folder.mkdir()
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "model.onnx")


def made_package(folder: Path, evaluator: str, params: dict[str, Any], **spec: Any) -> Any:
    """Return the package of a network with rows, its evaluator's judge, and the rows."""
    catalog = DataCatalog({"d": DataSpec(**spec)}, folder, trust_remote_code=True)
    choices = [
        EvaluatorChoice("latency", {"shapes": {"x": [1, 8]}}),
        EvaluatorChoice(evaluator, {"data": "d", **params}),
    ]
    study = folder / "study"
    study.mkdir()
    keep_raw_rows(study, choices, catalog, Permissions())
    model = open_model(folder / "n")
    package = lay_out(model, CPU, folder / "package", link=False)
    add_raw_rows(package.path, study)
    write_sample(package.path / "sample.py", model.kind, "unused", False, 8)
    kind = {"classification": ArrayClassification, "recognition": Recognition}[evaluator]
    context = Context(folder, folder, catalog, permissions=Permissions(False, True))
    data = catalog.arrays("d")
    judge = kind(kind.Params(**choices[1].params)).judge(model, CPU, data, context)
    return package.path, judge, data.rows


def ran(
    package: Path, *arguments: str, has: Callable[[str], bool] = lambda name: name in NEEDED
) -> subprocess.CompletedProcess[str]:
    """Run a package's program where only some of the installed packages are."""
    site = package.parent / "site"
    if not site.exists():
        site.mkdir()
        installed = Path(np.__file__).parents[1]
        for entry in installed.iterdir():
            if has(entry.name) or entry.name == "numpy.libs":
                (site / entry.name).symlink_to(entry)
    return subprocess.run(
        [sys.executable, "-S", str(package / "sample.py"), *arguments],
        cwd=package.parent,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def answer(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("answer: ")[2].strip()


def table(folder: Path, rows: list[Mapping[str, Any]]) -> str:
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "d.jsonl"


def test_arrays_need_onnxruntime_and_numpy_alone(tmp_path: Path) -> None:
    write_network(tmp_path / "n")
    a = np.random.default_rng(1).normal(size=(4, 8))  # doubles, as lists of numbers are
    np.savez(tmp_path / "d.npz", a=a, y=np.zeros(4, int))
    package, judge, rows = made_package(
        tmp_path,
        "classification",
        {"labels": LABELS},
        **{"file": "d.npz", "inputs": {"x": "a"}, "target": "y"},
    )
    answers = [judge(row) for row in rows]
    assert len(set(answers)) > 1
    for n, wanted in enumerate(answers):
        np.save(tmp_path / "row.npy", a[n])
        assert answer(ran(package, "a=row.npy")) == wanted
    assert answer(ran(package, f"a={a[0].tolist()}")) == answers[0]
    without = ran(package)
    assert "usage: python sample.py a=FILE.npy, or inputs.npz" in without.stdout
    assert "taken as ones" in without.stdout
    for arguments, why in (
        (["b=row.npy"], "no column 'b': expected a=FILE.npy"),
        (["a=none.npy"], "a: 'none.npy': no such file"),
        (["a=[1, 2]"], "does not run on these arrays"),
        (["a=none.npy", "a=row.npy"], "the column 'a' is given twice"),
        (["none.npz"], "none.npz: expected arrays by name"),
        (["row.npy"], "row.npy: expected arrays by name"),
    ):
        failed = ran(package, *arguments)
        assert failed.returncode == 1
        assert why in failed.stderr
        assert "Traceback" not in failed.stderr


STEPS = """
from nearby.scale import FACTOR

def prepare(row):
    return {"x": row["sound"][:8] * FACTOR}

def read(outputs):
    return "".join("abc"[n] for n in outputs["y"].argsort())
"""


def test_functions_go_with_the_modules_that_they_import(tmp_path: Path) -> None:
    write_network(tmp_path / "n")
    (tmp_path / "code" / "nearby").mkdir(parents=True)
    (tmp_path / "code" / "steps.py").write_text(STEPS)
    (tmp_path / "code" / "nearby" / "__init__.py").write_text("")
    (tmp_path / "code" / "nearby" / "scale.py").write_text("FACTOR = 3\n")
    with wave.open(str(tmp_path / "s.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(np.array([9000, -4000, 7, 1, 2, 3, -20000, 90], np.int16).tobytes())
    package, judge, rows = made_package(
        tmp_path,
        "recognition",
        {"postprocess": "code/steps.py:read"},
        file=table(tmp_path, [{"sound": "s.wav", "t": "abc"}]),
        inputs={"x": "sound"},
        read={"sound": "audio"},
        process="code/steps.py:prepare",
        target="t",
    )
    (tmp_path / "code").rename(tmp_path / "gone")
    found = answer(ran(package, "sound=s.wav"))
    assert sorted(found) == ["a", "b", "c"]
    assert judge(rows[0]) == sum(a != b for a, b in zip(found, "abc", strict=True)) > 0
    said = json.loads((package / PACKAGE / "rows.json").read_text())
    assert set(said["code"]) == {
        f"{who}/{name}"
        for who in ("process", "postprocess")
        for name in ("steps.py", "nearby/__init__.py", "nearby/scale.py")
    }


OPENING = """
from pathlib import Path

def prepare(row):
    scale = float(Path(__file__).with_name("scale.txt").read_text())
    return {"x": row["a=b"] * scale}

def read(outputs):
    return "abc"[outputs["z"].argmax()]
"""


def test_functions_that_fail_are_told_and_names_of_columns_have_any_sign(tmp_path: Path) -> None:
    write_network(tmp_path / "n")
    (tmp_path / "steps.py").write_text(OPENING)
    (tmp_path / "scale.txt").write_text("2")
    package, _, _ = made_package(
        tmp_path,
        "recognition",
        {"postprocess": "steps.py:read"},
        file=table(tmp_path, [{"a=b": [1, 2, 3, 4, 5, 6, 7, 8], "t": "a"}]),
        inputs={"x": "a=b"},
        process="steps.py:prepare",
        target="t",
    )
    row = "a=b=[1, 2, 3, 4, 5, 6, 7, 8]"
    failed = ran(package, row)
    assert "process failed: FileNotFoundError" in failed.stderr
    assert "copy them there" in failed.stderr
    (package / PACKAGE / "process" / "scale.txt").write_text("2")
    failed = ran(package, row)
    assert "y: shape [1, 3]" in failed.stdout
    assert "postprocess failed: KeyError: 'z'" in failed.stderr
    assert "Traceback" not in failed.stderr


def without_torch(name: str) -> bool:
    return not name.lower().startswith(("torch", "functorch", "paretune", "__editable__"))


@pytest.mark.slow
def test_a_tokenizer_needs_transformers_and_no_torch(tmp_path: Path) -> None:
    write_tokens(tmp_path / "n")
    words = {word: n for n, word in enumerate(("[UNK]", "a", "red", "square", "fox"))}
    (tmp_path / "t").mkdir()
    tokenizer = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}}
    tokenizer["model"] = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    (tmp_path / "t" / "tokenizer.json").write_text(json.dumps(tokenizer))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (tmp_path / "t" / "tokenizer_config.json").write_text(json.dumps(kind))
    texts = ["a red fox", "square square"]
    package, judge, rows = made_package(
        tmp_path,
        "classification",
        {"labels": LABELS},
        file=table(tmp_path, [{"text": text, "y": 0} for text in texts]),
        inputs={"input_ids": "text"},
        read={"text": "text"},
        process="t",
        target="y",
    )
    (tmp_path / "t").rename(tmp_path / "gone")
    answers = [judge(row) for row in rows]
    assert len(set(answers)) > 1
    for text, wanted in zip(texts, answers, strict=True):
        assert answer(ran(package, f"text={text}", has=without_torch)) == wanted
    assert "transformers" in json.loads((package / PACKAGE / "rows.json").read_text())["needs"]
