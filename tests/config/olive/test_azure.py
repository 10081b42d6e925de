"""Olive's AzureML systems, its clients, and data and models in Azure."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from paretune.config.olive import Status
from tests.config.olive.olive_files import (
    OWN,
    SEED,
    SEEDS,
    build_only,
    entry,
    flat,
    refused,
    translation,
    whole,
)

CLIENT = {"subscription_id": "s-1", "resource_group": "group", "workspace_name": "ws"}
LONG = "azureml://subscriptions/s-1/resourcegroups/group/workspaces/ws"
SYSTEM: dict[str, Any] = {
    "type": "AzureML",
    "accelerators": [{"device": "GPU", "execution_providers": ["CUDAExecutionProvider"]}],
    "aml_compute": "cluster",
    "aml_docker_config": {"base_image": "registry/image", "conda_file_path": "conda.yaml"},
}
TARGET = {
    **CLIENT,
    "compute": "cluster",
    "accelerators": ["gpu"],
    "image": "registry/image",
    "conda": "conda.yaml",
}
LOCAL = {"type": "LocalSystem"}


def azure(system: Any = (), **keys: Any) -> dict[str, Any]:
    """Return a configuration with one AzureML system, ``aml``, that is host and target."""
    systems = {"aml": copy.deepcopy(SYSTEM) | dict(system), "here": copy.deepcopy(LOCAL)}
    around = {"systems": systems, "host": "aml", "target": "aml", "azureml_client": dict(CLIENT)}
    return build_only(**{**around, **keys})


def aml(value: Any) -> dict[str, Any]:
    """Return the target that became of the system ``aml``."""
    return dict(whole(value)["targets"]["aml"]["azureml"])


def test_a_system_becomes_a_target_that_builds_and_measures() -> None:
    found = whole(azure())
    assert found["targets"] == {"aml": {"azureml": TARGET}}
    assert found["target"] == {
        "build": "aml",
        "measure": "aml",
        "providers": ["cuda"],
        "threads": [1],
    }
    threads = [e for e in translation(azure()).entries if e.into == "target.threads"]
    assert [e.status for e in threads] == [Status.ADDED]
    assert entry(azure(), "systems.aml.aml_docker_config.conda_file_path").into == (
        "targets.aml.azureml.conda"
    )


@pytest.mark.parametrize(
    ("host", "target", "expected"),
    [
        ("aml", "here", {"build": "aml", "measure": "local"}),
        ("aml", None, {"build": "aml", "measure": "local"}),
        ("here", "aml", {"build": "local", "measure": "aml"}),
        (None, "aml", {"build": "local", "measure": "aml"}),
    ],
)
def test_host_builds_and_target_measures(
    host: str | None, target: str | None, expected: dict[str, str]
) -> None:
    found = whole(azure(host=host, target=target))["target"]
    measures_there = expected["measure"] == "aml"
    assert found == {
        **expected,
        "providers": ["cuda"] if measures_there else ["cpu"],
        **({"threads": [1]} if measures_there else {}),
    }


def test_two_systems_are_two_targets_and_one_that_nothing_names_is_none() -> None:
    value = azure(target="arc")
    value["systems"]["arc"] = SYSTEM | {"aml_compute": "arc", "accelerators": ["cpu"]}
    value["systems"]["unused"] = {"type": "AzureML", "aml_compute": "<name>"}
    found = whole(value)
    assert found["targets"].keys() == {"aml", "arc"}
    assert found["targets"]["arc"]["azureml"]["accelerators"] == ["cpu"]
    assert found["target"]["build"], found["target"]["measure"] == ("aml", "arc")
    assert entry(value, "systems.unused").status is Status.NO_EFFECT


def test_a_system_may_stand_where_it_is_named_or_have_the_name_of_a_kind_of_target() -> None:
    found = whole(azure(host=SYSTEM, target=None))
    assert (list(found["targets"]), found["target"]["build"]) == (["aml"], "aml")
    value = azure(host="my cloud", target=None)
    value["systems"]["my cloud"] = value["systems"].pop("aml")
    assert list(whole(value)["targets"]) == ["my_cloud"]
    value["systems"]["ssh"] = value["systems"].pop("my cloud")
    assert list(whole(value | {"host": "ssh"})["targets"]) == ["ssh_system"]


def test_passes_run_on_one_system() -> None:
    value = azure(host=None, target=None)
    value["passes"]["b"]["host"] = "aml"
    assert whole(value)["target"]["build"] == "aml"
    assert refused(value | {"host": "here"}).keys() == {"passes.b.host"}
    value["passes"]["b"]["host"] = "here"
    assert refused(value | {"host": "aml"}).keys() == {"passes.b.host"}
    assert "targets" not in whole(value)


def test_the_system_of_a_whole_workflow_builds_and_measures() -> None:
    value = azure(workflow_host="aml", host="here", target="here")
    assert whole(value)["target"] == {
        "build": "aml",
        "measure": "aml",
        "providers": ["cuda"],
        "threads": [1],
    }
    assert entry(value, "workflow_host").status is Status.APPROXIMATED
    other = azure(workflow_host="aml", host="arc", target=None)
    other["systems"]["arc"] = SYSTEM | {"aml_compute": "arc"}
    assert refused(other).keys() == {"host"}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"instance_count": 2}, {"instance_count": 2}),
        ({"resources": {"instance_type": "gpu-large"}}, {"instance_type": "gpu-large"}),
        ({"resources": {"instance_count": 3}}, {"instance_count": 3}),
        ({"tags": {"a": "b"}, "is_dev": True, "datastores": "workspaceblobstore"}, {}),
        ({"hf_token": False}, {}),
        ({"hf_token": True}, {"hf_token": True}),
        ({"accelerators": ["gpu"]}, {}),
    ],
)
def test_every_other_key_of_a_system(keys: dict[str, Any], expected: dict[str, Any]) -> None:
    assert aml(azure(keys)) == TARGET | expected


def test_a_token_comes_from_the_key_vault_that_the_client_names() -> None:
    value = azure({"hf_token": True}, azureml_client=CLIENT | {"keyvault_name": "vault"})
    assert aml(value)["hf_token"] == {"key_vault": "vault", "secret": "hf-token"}
    without = entry(azure({"hf_token": True}), "systems.aml.hf_token")
    assert without.status is Status.APPROXIMATED
    assert "HF_TOKEN" in str(without.why)


@pytest.mark.parametrize(
    ("keys", "key", "told"),
    [
        ({"aml_compute": None}, "aml_compute", "compute"),
        ({"aml_compute": "<your compute>"}, "aml_compute", "placeholder"),
        ({"aml_docker_config": None}, "aml_docker_config", "image"),
        ({"aml_docker_config": {"dockerfile": "D"}}, "aml_docker_config.dockerfile", "push it"),
        ({"aml_docker_config": {"name": "n"}}, "aml_docker_config.base_image", "Olive needs"),
        ({"aml_environment_config": {"name": "e"}}, "aml_environment_config", "conda file"),
        ({"resources": {"shm_size": "1g"}}, "resources.shm_size", "only"),
        ({"requirements_file": "r.txt"}, "requirements_file", "conda file"),
        ({"instance_count": 0}, "instance_count", "from 1"),
        ({"instance_count": 1, "resources": {"instance_count": 1}}, "instance_count", "twice"),
        ({"hf_token": "secret"}, "hf_token", "true or false"),
        ({"no_such_key": 1}, "no_such_key", "no_such_key"),
        ({"accelerators": ["npu"]}, "accelerators", "npu"),
    ],
)
def test_what_a_system_cannot_say(keys: dict[str, Any], key: str, told: str) -> None:
    value = azure(keys)
    system = value["systems"]["aml"]
    value["systems"]["aml"] = {name: inner for name, inner in system.items() if inner is not None}
    found = refused(value)
    assert found.keys() == {f"systems.aml.{key}"}
    assert told in found[f"systems.aml.{key}"]


@pytest.mark.parametrize("where", ["azureml_client", "azureml_client_config", "system"])
def test_the_workspace_is_found_wherever_it_stands(where: str) -> None:
    system = {"azureml_client_config": CLIENT} if where == "system" else {}
    client = {} if where == "system" else {where: CLIENT}
    value = azure(system)
    del value["azureml_client"]
    assert aml(value | client) == TARGET


def test_a_client_may_name_the_file_of_the_portal() -> None:
    value = azure(azureml_client={"aml_config_path": "config.json", "read_timeout": 9})
    named = {key: value for key, value in TARGET.items() if key not in CLIENT}
    assert aml(value) == named | {"workspace": "config.json"}
    assert entry(value, "azureml_client.read_timeout").status is Status.APPROXIMATED


@pytest.mark.parametrize(
    ("client", "keys"),
    [
        ({}, {f"azureml_client.{name}" for name in CLIENT}),
        ({"subscription_id": "s", "resource_group": "g"}, {"azureml_client.workspace_name"}),
        (CLIENT | {"workspace_name": "Your workspace"}, {"azureml_client.workspace_name"}),
        (CLIENT | {"workspace_name": "a/b"}, {"azureml_client.workspace_name"}),
        (CLIENT | {"tenant": "t"}, {"azureml_client.tenant"}),
        (["x"], {"azureml_client"}),
        (None, {"systems.aml.azureml_client_config"}),
    ],
)
def test_a_workspace_that_is_not_named(client: Any, keys: set[str]) -> None:
    assert refused(azure(azureml_client=client)).keys() == keys


def with_data(files: Any, **keys: Any) -> dict[str, Any]:
    value = flat(**keys)
    value["data_configs"][0]["load_dataset_config"]["data_files"] = files
    return value


def datastore(**config: Any) -> dict[str, Any]:
    given = {"datastore_name": "store", "relative_path": "a/b.json", **config}
    return {"type": "azureml_datastore", "config": given}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (datastore(azureml_client=CLIENT), f"{LONG}/datastores/store/paths/a/b.json"),
        (datastore(), f"{LONG}/datastores/store/paths/a/b.json"),
        (datastore(relative_path="/a b.json"), f"{LONG}/datastores/store/paths/a b.json"),
        (
            datastore(azureml_client={"aml_config_path": "config.json"}),
            "azureml://datastores/store/paths/a/b.json",
        ),
        (
            {"type": "azureml_datastore", "datastore_url": f"{LONG}/datastores/d/paths/c.csv"},
            f"{LONG}/datastores/d/paths/c.csv",
        ),
        ("azureml://datastores/d/paths/c.csv", "azureml://datastores/d/paths/c.csv"),
        ({"type": "file", "config": {"path": "x.json"}}, "x.json"),
    ],
)
def test_data_in_a_datastore_has_its_address(files: Any, expected: str) -> None:
    value = with_data(files, azureml_client=CLIENT, data_root="data")
    assert whole(value)["data"]["tone"]["file"] == expected


def test_files_by_split_may_be_in_azure() -> None:
    files = {"train": datastore(), "test": "here.json"}
    found = whole(with_data(files, azureml_client=CLIENT))["data"]["tone"]["files"]
    assert found == {"train": f"{LONG}/datastores/store/paths/a/b.json", "test": "here.json"}


@pytest.mark.parametrize("split", [{}, {"split": "test"}])
def test_files_by_split_none_of_which_can_be_read(split: dict[str, str]) -> None:
    value = with_data({"train": datastore(datastore_name=None)}, azureml_client=CLIENT)
    value["data_configs"][0]["load_dataset_config"] |= split
    refusals = refused(value)
    assert any("data_files.train" in key for key in refusals), refusals


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"relative_path": "Your train_data.json Azure ML Location"}, "relative_path"),
        ({"relative_path": "../x"}, "relative_path"),
        ({"datastore_name": "a b"}, "datastore_name"),
        ({"datastore_name": None}, "datastore_name"),
        ({"datastore_url": "https://x"}, "datastore_url"),
        ({"glob": "*"}, "glob"),
    ],
)
def test_data_that_has_no_address(config: dict[str, Any], key: str) -> None:
    where = "data_configs[0].load_dataset_config.data_files.config"
    files = datastore(**config)
    files["config"] = {name: v for name, v in files["config"].items() if v is not None}
    assert refused(with_data(files, azureml_client=CLIENT)).keys() == {f"{where}.{key}"}


def test_data_needs_a_workspace_that_is_named() -> None:
    where = "data_configs[0].load_dataset_config.data_files.config.azureml_client"
    assert refused(with_data(datastore())).keys() == {where}
    broken = with_data(datastore(), azureml_client=CLIENT | {"resource_group": 1})
    assert refused(broken).keys() == {"azureml_client.resource_group", where}


def test_data_of_a_workspace_in_a_file_is_not_read_from_another_workspace() -> None:
    files = datastore(azureml_client={"aml_config_path": "config.json"})
    systems = {"aml": SYSTEM | {"azureml_client_config": CLIENT}}
    value = with_data(files, systems=systems, host="aml")
    assert refused(value).keys() == {"systems.aml.azureml_client_config"}
    systems["aml"]["azureml_client_config"] = {"aml_config_path": "config.json"}
    whole(value)


def model(place: Any) -> dict[str, Any]:
    return build_only(
        input_model={"type": "HfModel", "model_path": place}, azureml_client=dict(CLIENT)
    )


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (
            {"type": "azureml_registry_model", "registry_name": "r", "name": "n", "version": 11},
            "azureml://registries/r/models/n/versions/11",
        ),
        (
            {"type": "azureml_model", "config": {"name": "n", "version": "2"}},
            f"{LONG}/models/n/versions/2",
        ),
        ("azureml:n:2", "azureml:n:2"),
        (
            "azureml://registries/r/models/n/versions/1",
            "azureml://registries/r/models/n/versions/1",
        ),
        ({"type": "folder", "config": {"path": "models/x"}}, "models/x"),
        ({"type": "string_name", "config": {"name": "org/x"}}, "org/x"),
    ],
)
def test_a_registered_model_has_its_address(place: Any, expected: str) -> None:
    assert whole(model(place))["model"] == expected


@pytest.mark.parametrize(
    ("place", "key", "told"),
    [
        ({"registry_name": "r", "name": "org/n", "version": "1"}, ".name", "did you mean 'n'"),
        ({"registry_name": "r", "name": "n"}, ".version", "Olive needs it"),
        ({"name": "n", "version": "1"}, ".registry_name", "Olive needs it"),
        ("azureml://registries/r/models/n/labels/latest", "", "expected an address such as"),
    ],
)
def test_a_registered_model_without_an_address(place: Any, key: str, told: str) -> None:
    if isinstance(place, dict):
        place = {"type": "azureml_registry_model", **place}
    found = refused(model(place))
    assert found.keys() == {f"input_model.model_path{key}"}
    assert told in found[f"input_model.model_path{key}"]


def test_the_projects_own_file_is_translated_key_by_key() -> None:
    (file,) = [file for file in OWN if file.stem == "nested-azure"]
    value = json.loads(file.read_text())
    found = whole(value)
    place = "azureml://subscriptions/s/resourcegroups/g/workspaces/w"
    assert found["model"] == "azureml://registries/some-registry/models/some-model/versions/2"
    assert found["data"]["answers"]["file"] == f"{place}/datastores/d/paths/answers.json"
    # Only its data says in which workspace the system is.
    assert found["targets"]["cloud"]["azureml"] == {
        "subscription_id": "s",
        "resource_group": "g",
        "workspace_name": "w",
        "compute": "c",
        "accelerators": ["gpu"],
        "image": "mcr.microsoft.com/azureml/some-image",
        "conda": "conda.yaml",
    }
    assert found["target"] == {
        "build": "local",
        "measure": "cloud",
        "providers": ["cuda"],
        "threads": [1],
    }


@pytest.mark.skipif(len(SEEDS) < 2, reason="the tutorial's configurations are not in ../shared")
def test_the_tutorials_configuration_is_translated_with_only_its_names_changed() -> None:
    text = SEED.with_name("olive-config.azureml.json").read_text()
    for placeholder, name in (
        ("Your Azure Subscrition ID", "s-1"),
        ("Your Azure Resource Group", "group"),
        ("Your Azure ML Workspaces name", "ws"),
        ("Your train_data.json Azure ML Location", "train_data.json"),
        ("Your Azure AI Studio / Azure Machine Learning Service Compute Name", "cluster"),
        ("Your Azure AI Studio / Azure Machine Learning Service docker", "registry/image"),
        ('"name": "microsoft/Phi-3-mini-4k-instruct"', '"name": "Phi-3-mini-4k-instruct"'),
    ):
        assert placeholder in text
        text = text.replace(placeholder, name)
    found = whole(json.loads(text))
    assert found["model"] == (
        "azureml://registries/azureml-msr/models/Phi-3-mini-4k-instruct/versions/11"
    )
    assert found["data"]["dataset_default_train"]["file"] == (
        f"{LONG}/datastores/workspaceblobstore/paths/train_data.json"
    )
    assert found["targets"] == {"aml": {"azureml": TARGET | {"hf_token": True}}}
    assert found["target"]["build"], found["target"]["measure"] == ("aml", "aml")
    assert found["target"]["providers"] == ["cuda"]
