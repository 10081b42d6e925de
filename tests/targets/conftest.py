import os
from collections.abc import Iterator

import pytest
from local_jobs import nothing_stays_behind

from paretune.targets.launchers.local import LocalTarget
from tests.targets.sshd import Sshd, start


@pytest.fixture
def target() -> Iterator[LocalTarget]:
    """A target that imports nothing beforehand; no process of its stays behind."""
    with nothing_stays_behind(), LocalTarget(preload=False) as made:
        yield made


@pytest.fixture(scope="session")
def one_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An sshd of these tests' own (`tests/targets/sshd.py`)."""
    started = start(tmp_path_factory.mktemp("sshd"))
    yield started
    started.stop()


@pytest.fixture
def sshd(one_sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> Sshd:
    """It, with the ``ssh`` that knows it first on the PATH."""
    monkeypatch.setenv("PATH", f"{one_sshd.client}:{os.environ['PATH']}")
    return one_sshd
