"""A Ray cluster of a test's own: nodes on loopback addresses of this machine.

Each node is started by ``ray start --block`` and ended by the ids of its processes: ``ray stop``
would end every Ray of this machine. Its output goes to a file.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

_STARTS_WITHIN_S = 120.0
_OBJECT_STORE = 80_000_000


@dataclass
class Node:
    """A node that runs.

    Attributes:
        address: Its IP address.
        process: The command that started it.
    """

    address: str
    process: subprocess.Popen[bytes]

    def processes(self) -> list[psutil.Process]:
        """Return all of its processes, those of its workers included."""
        try:
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """Kill what Ray has of it, as a machine that loses its power; what workers started stays.

        The children of an actor are the agent and its jobs: the test sees what becomes of them.
        """
        ours = set(self.agents())
        found = [each for each in self.processes() if each not in ours]
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(found, 30.0)

    def agents(self) -> list[psutil.Process]:
        """Return the agents that its actors have started, and what those have started."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if "paretune.targets.agent" in process.cmdline():
                    found += [process, *process.children(recursive=True)]
        return found

    def raylet(self) -> psutil.Process:
        """Return the process that stands for the node."""
        return next(each for each in self.processes() if each.name() == "raylet")


@dataclass
class Cluster:
    """Nodes that know each other; the first one is the head.

    Attributes:
        folder: Of Ray's logs and sockets.
        port: Of the head.
        nodes: By address.
    """

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp")))
    port: int = field(default_factory=lambda: _free_port())
    nodes: dict[str, Node] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where it is reached."""
        return f"{next(iter(self.nodes))}:{self.port}"

    def start(self, address: str, cpus: int = 1, resources: Mapping[str, float] = {}) -> Node:
        """Start a node; the first one becomes the head.

        Args:
            address: One of 127.0.0.0/8.
            cpus: How many it says that it has.
            resources: What else it has.
        """
        first = _free_port(self.port + 1, span=60)
        place = ["--head", f"--port={self.port}", f"--temp-dir={self.folder}"]
        place.append("--include-dashboard=false")
        if self.nodes:
            place = [f"--address={self.address}"]
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *place),
            *(f"--node-ip-address={address}", f"--num-cpus={cpus}", "--num-gpus=0"),
            *(f"--resources={json.dumps(dict(resources))}", "--disable-usage-stats"),
            f"--object-store-memory={_OBJECT_STORE}",
            *(f"--min-worker-port={first}", f"--max-worker-port={first + 59}"),
        ]
        log = self.folder / f"start-{address}-{len(self.nodes)}.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        environment["RAY_AUTH_MODE"] = "disabled"  # else a token in the home folder decides
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        node = Node(address, process)
        end = time.monotonic() + _STARTS_WITHIN_S
        while b"Ray runtime started" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > end:
                node.kill()
                raise AssertionError(f"no Ray node at {address}: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        self.nodes[address] = node
        return node

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes.values():
            for process in node.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            node.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_port(begin: int | None = None, span: int = 1) -> int:
    """Return the first of so many free ports, outside of those that Ray takes by itself."""
    if begin is None:  # pytest's workers have clusters beside one another
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        begin = 20_100 + worker % 4 * 3_000 + os.getpid() % 100 * 20
    for first in range(begin, 60_000, span):
        with contextlib.suppress(OSError):
            for port in range(first, first + span):
                with socket.socket() as tried:
                    tried.bind(("", port))
            return first
    raise AssertionError("no free ports")


def needs_ray() -> None:
    """Skip the test where Ray is not installed; fail where CI is set."""
    if importlib.util.find_spec("ray") is not None:
        return
    reason = "Ray is not installed: pip install 'paretune[ray]'"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)
