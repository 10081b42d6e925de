"""What `ray:` of a declared target refuses before anything is started."""

from __future__ import annotations

from typing import Any

import pytest

from paretune.config import ray_targets
from paretune.config.schema import RaySection
from paretune.config.yaml_source import Path as KeyPath


def refused(**ray: Any) -> list[tuple[KeyPath, str]]:
    found: list[tuple[KeyPath, str]] = []
    section = RaySection(**{"address": "10.0.0.5:6379", **ray})
    ray_targets.check(section, ("ray",), lambda path, what, hint: found.append((path, what)))
    return found


@pytest.mark.parametrize(
    "ray",
    [
        {},
        {"address": "local"},
        {"address": "[fd00::1]:6379", "hosts": 4},
        {"resources": {"board": 1, "GPU": 0.5, "other": 2.0}, "cpus": 0.5},
        {"cpus": 3},
    ],
)
def test_what_a_cluster_may_have(ray: dict[str, Any]) -> None:
    assert refused(**ray) == []


@pytest.mark.parametrize(
    ("ray", "key", "what"),
    [
        ({"address": "10.0.0.5"}, ("address",), "'10.0.0.5' is not the address of a cluster"),
        ({"address": "local", "hosts": 2}, ("hosts",), "2 hosts expected, and `address: local`"),
        ({"shared": "files"}, ("shared",), "'files' is not an absolute path"),
        ({"resources": {"CPU": 2}}, ("resources", "CPU"), "CPUs have a key of their own"),
        ({"resources": {"board": 1.5}}, ("resources", "board"), "1.5 is not a whole number"),
        ({"resources": {"board": float("inf")}}, ("resources", "board"), "inf is not a whole"),
        ({"cpus": 2.5}, ("cpus",), "2.5 is not a whole number"),
        ({"resources": {"memory": 1}}, ("resources", "memory"), "memory is not a resource of"),
    ],
)
def test_what_no_cluster_has(ray: dict[str, Any], key: KeyPath, what: str) -> None:
    [(path, said)] = refused(**ray)
    assert path == ("ray", *key)
    assert said.startswith(what)
