"""How long a service is waited for that is away: what is not its absence does not count."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paretune.azure import blobs, patience
from paretune.azure.blobs import Datastore
from paretune.azure.client import open_client
from paretune.azure.failures import UnreachableError
from paretune.azure.patience import DOWN_S, patiently
from paretune.core.errors import ConnectionLostError
from paretune.core.machine_lock import MachineLock
from paretune.core.machines import Machines, Work
from paretune.core.stamps import take
from paretune.targets.transports.azure_blob import AzureFiles
from tests.azure.cloud import NAMED, Cloud

_ENDS_S = 60.0


class Clock:
    """The time, which a test may put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=made.monotonic))
    monkeypatch.setattr(patience, "_PAUSE_S", 0.01)
    return made


class Away:
    """A service that fails some times, and then answers."""

    def __init__(self, clock: Clock, times: int, takes: float = 0.0) -> None:
        self.clock, self.left, self.takes, self.tries = clock, times, takes, 0

    def __call__(self) -> str:
        self.tries += 1
        self.clock.ahead += self.takes
        self.left -= 1
        if self.left >= 0:
            raise UnreachableError("the service is away")
        return "there"


def test_what_is_waited_for_before_a_try_is_no_outage(clock: Clock) -> None:
    @contextmanager
    def waits() -> Iterator[None]:
        clock.ahead += 2 * DOWN_S
        yield

    away = Away(clock, times=4)
    assert patiently(away, threading.Event(), waits) == "there"
    assert away.tries == 5


def test_the_tries_themselves_are(clock: Clock) -> None:
    away = Away(clock, times=9, takes=DOWN_S / 2)
    with pytest.raises(ConnectionLostError, match="the service is away"):
        patiently(away, threading.Event())
    assert away.tries == 3, "the first one may have begun before the outage"


def test_a_service_that_moves_something_was_there(clock: Clock) -> None:
    away = Away(clock, times=6, takes=DOWN_S)
    assert patiently(away, threading.Event(), moved=lambda: min(away.tries, 7)) == "there"
    away = Away(clock, times=6, takes=DOWN_S)
    with pytest.raises(ConnectionLostError):
        patiently(away, threading.Event(), moved=lambda: min(away.tries, 3))
    assert away.tries == 4


@pytest.mark.azure
def test_a_measurement_between_two_tries_of_an_upload_is_no_outage(
    cloud: Cloud, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "_RETRIES", 0)
    monkeypatch.setattr("paretune.azure.client._RETRIES", 0)
    lock = MachineLock(tmp_path / "machine")
    machines = Machines(lock=lock)
    files = AzureFiles(Datastore(open_client(NAMED)))
    asked: list[float] = []

    def moving() -> AbstractContextManager[object]:
        asked.append(time.monotonic())
        return machines.use("here", "aml", Work.MOVE)

    files.moving = moving
    (tmp_path / "file").write_bytes(b"measured meanwhile")
    file = take(tmp_path / "file")
    upload = files.datastore.upload
    tries: list[float] = []

    def fails(*given: Any, **more: Any) -> int:
        tries.append(time.monotonic())
        files.datastore._container = None
        return upload(*given, **more)

    monkeypatch.setattr(files.datastore, "upload", fails)
    assert files.datastore.name  # the workspace has said it
    place: dict[str, str] = {}
    sends = threading.Thread(target=lambda: place.update(files.send([file], threading.Event())))
    cloud.service.plan("GET", "/datastores", 503, times=1000)
    sends.start()
    _until(lambda: len(tries) > 1)
    with lock.use(alone=True):
        count = len(tries)
        _until(lambda: len(asked) > count)  # from then on it waits for the machine
        clock.ahead += 2 * DOWN_S
        time.sleep(0.2)
        assert len(tries) == count, "nothing moves while this machine measures"
    _until(lambda: len(tries) > count + 1)
    cloud.service.plans.clear()
    sends.join(_ENDS_S)
    assert place == {file.sha256: f"paretune/files/{file.sha256}"}


def _until(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + _ENDS_S
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.01)
