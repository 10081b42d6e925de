"""Fork servers that outlive their target: to import the runtimes takes longer than most tests.

A test that searches, compares or makes a dry run in this process opens a target, whose fork server
imports PyTorch and the rest for five seconds of a processor core. Here the server of a target that
was closed waits for the next target that needs the same one: the same modules, environment, module
search path and working folder. It is used as it was at its start, since jobs are copies of it.
It imports the same few packages whatever a study needs, so that many tests need the same one; the
rest is imported by the jobs themselves.
Tests of the launcher itself, and of what is left behind, have servers of their own.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import pytest

from paretune.core.packages import RUNTIMES
from paretune.targets.launchers import local
from paretune.targets.launchers.fork_server import ForkedChild, ForkServer
from paretune.targets.launchers.preloading import modules_of

MOST = 3
"""Servers that wait at the same time; one with all runtimes holds 500 MB."""
_NETWORKS = ("numpy", "onnx", "onnxruntime")
_ALL = (*RUNTIMES, *_NETWORKS, "onnx-ir", "safetensors", "scipy", "jinja2", "sentencepiece")

_TEST = "PYTEST_CURRENT_TEST"
_OWN_SERVERS = ("tests/targets/", "tests/test_misbehaving.py")

_waiting: dict[tuple[object, ...], ForkServer] = {}


def _usual(modules: Sequence[str]) -> tuple[str, ...]:
    """Return what a server for tests imports: all runtimes, those of networks, or what is asked."""
    if "torch" in modules or "transformers" in modules:
        return modules_of(_ALL)
    return modules_of(_NETWORKS) if "onnxruntime" in modules else tuple(modules)


class _Lent:
    """The server of a target: at its first job one that waits, else a new one; it waits again.

    Args:
        modules: As `ForkServer` takes them.
        environment: Likewise.
    """

    def __init__(
        self, modules: Callable[[], Sequence[str]], environment: Mapping[str, str]
    ) -> None:
        self._modules, self._environment = modules, environment
        self._lock = threading.Lock()
        self._key: tuple[object, ...] = ()
        self._server: ForkServer | None = None

    @property
    def pid(self) -> int | None:
        return None if self._server is None else self._server.pid

    def start(self, *streams: int, fresh: bool = False, timed: bool = True) -> ForkedChild:
        with self._lock:
            if self._server is None:
                environment = sorted(self._environment.items())
                modules = _usual(self._modules())
                self._key = (modules, *environment, *sys.path, os.getcwd())
                new = partial(ForkServer, lambda: modules, self._environment)
                self._server = _waiting.pop(self._key, None) or new()
        return self._server.start(*streams, fresh=fresh, timed=timed)

    def last_words(self) -> str:
        return "" if self._server is None else self._server.last_words()

    def close(self) -> None:
        server, self._server = self._server, None
        if server is None or server.pid is None or self._key in _waiting:
            if server is not None:
                server.close()
            return
        _waiting[self._key] = server
        while len(_waiting) > MOST:
            _waiting.pop(next(iter(_waiting))).close()


def _server(
    modules: Callable[[], Sequence[str]], environment: Mapping[str, str]
) -> ForkServer | _Lent:
    passed_on = dict(environment)
    if passed_on.pop(_TEST, "").startswith(_OWN_SERVERS):
        return ForkServer(modules, environment)
    return _Lent(modules, passed_on)


@pytest.fixture(scope="session", autouse=True)
def _kept_servers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "ForkServer", _server)
        yield
    while _waiting:
        _waiting.popitem()[1].close()
