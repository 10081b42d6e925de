"""Code that a model or a configuration brings does not run without ``--trust-remote-code``."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_study import write_fake_study

from paretune.config import load
from paretune.core.errors import UsageError
from paretune.core.model import Model, ModelKind
from paretune.models.handle import inspect, open_model
from tests.security.conftest import Run
from tests.security.hostile import add_code, write_pickle

GENAI = {"pass": "genai", "params": {"precision": "fp32"}}
LORA = {"pass": "lora", "params": {"train": "d", "max_steps": 1, "batch_size": 1, "r": 1}}
GENERATION = {
    "evaluator": "generation",
    "params": {"prompt_tokens": 4, "new_tokens": 2},
}
TRUSTED = {"remote_code": True}
FLAG = "--trust-remote-code"


@pytest.fixture
def rows(tmp_path: Path) -> Any:
    """A data set to train on."""
    (tmp_path / "d.txt").write_text("one text\n")
    return {
        "specs": {"d": {"file": "d.txt", "text": "{text}"}},
        "root": str(tmp_path),
        "allow_network": False,
    }


def hostile(llama: Path, folder: Path, *, needed: bool) -> dict[str, Any]:
    """Return a model's handle with code in its folder that makes the file ``sign`` beside it."""
    shutil.copytree(llama, folder / "model")
    model = add_code(folder / "model", folder / "sign", needed=needed)
    return Model(ModelKind.HF, model, "sha256:x").to_json()


def test_code_that_is_not_needed_never_runs_and_pickles_are_never_read(
    run_job: Run, llama: Path, tmp_path: Path
) -> None:
    """Built, loaded and measured by real jobs, with everything beside the weights that tempts."""
    model, store = hostile(llama, tmp_path, needed=False), tmp_path / "store"
    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "model.pt"):
        write_pickle(tmp_path / "model" / name, tmp_path / "sign")
    log = tmp_path / "log"
    built = run_job("build", log, model=model, recipe=[GENAI], store=str(store))
    assert built.status == "ok", built.reason
    for package in (model, built.value.model):
        ran = run_job("smoke", log, model=package)
        assert ran.status == "ok", ran.reason
        ran = run_job("measure", log, model=package, **GENERATION, rung="rough")
        assert ran.status == "ok", ran.reason
    assert not (tmp_path / "sign").exists()
    assert not [p for p in store.rglob("*") if p.suffix in (".bin", ".pt", ".py")]


def test_code_that_is_needed_is_refused_with_what_to_do(
    run_job: Run, llama: Path, tmp_path: Path, rows: Any
) -> None:
    model = hostile(llama, tmp_path, needed=True)
    store = str(tmp_path / "store")
    jobs: list[tuple[str, dict[str, Any]]] = [
        ("build", {"model": model, "recipe": [LORA], "store": store, "data": rows}),
        ("smoke", {"model": model}),
        ("measure", {"model": model, **GENERATION}),
    ]
    for kind, payload in jobs:
        ended = run_job(kind, **payload)
        assert ended.status == ("failed" if kind == "build" else "invalid")
        assert ended.reason is not None
        assert "does not load without the Python code in it" in ended.reason
        assert FLAG in ended.reason
    built = run_job("build", model=model, recipe=[GENAI], store=store)
    assert built.status == "failed"
    assert not (tmp_path / "sign").exists()


def test_with_the_flag_it_runs(run_job: Run, llama: Path, tmp_path: Path, rows: Any) -> None:
    model = hostile(llama, tmp_path, needed=True)
    built = run_job(
        "build",
        model=model,
        recipe=[LORA],
        store=str(tmp_path / "store"),
        data=rows,
        permissions=TRUSTED,
    )
    assert built.status == "ok", built.reason
    assert (tmp_path / "sign").exists()


@pytest.mark.parametrize("trusted", [False, True])
def test_the_flag_reaches_what_loads_a_model(
    run_job: Run, llama: Path, tmp_path: Path, trusted: bool
) -> None:
    hostile(llama, tmp_path, needed=True)
    ended = run_job(
        "call",
        function="tests.security.hostile:generate",
        args={"folder": str(tmp_path / "model"), "trust_remote_code": trusted},
    )
    assert ended.status == ("ok" if trusted else "invalid"), ended.reason
    assert (tmp_path / "sign").exists() is trusted


def test_with_the_flag_it_is_measured(run_job: Run, llama: Path, tmp_path: Path) -> None:
    model = hostile(llama, tmp_path, needed=True)
    assert run_job("smoke", model=model, permissions=TRUSTED).status == "ok"
    ended = run_job("measure", model=model, **GENERATION, permissions=TRUSTED)
    assert ended.status == "ok"


def test_a_parent_runs_none_of_it(tmp_path: Path, llama: Path) -> None:
    hostile(llama, tmp_path, needed=True)
    assert open_model(tmp_path / "model").kind is ModelKind.HF
    assert inspect(tmp_path / "model").model_type == "evil"
    assert not (tmp_path / "sign").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"trust_remote_code": True},
        {"search": {"trust_remote_code": True}},
        {"target": {"trust_remote_code": True}},
        {"data": {"d": {"hub": "x/y", "text": "{a}", "trust_remote_code": True}}},
        {"passes": [{"noop": {"trust_remote_code": True}}]},
        {"passes": [{"noop": {}, "trust_remote_code": True}]},
        {"evaluate": [{"readback": {"trust_remote_code": True}}]},
        {"allow_network": True},
        {"search": {"allow_network": True}},
    ],
)
def test_no_configuration_gives_itself_the_flag(tmp_path: Path, change: dict[str, Any]) -> None:
    config = write_fake_study(tmp_path, {"x": 1})
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **change}))
    with pytest.raises(UsageError, match=r"trust_remote_code|allow_network"):
        load(config)
