"""What a target on a Ray cluster refuses, and what its hosts' jobs are given."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from fake_study import write_stub_model

from paretune.config import load
from paretune.core.errors import UsageError
from paretune.core.job import Call, Job, JobStatus
from paretune.core.permissions import Permissions
from paretune.core.target import Target
from paretune.registry import find
from paretune.targets.launchers.ray import RayTarget
from paretune.testing.declared import follows
from paretune.testing.targets import TARGET_LAWS
from tests.ray.nodes import Cluster, needs_ray

pytestmark = pytest.mark.ray


def opened(cluster: Cluster, folder: Path, **options: Any) -> RayTarget:
    given = {"name": "cluster", "address": cluster.address, "python": sys.executable}
    given |= {"store": str(folder / "far")}
    return RayTarget(**{**given, **options})


def refused(target: RayTarget) -> UsageError:
    with target, pytest.raises(UsageError) as caught:
        target.info()
    return caught.value


def test_it_keeps_the_laws_of_targets(tmp_path: Path) -> None:
    needs_ray()
    made: Target = find("targets", "ray")(store_root=tmp_path)
    try:
        follows(made, Target, "ray")
        for law in TARGET_LAWS:
            law(made)
    finally:
        made.close()


def test_what_no_host_has_is_refused_with_what_there_is(cluster: Cluster, tmp_path: Path) -> None:
    error = refused(opened(cluster, tmp_path, resources={"board": 1}))
    assert "1 host with board: 1, CPU: 1 wanted, 0 found" in error.message
    assert "127.0.0.3 has CPU: 1, other: 1" in error.message
    assert "127.0.0.2 has CPU: 1, one: 1" in error.message
    error = refused(opened(cluster, tmp_path, hosts=3))
    assert "3 hosts with CPU: 1 wanted, 2 found" in error.message


def test_where_nothing_answers(cluster: Cluster, tmp_path: Path) -> None:
    error = refused(opened(cluster, tmp_path, address="127.0.0.1:1"))
    assert "nothing answers at 127.0.0.1:1: Connection refused" in error.message


@pytest.fixture
def web_server() -> Iterator[str]:
    """A server that is no Ray."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_what_is_no_ray(cluster: Cluster, web_server: str, tmp_path: Path) -> None:
    error = refused(opened(cluster, tmp_path, address=web_server))
    assert f"Ray does not connect to {web_server}" in error.message


def test_a_host_that_other_work_uses(cluster: Cluster, tmp_path: Path) -> None:
    with opened(cluster, tmp_path, resources={"one": 1}) as first:
        assert first.info().name == "cluster"
        error = refused(opened(cluster, tmp_path, resources={"one": 1}, placed_s=3.0))
    assert "Ray did not start a worker on 127.0.0.2 within 3 s" in error.message
    assert "CPU: 1, one: 1, of which are free: nothing" in error.message


_OTHER_VERSION = """
import json, sys
from ray._raylet import GcsClient
client = GcsClient(address=sys.argv[1])
kept = client.internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster")
print(kept.decode())
other = {**json.loads(kept), "ray_version": "1.13.0", "python_version": "3.8.1"}
given = sys.argv[2].encode() if len(sys.argv) > 2 else json.dumps(other).encode()
client.internal_kv_put(b"CLUSTER_METADATA", given, True, namespace=b"cluster")
"""


def test_a_cluster_of_another_version(cluster: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _OTHER_VERSION, cluster.address]
    before = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    try:
        error = refused(opened(cluster, tmp_path))
    finally:
        subprocess.run([*command, before], capture_output=True, check=True)
    assert "Ray: 1.13.0 Python: 3.8.1" in error.message
    assert f"Python: {'.'.join(map(str, sys.version_info[:3]))}" in error.message
    assert json.loads(before)["ray_version"] in error.message


def test_a_job_has_the_environment_of_the_node(cluster: Cluster, tmp_path: Path) -> None:
    with opened(cluster, tmp_path, resources={"one": 1}) as target:

        def said(function: str, **arguments: Any) -> Any:
            result = target.submit(Job(Call(function, arguments))).result(300)
            assert result.status is JobStatus.OK, result.reason
            return result.value

        node = cluster.nodes["127.0.0.2"].raylet()
        assert said("os:getenv", key="OMP_NUM_THREADS") == node.environ().get("OMP_NUM_THREADS")
        assert said("os:getenv", key="RAY_RAYLET_PID") is None
        agent = next(
            process
            for process in node.children(recursive=True)
            if "paretune.targets.agent" in process.cmdline()
        )
        assert agent.nice() == node.nice()
        assert os.getsid(agent.pid) == agent.pid


def test_without_ray_it_says_what_to_install(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = "paretune.targets.launchers.ray_cluster.importlib.util.find_spec"
    monkeypatch.setattr(find, lambda name: None)
    error = refused(opened(cluster, tmp_path))
    assert error.hint == "pip install 'paretune[ray]'"


def test_a_configuration_opens_a_ray_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_stub_model(tmp_path / "model")
    config = {
        "model": "model",
        "passes": [{"noop": {"x": [1, 2]}}],
        "evaluate": ["readback"],
        "targets": {
            "trial": {
                "ray": {"address": "local", "resources": {"board": 1}, "cpus": 1},
                "python": sys.executable,
                "store": str(tmp_path / "far"),
            }
        },
        "target": {"build": "trial", "measure": "local"},
        "objectives": {"maximize": "accuracy", "minimize": "decode_ms_p50"},
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    before = set(psutil.Process().children(recursive=True))
    target = load(file).target.open(tmp_path / "store", Permissions())
    try:
        result = target.submit(Job(Call("os:getcwd"))).result(300)
        assert result.status is JobStatus.OK
        assert "ray" not in sys.modules, "Ray stays in a process of its own"
        started = set(psutil.Process().children(recursive=True)) - before
        assert any(process.name() == "raylet" for process in started)
    finally:
        target.close()
    _, left = psutil.wait_procs(started, 60.0)
    assert not left
    assert not (tmp_path / ".ray").exists(), "Ray leaves no token in the home folder"


def test_when_the_node_of_this_machine_has_ended_another_connection_is_made(tmp_path: Path) -> None:
    options = {"python": sys.executable, "store": str(tmp_path / "far"), "cpus": 1}
    with RayTarget(address="local", **options) as target:
        job = Job(Call("os:getcwd"))
        assert target.submit(job).result(300).status is JobStatus.OK
        broker = target.cluster._channel
        assert broker is not None
        below = psutil.Process(broker.pid).children(recursive=True)
        next(each for each in below if each.name() == "raylet").kill()
        assert not psutil.wait_procs([psutil.Process(broker.pid)], 60.0)[1]
        results = [target.submit(job).result(300) for _ in range(2)]
        assert results[0].transient or results[0].status is JobStatus.OK
        assert results[1].status is JobStatus.OK
