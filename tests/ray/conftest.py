from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from paretune.targets.launchers.ray import RayTarget
from tests.ray.nodes import Cluster, needs_ray
from tests.targets.test_far_builds import interpreter

Opens = Callable[..., RayTarget]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two nodes. Builds begin on 127.0.0.2, which is not the head: a test may kill it."""
    needs_ray()
    made = Cluster()
    try:
        made.start("127.0.0.3", resources={"other": 1})
        made.start("127.0.0.2", resources={"one": 1})
        yield made
    finally:
        made.stop()


@pytest.fixture
def opened(cluster: Cluster, tmp_path: Path) -> Iterator[Opens]:
    """Makes targets on the cluster, whose hosts have the plug-ins of these tests."""
    python = interpreter(tmp_path / "far" / "python")
    with ExitStack() as stack:

        def make(**options: Any) -> RayTarget:
            given = {"name": "cluster", "address": cluster.address, "python": str(python)}
            given |= {"store": str(tmp_path / "far" / "store"), "silent_s": 5.0}
            return stack.enter_context(RayTarget(**{**given, **options}))

        yield make
