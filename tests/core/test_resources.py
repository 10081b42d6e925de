from __future__ import annotations

import os
from pathlib import Path

import pytest

from paretune.core import resources
from paretune.targets.device.fingerprint import device


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({"cpu.max": "150000 100000\n", "memory.max": "1000000\n"}, 1.5, 1_000_000),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None),
        (
            {
                "cpu.cfs_quota_us": "50000\n",
                "cpu.cfs_period_us": "100000\n",
                "memory.limit_in_bytes": "2000000\n",
            },
            0.5,
            2_000_000,
        ),
        (
            {
                "cpu.cfs_quota_us": "-1\n",
                "cpu.cfs_period_us": "100000\n",
                "memory.limit_in_bytes": "9223372036854771712\n",
            },
            None,
            None,
        ),
        ({}, None, None),
    ],
)
def test_the_containers_limits_count(
    files: dict[str, str],
    cores: float | None,
    memory: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(resources, "_cgroup_folders", lambda controller: (tmp_path,))
    assert resources._cpu_quota() == cores
    assert resources._memory_limit() == memory
    if cores is not None:
        assert resources.logical_cores() == min(len(os.sched_getaffinity(0)), -(-cores // 1))
    if memory is not None:
        assert resources.total_memory() == memory


V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
V1 = (
    "33 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "34 24 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
DOCKER_V1 = V1.replace(" / /sys", " /docker/abc /sys")


@pytest.mark.parametrize(
    ("groups", "mounts", "folders"),
    [
        ("0::/\n", V2, ["."]),
        ("0::/a.slice/b.scope\n", V2, ["a.slice/b.scope", "a.slice", "."]),
        # A container that sees its host's paths, and one whose group lies beside its own root.
        ("0::/kube/pod/x\n", V2.replace(" / /sys", " /kube/pod/x /sys"), ["."]),
        ("0::/../other\n", V2, ["."]),
        (
            "4:memory:/m\n3:cpu,cpuacct:/c/d\n",
            V1,
            ["cpu,cpuacct/c/d", "cpu,cpuacct/c", "cpu,cpuacct"],
        ),
        ("3:cpu,cpuacct:/docker/abc\n", DOCKER_V1, ["cpu,cpuacct"]),
        ("3:cpu,cpuacct:/docker/abc/in\n", DOCKER_V1, ["cpu,cpuacct/in", "cpu,cpuacct"]),
        (
            "3:cpu,cpuacct:/c\n0::/u\n",
            V1 + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"),
            ["cpu,cpuacct/c", "cpu,cpuacct", "unified/u", "unified"],
        ),
        ("5:cpuset:/x\n", V1, []),
        ("1:name=systemd:/x\n", V1, []),
        ("", "", []),
    ],
)
def test_where_the_limits_stand(groups: str, mounts: str, folders: list[str]) -> None:
    found = resources.cgroup_folders("cpu", groups, mounts)
    assert [str(f.relative_to("/sys/fs/cgroup")) for f in found] == folders


def test_the_strictest_of_all_groups_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("400000 100000\n")
    (inner.parent / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("10\n")
    (inner.parent / "memory.max").write_text("1000\n")
    (inner.parent / "memory.current").write_text("900\n")
    folders = (inner, inner.parent, tmp_path)
    monkeypatch.setattr(resources, "_cgroup_folders", lambda controller: folders)
    assert resources._cpu_quota() == 1.0
    assert resources.physical_cores() == resources.logical_cores() == 1
    assert resources.total_memory() == 1000
    assert resources.free_memory() == 100


def test_a_quota_is_what_threads_default_to_and_passes_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One function says it to all: the configuration, the passes, the resources."""
    import torch
    from fake_study import write_fake_study

    from paretune.config import load
    from paretune.passes.hugging_face import use_all_cores

    (tmp_path / "cpu.max").write_text("100000 100000\n")
    monkeypatch.setattr(resources, "_cgroup_folders", lambda controller: (tmp_path,))
    config = write_fake_study(tmp_path / "s", {"x": 1}, target={"providers": ["cpu"]})
    assert load(config).threads == (1,)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        use_all_cores()
        assert torch.get_num_threads() == device("local").cores == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_cores_taken_away_do_not_count() -> None:
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usable)})
    try:
        assert resources.logical_cores() == resources.physical_cores() == 1
    finally:
        os.sched_setaffinity(0, usable)
