"""Faults of Azure Machine Learning: the service, credentials, nodes and files.

Azure is the local server of `tests/azure`; its job service really runs the jobs.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from faulting.world import WITHIN_S, Came, CannotRunError, Case, World

from paretune.core.errors import TargetLostError
from paretune.core.job import Call, Job, JobResult, JobStatus
from paretune.core.packages import WORKER, pinned
from paretune.core.stamps import file_digest
from paretune.store.artifacts import Store
from paretune.targets.transports.azure_blob import AzureFiles

_WIDTH = 20_000
_SLEEP_S = 4.0


class Azure:
    """A cloud on loopback, and a target on it.

    Attributes:
        cloud: It (`tests.azure.cloud.Cloud`).
        target: The target, which is closed at the end.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.cloud = self._running()
        self.target = self.open()

    def _running(self) -> Any:
        """Start the cloud; this process then finds it as a user would who is signed in.

        Raises:
            CannotRunError: The SDK or azurite is not installed.
        """
        if importlib.util.find_spec("azure") is None:
            raise CannotRunError("the SDK is not installed: pip install 'paretune[azureml]'")
        from tests.azure import cloud, storage

        if not storage.AZURITE.exists() or shutil.which("node") is None:
            raise CannotRunError("azurite is not installed: make test-azure installs it")
        from paretune.azure import blobs, client, patience
        from paretune.targets.launchers import azureml_run

        quick = [(azureml_run, "_LONGEST_POLL_S", 0.5), (patience, "_PAUSE_S", 0.2)]
        for module, name, value in (*quick, (client, "_RETRIES", 0), (blobs, "_RETRIES", 0)):
            self._world.stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        folder = self._world.folder / "cloud"
        folder.mkdir()
        started = self._world.stack.enter_context(cloud.running(folder))
        for name, value in started.environment.items():
            before = os.environ.get(name)
            undo = os.environ.pop if before is None else os.environ.__setitem__
            self._world.stack.callback(undo, name, before)
            os.environ[name] = value
        client._OPENED.clear()
        self._world.stack.callback(client._OPENED.clear)
        return started

    def open(self) -> Any:
        """Return a target on the cloud's compute."""
        from paretune.targets.launchers.azureml import AzuremlTarget
        from paretune.targets.launchers.azureml_jobs import Place
        from tests.azure.cloud import NAMED
        from tests.azure.service import COMPUTE

        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        packages = (*pinned(WORKER), *pinned(["onnxruntime", "onnx"]))
        place = Place(COMPUTE, "registry/image:1", python, packages)
        store = self._world.folder / "records"
        made = AzuremlTarget(store, name="aml", workspace=NAMED, place=place)
        self._world.stack.callback(made.close)
        made.info()
        return made

    @property
    def jobs(self) -> int:
        """How many jobs the workspace has."""
        return len(self.cloud.jobs.jobs)

    def begin(self) -> tuple[Future[JobResult], str]:
        """Start a job, and wait until it runs; return its name, too."""
        future = self.target.submit(_sleeps())
        end = time.monotonic() + WITHIN_S
        while time.monotonic() < end:
            for job in list(self.cloud.jobs.jobs.values()):
                if job.status == "Running" and "sleep" in job.body["properties"]["displayName"]:
                    return future, job.name
            time.sleep(0.05)
        raise AssertionError("no job runs")


def _sleeps() -> Job:
    return Job(Call("paretune.testing.jobs:sleep", {"seconds": _SLEEP_S}))


def _ended(azure: Azure, job: Job | None = None) -> str:
    """Run a job; return how it ended, or the type of the error."""
    try:
        result: JobResult = azure.target.submit(job or _sleeps()).result(WITHIN_S)
    except TargetLostError as error:
        return type(error).__name__
    return str(result.status)


def busy_service(world: World) -> Came:
    """Answer 429 and 500 while a job is submitted and runs."""
    azure = Azure(world)
    count = azure.jobs
    azure.cloud.service.plan("PUT", "/jobs/", 503, times=3)
    azure.cloud.service.plan("PUT", "/jobs/", 429, times=2, Retry_After="1")
    future, name = azure.begin()
    azure.cloud.service.plan("GET", f"/jobs/{name}$", 429, times=2, Retry_After="1")
    azure.cloud.service.plan("GET", f"/runs/{name}/details$", 500, times=2)
    result = future.result(WITHIN_S)
    more = azure.jobs - count
    ok = result.status is JobStatus.OK and more == 1 and not azure.cloud.service.plans
    return Came(f"{result.status}; {more} job", None, None, "nothing", result.reason or "", ok)


def network_cut(world: World) -> Came:
    """Cut the network for two seconds while a job runs."""
    azure = Azure(world)
    count = azure.jobs
    future, _ = azure.begin()
    azure.cloud.proxy.cut = True
    time.sleep(2.0)
    azure.cloud.proxy.cut = False
    result = future.result(WITHIN_S)
    more = azure.jobs - count
    ok = result.status is JobStatus.OK and more == 1
    return Came(f"{result.status}; {more} job", None, None, "nothing", result.reason or "", ok)


def stays_away(world: World) -> Came:
    """Answer 503 for longer than is waited for; then let the same command continue."""
    from paretune.azure import patience

    azure = Azure(world)
    count = azure.jobs
    future, _ = azure.begin()
    before, patience.DOWN_S = patience.DOWN_S, 0.0
    try:
        azure.cloud.service.plan("GET", "/jobs/", 503, times=100)
        azure.cloud.service.plan("GET", "/workspaces/models$", 503, times=1)
        begin = time.monotonic()
        result = future.result(WITHIN_S)
        told_s = time.monotonic() - begin
        then = _ended(azure)
    finally:
        patience.DOWN_S = before
    azure.cloud.service.plans.clear()
    again = _ended(azure)
    more = azure.jobs - count
    ok = result.lost is not None and (then, again, more) == ("TargetLostError", "ok", 1)
    what = f"{result.status}; then {then}; with the service: {again}, {more} job in all"
    return Came(what, result.transient, told_s, "nothing", result.reason or "", ok)


def credentials_expired(world: World) -> Came:
    """Let the credentials expire while a job runs; sign in again."""
    azure = Azure(world)
    count = azure.jobs
    future, _ = azure.begin()
    azure.cloud.service.tokens.revoked_before = time.time() + 1
    begin, said, what = time.monotonic(), "", ""
    try:
        what = str(future.result(WITHIN_S).status)
    except TargetLostError as error:
        what, said = type(error).__name__, str(error)
    told_s = time.monotonic() - begin
    azure.target.close()
    azure.cloud.service.tokens.revoked_before = 0.0
    azure.target = azure.open()
    again = _ended(azure)
    more = azure.jobs - count
    ok = (what, again, more) == ("TargetRefusesError", "ok", 1) and "expired" in said
    what = f"{what}; signed in again: {again}, {more} job in all"
    return Came(what, None, told_s, "nothing", " ".join(said.split()), ok)


def _interrupted(world: World, strike: Callable[[Azure, str], object]) -> Came:
    azure = Azure(world)
    future, name = azure.begin()
    begin = time.monotonic()
    strike(azure, name)
    result = future.result(WITHIN_S)
    told_s = time.monotonic() - begin
    again = _ended(azure)
    ok = (result.status, result.transient) == (JobStatus.CRASHED, True) and again == "ok"
    what = f"{result.status}; the next job: {again}"
    return Came(what, result.transient, told_s, "this job", result.reason or "", ok)


def node_lost(world: World) -> Came:
    """Kill the job's command, as on a node that is taken away."""
    return _interrupted(world, lambda azure, name: azure.cloud.jobs.kill(name))


def cancelled_there(world: World) -> Came:
    """Cancel the job in Azure, not from here."""
    return _interrupted(world, lambda azure, name: azure.cloud.jobs.cancel(name))


def damaged_file(world: World) -> Came:
    """Damage a file in the datastore that the next job reads."""
    azure = Azure(world)
    model = world.model(width=_WIDTH)
    largest = max(model.iterdir(), key=lambda path: path.stat().st_size)
    place = f"paretune/files/{file_digest(largest)}"
    azure.cloud.blobs.upload_blob(place, b"x" * largest.stat().st_size, overwrite=True)
    job = world.build(world.folder / "near", width=_WIDTH)
    result = azure.target.submit(job).result(WITHIN_S)
    again = _ended(azure, job)
    ok = (result.status, result.transient) == (JobStatus.FAILED, True) and again == "ok"
    what = f"{result.status}; the next job: {again}"
    return Came(what, result.transient, result.seconds, "this job", result.reason or "", ok)


def damaged_result(world: World) -> Came:
    """Damage what a build wrote, before it is kept in the datastore."""
    azure = Azure(world)
    near = world.folder / "near"
    job = world.build(near, width=_WIDTH)
    keep = azure.cloud.jobs._keep

    def damaged(folder: Path, uri: str) -> None:
        for path in (folder / "files").iterdir():
            path.write_bytes(b"x" * path.stat().st_size)
        keep(folder, uri)

    azure.cloud.jobs._keep = damaged
    result = azure.target.submit(job).result(WITHIN_S)
    azure.cloud.jobs._keep = keep
    kept = Store(near).objects()
    again = _ended(azure, job)
    ok = (result.status, result.transient) == (JobStatus.FAILED, True)
    what = f"{result.status}; kept here: {len(kept)}; the next job: {again}"
    return Came(
        what,
        result.transient,
        result.seconds,
        "this build",
        result.reason or "",
        ok and not kept and again == "ok",
    )


def outage_before_the_fetch(world: World) -> Came:
    """Cut the network between the end of a build there and the fetch of its files."""
    azure = Azure(world)
    count = azure.jobs
    made_by = AzureFiles.made_by

    def cut(files: AzureFiles, job: str, digests: Any) -> None:
        made_by(files, job, digests)
        azure.cloud.proxy.cut = True
        files.datastore._container = None  # open connections stay

    AzureFiles.made_by = cut  # type: ignore[method-assign]
    try:
        future = azure.target.submit(world.build(world.folder / "near", width=_WIDTH))
        end = time.monotonic() + WITHIN_S
        while not azure.cloud.proxy.cut and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(3.0)
        azure.cloud.proxy.cut = False
        result = future.result(WITHIN_S)
    finally:
        AzureFiles.made_by = made_by  # type: ignore[method-assign]
    more = azure.jobs - count
    ok = result.status is JobStatus.OK and more == 1
    return Came(f"{result.status}; {more} job", None, None, "nothing", result.reason or "", ok)


def cases() -> list[Case]:
    """Return the faults of Azure."""
    one = "ok; one job, no second one"
    crashed = "crashed, transient; the next job runs"
    found: list[tuple[str, str, Callable[[World], Came]]] = [
        ("the service answers 429, 500 and 503 for a while", one, busy_service),
        ("the network is cut for 2 s", one, network_cut),
        ("the network is cut before the fetch of a build", one, outage_before_the_fetch),
        (
            "the service stays away",
            "lost, then TargetLostError; the same command finds the job again",
            stays_away,
        ),
        (
            "the credentials expire",
            "TargetRefusesError, which says so; after signing in, the same job is found again",
            credentials_expired,
        ),
        ("the node of a job is lost", crashed, node_lost),
        ("the job is cancelled in Azure", crashed, cancelled_there),
        (
            "a file in the datastore is damaged",
            "failed, transient; the next job sends it again and runs",
            damaged_file,
        ),
        (
            "what a build made arrives damaged",
            "failed, transient; nothing of it is kept; the next build is taken over",
            damaged_result,
        ),
    ]
    return [Case("azureml", fault, expected, run) for fault, expected, run in found]
