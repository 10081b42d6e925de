"""The hub at its boundary: what is asked of it, and what is refused without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from paretune.config.model_source import find_model
from paretune.core.errors import UsageError
from paretune.core.permissions import Permissions
from paretune.models.hub import fetch_model, is_hub_name

NAME = "some-org/some-model"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_STORE", str(tmp_path))
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []

    def download(name: str, *, local_dir: Path, allow_patterns: list[str]) -> str:
        seen.append({"name": name, "patterns": allow_patterns})
        (local_dir / ".cache").mkdir(parents=True)
        (local_dir / "config.json").write_text("{}")
        return str(local_dir)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return seen


def test_it_is_fetched_once_and_only_if_allowed(asked: list[dict[str, Any]]) -> None:
    with pytest.raises(UsageError, match="network is off") as refused:
        fetch_model(NAME, Permissions(network=False))
    assert "--allow-network" in str(refused.value)
    assert asked == []
    folder = fetch_model(NAME, Permissions(network=True))
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert fetch_model(NAME, Permissions(network=False)) == folder
    assert len(asked) == 1


def test_neither_pickles_nor_code_are_asked_for(asked: list[dict[str, Any]]) -> None:
    fetch_model(NAME, Permissions(network=True))
    (patterns,) = [each["patterns"] for each in asked]
    assert not {"*.bin", "*.pt", "*.pth", "*.py", "*"} & set(patterns)
    assert "*.safetensors" in patterns


def test_code_is_asked_for_with_its_own_switch(asked: list[dict[str, Any]]) -> None:
    fetch_model(NAME, Permissions(network=True, remote_code=True))
    assert "*.py" in asked[0]["patterns"]


def test_code_is_fetched_when_it_is_asked_for_later(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the revision that is here: the model's page may have gone on meanwhile."""
    asked: list[dict[str, Any]] = []

    def download(name: str, *, local_dir: Path, allow_patterns: list[str], **more: str) -> str:
        asked.append({"patterns": allow_patterns, **more})
        notes = local_dir / ".cache" / "huggingface" / "download"
        notes.mkdir(parents=True)
        for file in ("config.json", "model.safetensors"):
            (notes / f"{file}.metadata").write_text("0123abcd\nettag\n1.0\n")
        if "*.json" in allow_patterns:
            (local_dir / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.M"}}')
        if "*.py" in allow_patterns:
            (local_dir / "modeling.py").write_text("")
        return str(local_dir)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    fetch_model(NAME, Permissions(network=True))
    with pytest.raises(UsageError, match="was fetched without them") as refused:
        fetch_model(NAME, Permissions(network=False, remote_code=True))
    assert "--allow-network" in str(refused.value)
    folder = fetch_model(NAME, Permissions(network=True, remote_code=True))
    assert asked[1:] == [{"patterns": ["*.py"], "revision": "0123abcd"}]
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "modeling.py"]
    assert fetch_model(NAME, Permissions(network=False, remote_code=True)) == folder
    assert fetch_model(NAME, Permissions(network=False)) == folder
    (store / "hub" / "some-org--some-model.complete").write_text("")  # as version 0.1 wrote it
    fetch_model(NAME, Permissions(network=True, remote_code=True))
    assert "*.py" in asked[2]["patterns"]
    assert "*.safetensors" in asked[2]["patterns"]


def test_a_model_without_code_is_not_fetched_again_for_it(asked: list[dict[str, Any]]) -> None:
    fetch_model(NAME, Permissions(network=True))
    fetch_model(NAME, Permissions(network=False, remote_code=True))
    assert len(asked) == 1


def test_what_was_broken_off_is_fetched_again(store: Path, asked: list[dict[str, Any]]) -> None:
    fetch_model(NAME, Permissions(network=True))
    (store / "hub" / "some-org--some-model.complete").unlink()
    (store / "hub" / "some-org--some-model" / "config.json").unlink()
    fetch_model(NAME, Permissions(network=True))
    assert len(asked) == 2


def test_a_model_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("no such repository\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", missing)
    with pytest.raises(UsageError, match="cannot be fetched: no such repository") as told:
        fetch_model(NAME, Permissions(network=True))
    assert "hf auth login" in str(told.value)


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        (NAME, True),
        ("microsoft/Phi-3-mini-4k-instruct", True),
        ("models", False),
        ("../outside/model", False),
        ("/models/mine", False),
        ("a/b/c", False),
        ("./model", False),
    ],
)
def test_what_a_name_on_the_hub_looks_like(text: str, is_name: bool) -> None:
    assert is_hub_name(text) is is_name


def test_a_configuration_may_name_a_model_on_the_hub(
    tmp_path: Path, asked: list[dict[str, Any]]
) -> None:
    with pytest.raises(UsageError, match=r"no model folder .* network is off"):
        find_model(NAME, tmp_path)
    assert find_model(NAME, tmp_path, Permissions(network=True)).name == "some-org--some-model"
    (tmp_path / NAME).mkdir(parents=True)  # a folder of that name comes first
    (tmp_path / NAME / "config.json").write_text("{}")
    assert find_model(NAME, tmp_path) == tmp_path / NAME
    with pytest.raises(UsageError, match=r"no model folder 'nowhere'"):
        find_model("nowhere", tmp_path, Permissions(network=True))
