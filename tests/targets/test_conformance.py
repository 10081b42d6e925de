"""What every registered target must do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paretune.core.target import Target
from paretune.registry import find, names
from paretune.testing.declared import follows
from paretune.testing.targets import TARGET_LAWS

# These are held to the same laws beside what they need, by tests/azure and tests/ray.
_ELSEWHERE = ("azureml", "ray")


@pytest.fixture(params=[name for name in names("targets") if name not in _ELSEWHERE])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    options = {}
    if request.param == "ssh":
        request.getfixturevalue("sshd")
        options = {"host": "board", "python": sys.executable, "store": str(tmp_path / "far")}
    made: Target = find("targets", request.param)(store_root=tmp_path, **options)
    follows(made, Target, request.param)
    yield made
    made.close()


@pytest.mark.parametrize("law", TARGET_LAWS, ids=lambda law: law.__name__)
def test_it_keeps(target: Target, law: Callable[[Target], None]) -> None:
    law(target)
