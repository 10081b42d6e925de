"""What breaks on purpose in each phase of a job: no secret leaks, nothing is paid for twice."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.azure import blobs, patience
from paretune.azure.blobs import Datastore
from paretune.azure.client import open_client
from paretune.azure.failures import CredentialsError
from paretune.core.errors import TargetLostError, TargetRefusesError
from paretune.core.job import Call, Job, JobStatus
from paretune.core.model import Model
from paretune.core.progress import Progress
from paretune.core.stamps import file_digest
from paretune.models.handle import open_model
from paretune.targets.launchers.azureml import AzuremlTarget
from paretune.targets.launchers.azureml_jobs import Place
from paretune.targets.transports.azure_blob import AzureFiles
from paretune.testing.targets import call
from tests.azure.cloud import NAMED, Cloud
from tests.azure.service import COMPUTE
from tests.azure.test_target import PACKAGES, PYTHON, build, opened, running, until
from tests.onnx_networks import write_network

pytestmark = [pytest.mark.azure, pytest.mark.usefixtures("impatient")]

_ENDS_S = 120.0
SECRET = "hf_this_is_the_secret"


def when_built(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Have something happen between the end of a build in Azure and the fetch of its files."""
    real = AzureFiles.made_by

    def made_by(self: AzureFiles, job: str, digests: Any) -> None:
        real(self, job, digests)
        act()

    monkeypatch.setattr(AzureFiles, "made_by", made_by)


def test_what_a_job_prints_and_why_it_fails_are_without_the_token(
    cloud: Cloud, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    shell = Call("subprocess:check_call", {"args": ["sh", "-c", "echo the token: $HF_TOKEN"]})
    wrong = {"stmt": "raise ValueError(os.environ['HF_TOKEN'])", "setup": "import os", "number": 1}
    with opened(store, hf_token=True, network=True) as target:
        printed = target.submit(Job(shell, log=tmp_path / "log")).result(_ENDS_S)
        failed = target.submit(Job(Call("timeit:timeit", wrong))).result(_ENDS_S)
    assert printed.status is JobStatus.OK, printed.reason
    assert (tmp_path / "log").read_text().strip() == "the token: ***"
    assert failed.status is not JobStatus.OK
    assert "***" in str(failed.reason)
    assert SECRET not in str(failed.reason)
    assert not cloud.holding(SECRET.encode())


def test_a_secret_of_a_key_vault_is_not_read_without_the_network(
    cloud: Cloud, tmp_path: Path
) -> None:
    place = Place(COMPUTE, "registry/image:1", PYTHON, PACKAGES, secret=("vault", "token"))
    with AzuremlTarget(tmp_path, name="aml", workspace=NAMED, place=place) as target:
        target.info()
    properties = [*cloud.jobs.jobs.values()][-1].body["properties"]
    assert "--secret" not in properties["command"]


def test_the_datastore_is_read_before_a_search_where_the_compute_is_known(
    cloud: Cloud, target: AzuremlTarget, store: Path
) -> None:
    cloud.service.denied.append("/datastores")
    with opened(store) as another, pytest.raises(CredentialsError, match="permission denied"):
        another.info()


def test_a_service_that_fails_as_a_job_is_sent_and_read_costs_no_job(
    cloud: Cloud, target: AzuremlTarget, network: Model, tmp_path: Path, monkeypatch: Any
) -> None:
    count = len(cloud.jobs.jobs)
    for path in ("/environments/", "/jobs/"):
        cloud.service.plan("PUT", path, 503, times=3)
        cloud.service.plan("PUT", path, 429, times=2, Retry_After="0")

    def cut() -> None:
        cloud.proxy.cut = True
        target._files.datastore._container = None  # open connections stay

    moving = threading.Lock()
    target.move_in(lambda: moving)
    when_built(monkeypatch, cut)
    future = target.submit(Job(build(network, tmp_path / "here")))
    until(cloud, lambda: cloud.proxy.refused)
    assert moving.acquire(timeout=_ENDS_S), "others may move files, and be measured, meanwhile"
    assert not future.done()
    cloud.proxy.cut = False
    moving.release()
    result = future.result(_ENDS_S)
    cloud.proxy.refused.clear()
    assert result.status is JobStatus.OK, result.reason
    assert not cloud.service.plans
    assert len(cloud.jobs.jobs) == count + 1


def test_credentials_that_expire_before_the_fetch_end_the_search_and_keep_the_job(
    cloud: Cloud,
    target: AzuremlTarget,
    store: Path,
    network: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = build(network, tmp_path / "here")

    def expire() -> None:
        cloud.service.denied.append("/datastores")
        target._files.datastore._container = None

    with monkeypatch.context() as patch:
        when_built(patch, expire)
        future = target.submit(Job(task))
        with pytest.raises(TargetRefusesError, match="permission denied"):
            future.result(_ENDS_S)
        target.close()
    cloud.service.denied.clear()
    count = len(cloud.jobs.jobs)
    with opened(store) as another:
        result = another.submit(Job(task)).result(_ENDS_S)
    assert result.status is JobStatus.OK, result.reason
    assert len(cloud.jobs.jobs) == count, "the same job, not a second one"


def test_credentials_that_expire_in_mid_upload_end_the_search_and_the_rest_is_sent_later(
    cloud: Cloud, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = open_model(write_network(tmp_path / "own", width=21_000))  # no other test sent it
    monkeypatch.setattr(blobs, "BLOCK_BYTES", 1 << 14)
    cloud.service.denied.append("POST .*/listSecrets")  # the datastore is the user's own to write
    cloud.service.tokens.lifetime = 200.0  # the SDK renews what ends within five minutes
    largest = max(network.path.iterdir(), key=lambda path: path.stat().st_size)
    place = f"paretune/files/{file_digest(largest)}"
    went_up: list[int] = []

    def expire(progress: Progress) -> None:
        went_up.append(progress.done)
        cloud.service.tokens.expired_secret = True

    with opened(store) as target:
        target.info()
        count = len(cloud.jobs.jobs)
        future = target.submit(Job(build(network, tmp_path / "here"), on_progress=expire))
        with pytest.raises(TargetRefusesError, match=r"have expired .*AADSTS7000222") as caught:
            future.result(_ENDS_S)
    assert "az login" in str(caught.value)
    assert went_up, "a part of it was sent"
    assert cloud.names(place) == [], "it appears when it is whole"
    assert len(cloud.jobs.jobs) == count, "no job without its files"
    cloud.service.tokens.expired_secret = False
    rest = Datastore(open_client(NAMED)).upload(largest, place)
    assert 0 < rest < largest.stat().st_size, "what went up is not sent again"
    assert cloud.blobs.download_blob(place).readall() == largest.read_bytes()


def test_a_service_that_stays_away_is_a_lost_target(
    cloud: Cloud, target: AzuremlTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(patience, "DOWN_S", 0.0)
        cloud.service.plan("GET", "/jobs/", 503, times=100)  # it is submitted, and never seen
        result = target.submit(call("sleep", seconds=4)).result(_ENDS_S)
        assert result.lost is not None
        count = len(cloud.jobs.jobs)
        # Planned now: while jobs are read, the SDK reads the workspace, too.
        cloud.service.plan("GET", "/workspaces/models$", 503, times=1)
        with pytest.raises(TargetLostError, match="503"):
            target.submit(call("sleep", seconds=4))
    cloud.service.plans.clear()
    assert target.submit(call("sleep", seconds=4)).result(_ENDS_S).status is JobStatus.OK
    assert len(cloud.jobs.jobs) == count, "the job was found again"


def test_a_job_with_another_permission_is_not_taken_over(cloud: Cloud, store: Path) -> None:
    with opened(store) as target:
        future = target.submit(call("sleep", seconds=904))
        name = running(cloud, "sleep")
        cloud.service.tokens.revoked_before = time.time() + 1
        with pytest.raises(TargetRefusesError):
            future.result(_ENDS_S)
    cloud.service.tokens.revoked_before = 0.0
    with opened(store, network=True) as target:
        target.info()
        count = len(cloud.jobs.jobs)
        future = target.submit(call("sleep", seconds=904))
        until(cloud, lambda: len(cloud.jobs.jobs) == count + 1)
        target.cancel(future)
    until(cloud, lambda: cloud.jobs.jobs[name].status == "Canceled")  # nobody asked for it again


def test_a_damaged_file_in_the_datastore_is_sent_again(
    cloud: Cloud, target: AzuremlTarget, network: Model, tmp_path: Path
) -> None:
    largest = max(network.path.iterdir(), key=lambda path: path.stat().st_size)
    place = f"paretune/files/{file_digest(largest)}"
    cloud.blobs.upload_blob(place, b"x" * largest.stat().st_size, overwrite=True)
    job = Job(build(network, tmp_path / "here"))
    result = target.submit(job).result(_ENDS_S)
    assert (result.status, result.transient) == (JobStatus.FAILED, True)
    assert target.submit(job).result(_ENDS_S).status is JobStatus.OK


def test_what_came_back_damaged_once_is_built_again_and_taken(
    cloud: Cloud,
    target: AzuremlTarget,
    network: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep = cloud.jobs._keep

    def damaged(folder: Path, uri: str) -> None:
        for path in (folder / "files").iterdir():
            path.write_bytes(b"x" * path.stat().st_size)
        keep(folder, uri)

    job = Job(build(network, tmp_path / "here"))
    with monkeypatch.context() as patch:
        patch.setattr(cloud.jobs, "_keep", damaged)
        assert target.submit(job).result(_ENDS_S).status is JobStatus.FAILED
    result = target.submit(replace(job)).result(_ENDS_S)
    assert result.status is JobStatus.OK, result.reason
