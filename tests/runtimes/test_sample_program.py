"""``sample.py`` in a package is run: it feeds the tokens that the model is measured with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from paretune.core.job import Call, Job, JobStatus
from paretune.data.catalog import DataCatalog, DataSpec
from paretune.data.example_tokens import ExampleEncoder
from paretune.data.prompts import prompt_ids
from paretune.models.handle import open_model
from paretune.passes.genai.adapter import GenaiAdapter
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.tokenizer import NOTE
from paretune.runtimes.base import hf_tokenizer
from paretune.runtimes.sample_program import write_sample
from paretune.study.example_prompt import (
    FILE,
    GENERAL,
    ExamplePrompt,
    example_of,
    first_prompt,
    keep_example,
)
from paretune.targets.launchers.local import LocalTarget
from tests.pass_bench import Bench, FakeCatalog, FakeDataset, FakeExample
from tests.passes.genai.test_adapter import make_adapter
from tests.tiny_models import make_tiny_llama

Fed = Callable[..., list[list[int]]]
PROMPTS = (
    "Once upon a time",
    " a space before, and after ",
    "UPPER and Zoë\n\n  two breaks",
    "### Text: a phrase\n### The tone is:\n",
    "<|im_start|>user\na mark inside<|im_end|>",
    "an <added> token, un<added>spaced",
    "\"quotes\" {braces} 'and' \\backslash",
)
# As if transformers were not installed.
_ALONE = "import runpy, sys; sys.modules['transformers'] = None; sys.argv.pop(0); "
_ALONE += "runpy.run_path(sys.argv[0], run_name='__main__')"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeCatalog({}))


@pytest.fixture(scope="module")
def target() -> Iterator[LocalTarget]:
    with LocalTarget() as made:
        yield made


@pytest.fixture
def fed(target: LocalTarget) -> Fed:
    """Return a function that runs a package's program with each prompt (None: its own).

    It returns the ids that it fed. The program runs as it is, in a process of its own that has
    imported the libraries already.
    """

    def run(
        program: Path, prompts: Sequence[str | None], *, transformers: bool = True
    ) -> list[list[int]]:
        task = Call(
            "job_functions:run_sample",
            {"program": str(program), "prompts": prompts, "transformers": transformers},
        )
        ran = target.submit(Job(task)).result()
        assert ran.status is JobStatus.OK, ran.reason
        found: list[list[int]] = ran.value
        return found

    return run


def measured(folder: Path, chat: bool) -> list[list[int]]:
    tokenizer = hf_tokenizer(folder)
    return [prompt_ids(tokenizer, prompt, chat) for prompt in PROMPTS]


def changed(model: Path, edit: Any) -> Path:
    """Change a model's ``tokenizer.json``."""
    file = model / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    edit(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    return model


def lowercase(content: Any) -> None:
    content["normalizer"] = {"type": "Lowercase"}


def added_token(content: Any) -> None:
    vocabulary = content["model"]["vocab"]  # its last token becomes the added one
    last = max(vocabulary, key=vocabulary.__getitem__)
    number = vocabulary["<added>"] = vocabulary.pop(last)
    content["model"]["merges"] = [m for m in content["model"]["merges"] if "".join(m) != last]
    content["added_tokens"].append(
        {
            "id": number,
            "content": "<added>",
            "single_word": False,
            "lstrip": True,
            "rstrip": True,
            "normalized": False,
            "special": False,
        }
    )


@pytest.mark.parametrize(
    ("bos", "edit"),
    [(True, None), (False, None), (True, lowercase), (False, added_token)],
    ids=["begin token", "none", "lowercase", "added token"],
)
def test_a_package_feeds_what_was_measured(
    fed: Fed, bench: Bench, tmp_path: Path, bos: bool, edit: Any
) -> None:
    folder = make_tiny_llama(tmp_path / "model", bos=bos)
    model = open_model(folder if edit is None else changed(folder, edit))
    out = bench.run(Genai(), model, {}, "fp32")
    for chat in (False, True):
        write_sample(out / "sample.py", "genai", PROMPTS[3], chat, 2)
        wanted = measured(out, chat)
        assert fed(out / "sample.py", [*PROMPTS, None]) == [*wanted, wanted[3]]


def test_without_transformers_it_feeds_the_same_or_says_that_it_cannot(
    fed: Fed, bench: Bench, tmp_path: Path
) -> None:
    out = bench.run(Genai(), open_model(make_tiny_llama(tmp_path / "model")), {}, "fp32")
    for chat in (False, True):
        write_sample(out / "sample.py", "genai", "x", chat, 2)
        assert fed(out / "sample.py", PROMPTS, transformers=False) == measured(out, chat)
    other = open_model(changed(make_tiny_llama(tmp_path / "other"), lowercase))
    out = bench.run(Genai(), other, {}, "lower")
    assert json.loads((out / NOTE).read_text())["differs"] is True
    write_sample(out / "sample.py", "genai", "x", False, 2)
    ran = subprocess.run(
        [sys.executable, "-c", _ALONE, out / "sample.py", "A Text"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 1
    assert "other tokens than this model was measured with; install transformers" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_what_cannot_be_fed_is_said(bench: Bench, tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path / "model", bos=False, positions=64)
    built = bench.run(Genai(), open_model(model), {}, "fp32")
    for folder, kind in ((model, "hf"), (built, "genai")):
        write_sample(folder / "sample.py", kind, "x", False, 32)
        told = {b"": "the prompt has no tokens"}
        if kind == "genai":
            told[b"word " * 40] = "tokens, and the model's context holds 64"
        for prompt, expected in told.items():
            ran = subprocess.run(
                [sys.executable, folder / "sample.py", prompt],
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert ran.returncode == 1
            assert expected in ran.stderr
            assert "Traceback" not in ran.stderr
    for prompt in (b"\xff is no UTF-8", b"word " * 10):  # the last one: fewer than 32 may follow
        ran = subprocess.run(
            [sys.executable, built / "sample.py", prompt],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr


def test_with_an_adapter_apart(fed: Fed, bench: Bench, tmp_path: Path) -> None:
    base = open_model(make_tiny_llama(tmp_path / "model"))
    adapter = make_adapter(base, tmp_path / "adapter", seed=1)
    out = bench.run(GenaiAdapter(), adapter, {}, "apart")
    write_sample(out / "sample.py", "genai", "x", False, 2)
    assert fed(out / "sample.py", PROMPTS) == measured(out, chat=False)
    listed = json.loads((out / "paretune_adapters.json").read_text())
    (out / "paretune_adapters.json").write_text(json.dumps({**listed, "active": None}))
    assert fed(out / "sample.py", PROMPTS[:1]) == measured(out, chat=False)[:1]


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
def test_a_model_in_pytorch(fed: Fed, tmp_path: Path, chat: bool) -> None:
    folder = changed(make_tiny_llama(tmp_path / "model", dtype="bfloat16"), lowercase)
    write_sample(folder / "sample.py", "hf", "x", chat, 2)
    assert fed(folder / "sample.py", PROMPTS) == measured(folder, chat)


def test_the_example_is_the_first_prompt_that_is_measured_on(tmp_path: Path) -> None:
    catalog: Any = FakeCatalog(
        {
            "text": FakeDataset((FakeExample("", "only text", 0),)),
            "tone": FakeDataset(
                (FakeExample("Say: ", "a", 0), FakeExample("b", "b", 1)), chat=True
            ),
        }
    )
    assert first_prompt(["text", "tone"], catalog) == ExamplePrompt("Say: ", True)
    assert first_prompt(["text"], catalog) == GENERAL
    keep_example(tmp_path, ExamplePrompt("Say: ", True))
    assert example_of(tmp_path, {}) == ExamplePrompt("Say: ", True)


def test_a_conversation_is_fed_with_the_turns_before_it(
    fed: Fed, bench: Bench, tmp_path: Path
) -> None:
    turns = [
        {"role": "system", "content": "one 'word'"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "and {now}?"},
        {"role": "assistant", "content": "rain"},
    ]
    (tmp_path / "d.jsonl").write_text(json.dumps({"c": turns}))
    catalog = DataCatalog({"d": DataSpec(file="d.jsonl", messages="c")}, tmp_path)
    keep_example(tmp_path, first_prompt(["d"], catalog))
    example = example_of(tmp_path, {})
    assert example == ExamplePrompt("and {now}?", True, tuple(turns[:3]))
    (row,) = catalog.load("d").examples
    model = make_tiny_llama(tmp_path / "model")
    built = bench.run(Genai(), open_model(model), {}, "fp32")
    for folder, kind in ((model, "hf"), (built, "genai")):
        write_sample(
            folder / "sample.py", kind, example.prompt, True, 2, example.before, example.role
        )
        wanted = ExampleEncoder(hf_tokenizer(folder), False, "d").prompt(row)
        assert fed(folder / "sample.py", [None]) == [wanted]


def test_a_study_without_the_file_reads_its_data(tmp_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text('{"t": "one", "y": "a"}\n{"t": "two", "y": "b"}\n')
    resolved = {
        "data": {"d": {"file": str(data), "prompt": "Say: {t}", "answer": "{y}"}},
        "evaluate": [{"generation": {"prompt_tokens": 8}}, {"classification": {"data": "d"}}],
    }
    assert example_of(tmp_path, resolved) == ExamplePrompt("Say: one", False)
    data.unlink()
    assert example_of(tmp_path, resolved) == GENERAL
    (tmp_path / FILE).write_text("{")
    assert example_of(tmp_path, resolved) == GENERAL
