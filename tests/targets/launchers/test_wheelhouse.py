"""Wheels for another platform; pip really runs, on a folder of small wheels."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from small_wheels import write_wheel

from paretune.core.errors import UsageError
from paretune.targets.launchers.far_setup import look
from paretune.targets.launchers.wheelhouse import Platform, download


def platform(machine: str = "aarch64", libc: tuple[str, str] = ("glibc", "2.36")) -> Platform:
    markers = look("")["markers"]
    there = {"python_version": "3.13", "python_full_version": "3.13.1", "platform_machine": machine}
    return Platform(machine, libc, {**markers, **there})


def test_the_tags_are_those_of_the_far_platform() -> None:
    tags = platform().tags()
    assert tags[:2] == ["manylinux_2_36_aarch64", "manylinux_2_35_aarch64"]
    assert tags[-3:] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64"]
    assert "manylinux2010_x86_64" in platform("x86_64", ("glibc", "2.28")).tags()
    assert "manylinux_2_29_x86_64" not in platform("x86_64", ("glibc", "2.28")).tags()
    musl = platform("x86_64", ("musl", "1.2")).tags()
    assert musl[0] == "musllinux_1_2_x86_64"
    with pytest.raises(UsageError, match="glibc 2 or musl 1, found neither"):
        platform("arm64", ("", "")).tags()
    for odd in ("2.x", "2.999999999", "2"):
        with pytest.raises(UsageError, match=f"glibc 2 or musl 1, found glibc {odd}"):
            platform("x86_64", ("glibc", odd)).tags()


def test_wheels_are_those_of_the_platform_and_of_its_python(tmp_path: Path) -> None:
    house = tmp_path / "house"
    write_wheel(house, "plain", ["deeper", "older; python_version<'3.12'"])
    write_wheel(house, "deeper", ["arm_only; platform_machine=='aarch64'", "x; extra=='more'"])
    write_wheel(house, "arm_only", tag="cp313-cp313-manylinux_2_28_aarch64")
    write_wheel(house, "arm_only", tag="cp313-cp313-manylinux_2_28_x86_64")
    write_wheel(house, "older")
    found = download(["plain==1.0"], platform(), tmp_path / "out", house)
    names = {wheel.name.partition("-")[0]: wheel.name for wheel in found}
    assert {"plain", "deeper", "arm_only"} <= set(names)
    assert names["arm_only"].endswith("_aarch64.whl")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent", "there is no wheel of absent for Python 3.13 on Linux aarch64 with glibc 2.36"),
        ("other==2.0", "there is no wheel of other==2.0 for"),
        ("intel", "there is no wheel of intel for"),
    ],
)
def test_what_there_is_no_wheel_of_is_named(tmp_path: Path, name: str, told: str) -> None:
    write_wheel(tmp_path, "other")
    write_wheel(tmp_path, "intel", tag="cp313-cp313-manylinux_2_28_x86_64")
    with pytest.raises(UsageError, match=told):
        download([name], platform(), tmp_path / "out", tmp_path)


def test_without_pip_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paretune.targets.launchers.wheelhouse.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(UsageError, match=f"{sys.executable} -m ensurepip"):
        download(["plain"], platform(), tmp_path / "out", tmp_path)
