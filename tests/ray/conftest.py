from collections.abc import Iterator

import pytest

from tests.ray.nodes import Cluster, needs_ray


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
