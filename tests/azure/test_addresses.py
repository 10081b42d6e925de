"""Addresses in Azure: each form is read and written as it was."""

from __future__ import annotations

import pytest

from paretune.azure.addresses import data_address, is_azure, model_address

PLACE = "azureml://subscriptions/s/resourcegroups/g/workspaces/w"


@pytest.mark.parametrize(
    "text",
    [
        f"{PLACE}/datastores/d/paths/a/b c.json",
        "azureml://datastores/workspaceblobstore/paths/train.json",
        "azureml://datastores/d/paths/paths/datastores/x.json",
    ],
)
def test_a_files_address_is_read_and_written_as_it_was(text: str) -> None:
    assert is_azure(text)
    assert str(data_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "azureml://registries/azureml/models/Phi-3/versions/11",
        f"{PLACE}/models/m.1/versions/2",
        "azureml:m:2",
    ],
)
def test_a_models_address_is_read_and_written_as_it_was(text: str) -> None:
    assert is_azure(text)
    assert str(model_address(text)) == text


def test_azure_writes_resource_groups_in_two_ways() -> None:
    other = PLACE.replace("resourcegroups", "resourceGroups")
    assert str(data_address(f"{other}/datastores/d/paths/x")) == f"{PLACE}/datastores/d/paths/x"


@pytest.mark.parametrize(
    "text",
    [
        "azureml://datastores/d/paths/",
        "azureml://datastores/d/paths/a/../b",
        "azureml://datastores/d/paths/a//b",
        "azureml://datastores/d/paths/a\nb",
        "azureml://datastores/d e/paths/a",
        f"{PLACE}/datastores/d",
        "https://example.org/a.json",
    ],
)
def test_what_is_no_files_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        data_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "azureml:m",
        "azureml:m:1:2",
        "azureml://registries/r/models/m/labels/latest",
        "azureml://registries/r/models/org/m/versions/1",
        f"{PLACE}/registries/r/models/m/versions/1",
    ],
)
def test_what_is_no_models_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected an address"):
        model_address(text)
