from collections.abc import Iterator

import psutil
import pytest

from paretune.targets.launchers.local import LocalTarget


@pytest.fixture
def target() -> Iterator[LocalTarget]:
    """A target that imports nothing beforehand; no process of its stays behind."""
    before = set(psutil.Process().children(recursive=True))
    with LocalTarget(preload=False) as made:
        yield made
    assert set(psutil.Process().children(recursive=True)) <= before, "a process stayed behind"
