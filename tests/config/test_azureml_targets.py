"""A target in Azure, as it is written: what is wrong is named at its line, without the SDK."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paretune.azure.workspace import Workspace
from paretune.config.azureml_targets import launcher_options
from paretune.config.targets import declared_in
from paretune.core.errors import ConfigError

ID = "33333333-3333-3333-3333-333333333333"
NAMES = {"subscription_id": ID, "resource_group": "research", "workspace_name": "models"}
WHOLE = {**NAMES, "compute": "cluster", "image": "mcr.microsoft.com/azureml/base:1"}


def written(folder: Path, given: dict[str, object], **beside: str) -> Path:
    file = folder / "config.yaml"
    file.write_text(json.dumps({"targets": {"aml": {"azureml": given, **beside}}}))
    return file


def test_a_whole_one_becomes_the_arguments_of_its_launcher(tmp_path: Path) -> None:
    declared = declared_in(written(tmp_path, WHOLE))["aml"]
    assert declared.launcher == "azureml"
    assert declared.azureml is not None
    options = launcher_options(declared.azureml)
    assert options["workspace"] == Workspace(*NAMES.values())
    place = options["place"]
    assert (place.compute, place.instance_count, place.secret) == ("cluster", 1, None)
    assert any(text.startswith("onnxruntime==") for text in place.requirements)
    assert options["hf_token"] is False


def test_the_file_of_the_portal_names_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(NAMES))
    given = {"workspace": "config.json", "compute": "c", "image": "i:1", "accelerators": ["gpu"]}
    section = declared_in(written(tmp_path, given))["aml"].azureml
    assert section is not None
    options = launcher_options(section)
    assert options["workspace"] == Workspace(*NAMES.values())
    assert any("onnxruntime-gpu" in text for text in options["place"].requirements)


def test_a_conda_file_is_translated(tmp_path: Path) -> None:
    (tmp_path / "conda.yaml").write_text(
        "dependencies:\n  - python=3.8\n  - pip:\n    - einops\n    - onnxruntime==1.10\n"
    )
    section = declared_in(written(tmp_path, {**WHOLE, "conda": "conda.yaml"}))["aml"].azureml
    assert section is not None
    place = launcher_options(section)["place"]
    assert "einops" in place.requirements
    assert "onnxruntime==1.10" not in place.requirements
    (pip,) = [part for part in place.conda["dependencies"] if isinstance(part, dict)]
    assert pip["pip"] == list(place.requirements)


def test_a_key_vault_is_named_and_its_packages_are_installed_there(tmp_path: Path) -> None:
    token = {"key_vault": "vault", "secret": "hub-token"}
    section = declared_in(written(tmp_path, {**WHOLE, "hf_token": token}))["aml"].azureml
    assert section is not None
    place = launcher_options(section)["place"]
    assert place.secret == ("vault", "hub-token")
    (pip,) = [part for part in place.conda["dependencies"] if isinstance(part, dict)]
    assert "azure-keyvault-secrets" in pip["pip"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subscription_id": "Your Azure Subscription"}, "is not the id of a subscription"),
        ({"resource_group": None}, "resource_group: is missing"),
        ({"workspace": "config.json"}, "stands beside `workspace`"),
        ({"workspace_name": "Your Workspaces name"}, "is not a name in Azure"),
        ({"compute": "Your Compute Name"}, "is not a name in Azure"),
        ({"image": "Your docker"}, "is not a container image"),
        ({"conda": "absent.yaml"}, "absent.yaml"),
        ({"hf_token": {"key_vault": "a;b", "secret": "c"}}, "key_vault"),
        ({"comput": "x"}, "unknown key 'comput'"),
        ({"instance_count": 0}, "instance_count"),
    ],
)
def test_what_is_wrong_is_named_at_its_place(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    given = {key: value for key, value in {**WHOLE, **changes}.items() if value is not None}
    with pytest.raises(ConfigError, match=r"^.*config\.yaml:1: ") as error:
        declared_in(written(tmp_path, given))
    assert said in str(error.value)
    assert "targets.aml.azureml" in str(error.value)


def test_a_workspace_file_that_names_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**NAMES, "resource_group": ""}))
    given = {"workspace": "config.json", "compute": "c", "image": "i:1"}
    with pytest.raises(ConfigError, match="expected a text at 'resource_group'"):
        declared_in(written(tmp_path, given))


def test_other_kinds_of_targets_do_not_stand_beside_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stands beside `azureml`"):
        declared_in(written(tmp_path, WHOLE, ssh="board"))
