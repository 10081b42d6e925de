"""``ray:`` of a declared target: a Ray cluster, or what of it is used."""

from __future__ import annotations

import re
from pathlib import Path

from paretune.config.schema import RaySection
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Wrong

_HEAD = re.compile(r"[^\s:/]+:[0-9]+|\[[^\s/]+\]:[0-9]+")

_OF_RAY = {"memory", "object_store_memory"}
"""Ray has options of their own for them, and refuses them as resources."""


def check(ray: RaySection, path: KeyPath, wrong: Wrong) -> None:
    """Refuse what no cluster has.

    Args:
        ray: The section.
        path: Its key.
        wrong: Takes a key, what is wrong and what to do.
    """
    if ray.address != "local" and _HEAD.fullmatch(ray.address) is None:
        wrong(
            (*path, "address"),
            f"{ray.address!r} is not the address of a cluster",
            "Write HOST:PORT of its head, as `ray start --head` prints it, or `local`.",
        )
    if ray.address == "local" and (ray.hosts or 1) > 1:
        wrong(
            (*path, "hosts"),
            f"{ray.hosts} hosts expected, and `address: local` is one",
            "Leave `hosts` out, or name a cluster.",
        )
    if ray.shared is not None and not Path(ray.shared).is_absolute():
        wrong(
            (*path, "shared"),
            f"{ray.shared!r} is not an absolute path",
            "Write the path that the folder has on this machine and on all hosts.",
        )
    for name, amount in {**ray.resources, "cpus": ray.cpus or 1}.items():
        at = (*path, name) if name == "cpus" else (*path, "resources", name)
        if amount > 1 and amount % 1 != 0:
            wrong(at, f"{amount:g} is not a whole number", "Ray shares only one of something.")
    if "CPU" in ray.resources:
        wrong((*path, "resources", "CPU"), "CPUs have a key of their own", "Write `cpus:`.")
    for name in _OF_RAY & ray.resources.keys():
        wrong(
            (*path, "resources", name),
            f"{name} is not a resource of `ray start --resources`",
            "Leave it out: free memory and disk of a host are checked before a build.",
        )
