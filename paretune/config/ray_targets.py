"""``ray:`` of a declared target: a Ray cluster, or what of it is used."""

from __future__ import annotations

import re
from pathlib import Path

from paretune.config.schema import RaySection
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Wrong

_HEAD = re.compile(r"[^\s:/]+:[0-9]+|\[[^\s/]+\]:[0-9]+")


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
    if "CPU" in ray.resources:
        wrong((*path, "resources", "CPU"), "CPUs have a key of their own", "Write `cpus:`.")
