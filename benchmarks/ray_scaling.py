"""How builds scale over the hosts of a Ray cluster: python benchmarks/ray_scaling.py.

The hosts are simulated: nodes of a cluster of this script's own, on loopback addresses of this
machine. The builds sleep, so that they do not share its processor. `--builds` of `--seconds` run on
1, 2 and 4 hosts; the time is that from the first build that is submitted to the last artifact in
the store here. Overhead is what a build takes beyond its sleep, on its host: time of all, times
hosts, divided by builds.

`--kills N` does something else: builds run on four hosts while nodes are killed at random, N times,
and started again. Nothing may be lost but what was in flight: every build must yield its artifact,
and builds may run again once for each kill at most, since a node runs one at a time. It takes about
ten seconds a kill; `--seconds` is 2 there by default.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common import ROOT, save, table

from paretune.core.candidate import Step
from paretune.core.job import Build, Job, JobResult, JobStatus
from paretune.core.model import Model
from paretune.models.handle import open_model
from paretune.store.artifacts import Store
from paretune.targets.launchers.ray import RayTarget

sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "plugins"))

from fake_study import write_stub_model

from tests.ray.nodes import Cluster

_HOSTS = (1, 2, 4)
_HEAD = "127.0.0.2"
_NODES = tuple(f"127.0.0.{number}" for number in range(3, 7))
_AT_LEAST = {1: 1.0, 2: 1.9, 4: 3.6}
_MOST_OVERHEAD_S = 0.5
_TRIES = 3
"""As often as a search tries a build that failed for a transient cause."""


def main() -> int:
    """Measure, print tables, save the figures; returns 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--builds", type=int, default=24)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="paretune-ray-scaling-") as folder:
        bench = Bench(Path(folder))
        try:
            bench.start()
            if given.kills:
                return kills(bench, given.kills, given.seconds or 2.0, given.seed)
            return scaling(bench, given.builds, given.seconds or 10.0)
        finally:
            bench.cluster.stop()


@dataclass
class Bench:
    """A cluster, and builds that sleep.

    Attributes:
        folder: Of all files.
        cluster: A head without work, and four nodes.
        journal: Receives when each build began and ended.
    """

    folder: Path
    cluster: Cluster = field(default_factory=Cluster)
    _number: int = 0
    """Of the last build."""

    @property
    def journal(self) -> Path:
        """The file that receives them."""
        return self.folder / "journal"

    def start(self) -> None:
        """Start the cluster, and write the interpreter of its hosts."""
        self.cluster.start(_HEAD, cpus=0)
        for address in _NODES:
            self.cluster.start(address)
        self.model: Model = open_model(write_stub_model(self.folder / "model"))
        plugins = ROOT / "tests" / "plugins"
        self.python = self.folder / "python"
        self.python.write_text(
            f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{plugins}"\nexport PYTHONPATH\n'
            f'exec {sys.executable} "$@"\n'
        )
        self.python.chmod(0o755)

    def target(self, hosts: int) -> RayTarget:
        """Return a target with a store of its own on so many hosts, each connected."""
        made = RayTarget(
            store_root=self.folder / "store",
            name="cluster",
            address=self.cluster.address,
            hosts=hosts,
            python=str(self.python),
            store=str(self.folder / f"far-{hosts}"),
        )
        for member in made.members:
            member.info()
        return made

    def job(self, seconds: float) -> Job:
        """Return a build that nothing has built before."""
        self._number += 1
        params = {"x": self._number, "seconds": seconds, "journal": str(self.journal)}
        store = self.folder / "store"
        data: dict[str, Any] = {"specs": {}, "root": "/", "allow_network": False}
        steps = (Step("nap", params),)
        return Job(Build(model=self.model, recipe=steps, provider="cpu", store=store, data=data))

    def built(self, result: JobResult) -> bool:
        """Return whether a build's artifact is in the store here, intact."""
        if result.status is not JobStatus.OK:
            return False
        return Store(self.folder / "store").is_intact(result.value.model.digest)


def scaling(bench: Bench, builds: int, seconds: float) -> int:
    """Run the builds on 1, 2 and 4 hosts."""
    rows, found = [], []
    for hosts in _HOSTS:
        begin = time.perf_counter()
        with bench.target(hosts) as target:
            connected = time.perf_counter() - begin
            jobs = [bench.job(seconds) for _ in range(builds)]
            begin = time.perf_counter()
            results = [future.result() for future in [target.submit(job) for job in jobs]]
            wall = time.perf_counter() - begin
        lost = sum(not bench.built(result) for result in results)
        alone = found[0]["wall_s"] if found else wall
        overhead = wall * hosts / builds - seconds
        fast = wall > 0 and alone / wall >= _AT_LEAST[hosts]
        ok = fast and overhead < _MOST_OVERHEAD_S and not lost
        rows.append([hosts, wall, alone / wall, overhead, connected, lost, "yes" if ok else "NO"])
        keys = ("hosts", "wall_s", "speedup", "overhead_s", "connecting_s", "lost")
        found.append({**dict(zip(keys, rows[-1][:-1], strict=True)), "ok": ok})
    head = ["hosts", "s", "times faster", "overhead s/build", "connecting s", "lost", "ok"]
    print(f"{builds} builds of {seconds:g} s")
    print(table(head, rows))
    goals = {"times_faster": _AT_LEAST, "overhead_s": _MOST_OVERHEAD_S}
    content = {"builds": builds, "seconds": seconds, "goals": goals, "found": found}
    print(save("ray_scaling", {"ray": version("ray"), **content}))
    return 0 if all(each["ok"] for each in found) else 1


@dataclass
class Killer:
    """Kills nodes at random, and starts them again.

    Attributes:
        killed: How often each node was killed.
    """

    bench: Bench
    rng: random.Random
    killed: Counter[str] = field(default_factory=Counter)

    def run(self, times: int, seconds: float) -> None:
        """Kill a node so many times."""
        for _ in range(times):
            time.sleep(self.rng.uniform(0.0, 2 * seconds))
            address = self.rng.choice(_NODES)
            self.bench.cluster.nodes[address].kill()
            self.killed[address] += 1
            self.bench.cluster.start(address)
            print(f"{sum(self.killed.values())} of {times} killed", file=sys.stderr)


def kills(bench: Bench, times: int, seconds: float, seed: int) -> int:
    """Have builds run while nodes are killed; returns 1 if something else was lost."""
    killer, jobs, results = Killer(bench, random.Random(seed)), list[Job](), list[JobResult]()
    retried = 0
    begin = time.perf_counter()
    with bench.target(len(_NODES)) as target:
        thread = threading.Thread(target=killer.run, args=(times, seconds), daemon=True)
        thread.start()
        running: list[tuple[Job, Future[JobResult], int]] = []
        while thread.is_alive() or running:
            while thread.is_alive() and len(running) < 2 * len(_NODES):
                jobs.append(bench.job(seconds))
                running.append((jobs[-1], target.submit(jobs[-1]), 1))
            job, future, tries = running.pop(0)
            result = future.result()
            if result.transient and tries < _TRIES:
                retried += 1
                running.append((job, target.submit(job), tries + 1))
            else:
                results.append(result)
    wall = time.perf_counter() - begin
    lines = bench.journal.read_text(encoding="utf-8").split("\n")
    begun = Counter(line.split()[0] for line in lines if line.startswith("begun-"))
    again = sum(begun.values()) - len(begun)
    lost = [result.reason for result in results if not bench.built(result)]
    most = sum(killer.killed.values())  # one build at once on each node
    ok = not lost and again <= most and len(results) == len(jobs)
    head = ["kills", "builds", "lost", "run again", "tried again by the search", "s", "ok"]
    row = [times, len(jobs), len(lost), again, retried, wall, "yes" if ok else "NO"]
    print(f"builds of {seconds:g} s on {len(_NODES)} hosts, seed {seed}")
    print(table(head, [row]))
    for reason in lost:
        print(f"lost: {reason}")
    content = {
        "seconds": seconds,
        "seed": seed,
        "kills": dict(killer.killed),
        "builds": len(jobs),
        "lost": lost,
        "run_again": again,
        "tried_again": retried,
        "wall_s": wall,
        "ok": ok,
    }
    print(save("ray_kills", {"ray": version("ray"), **content}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
