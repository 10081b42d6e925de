"""Fork servers that outlive their target: to import the runtimes takes longer than most tests.

A test that searches, compares or makes a dry run in this process opens a target, whose fork server
imports PyTorch and the rest for five seconds of a processor core. Here the server of a target that
was closed waits for the next target that needs the same one: the same modules, environment, module
search path and working folder. It is used as it was at its start, since jobs are copies of it.
Tests of the launcher itself, and of what is left behind, have servers of their own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence

import pytest

from paretune.targets.launchers import local
from paretune.targets.launchers.fork_server import ForkServer

MOST = 2
"""Servers that wait at the same time; one with all runtimes holds 500 MB."""

_TEST = "PYTEST_CURRENT_TEST"
_OWN_SERVERS = ("tests/targets/", "tests/test_misbehaving.py")

_Key = tuple[object, ...]
_waiting: dict[_Key, _Kept] = {}


class _Kept(ForkServer):
    """A server that waits for another target when it is closed.

    Args:
        key: What a target must agree in to take it.
        modules: As `ForkServer` takes them.
        environment: Likewise.
    """

    def __init__(self, key: _Key, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._key = key
        super().__init__(modules, environment)

    def close(self) -> None:
        if self.pid is None or self._key in _waiting:
            self.end()
            return
        _waiting[self._key] = self
        while len(_waiting) > MOST:
            _waiting.pop(next(iter(_waiting))).end()

    def end(self) -> None:
        super().close()


def _server(modules: Sequence[str], environment: Mapping[str, str]) -> ForkServer:
    passed_on = dict(environment)
    if passed_on.pop(_TEST, "").startswith(_OWN_SERVERS):
        return ForkServer(modules, environment)
    key = (tuple(modules), *sorted(passed_on.items()), *sys.path, os.getcwd())
    kept = _waiting.pop(key, None)
    return _Kept(key, modules, passed_on) if kept is None else kept


@pytest.fixture(scope="session", autouse=True)
def _kept_servers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "ForkServer", _server)
        yield
    while _waiting:
        _waiting.popitem()[1].end()
