import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from local_jobs import nothing_stays_behind

from paretune.targets.launchers.channel import Transport
from paretune.targets.launchers.conversation import Conversation
from paretune.targets.launchers.local import LocalTarget
from tests.targets.far_sides import DESCRIBED, HELLO, Scripted, Talk
from tests.targets.sshd import Sshd, start


@pytest.fixture
def target() -> Iterator[LocalTarget]:
    """A target that imports nothing beforehand; no process of its stays behind."""
    with nothing_stays_behind(), LocalTarget() as made:
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


@pytest.fixture
def no_index_there(sshd: Sshd) -> Iterator[None]:
    """On the far side, pip has no index, nor anything else to take packages from."""
    file = sshd.home / ".config" / "pip" / "pip.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("[global]\nno-index = true\nfind-links =\n")
    yield
    file.unlink()


@pytest.fixture
def far() -> Scripted:
    """A far side that the test decides."""
    return Scripted()


@pytest.fixture
def talk() -> Iterator[Talk]:
    """Begins conversations that are closed at the end; described, unless the test wants none."""
    with ExitStack() as stack:

        def begin(
            far: Scripted, transport: Transport | None = None, *, describe: bool = True
        ) -> Conversation:
            made = Conversation("board", far, transport)
            stack.callback(made.close)
            if describe:
                far.say(DESCRIBED)
                assert made.describe(HELLO) == DESCRIBED
            return made

        yield begin
