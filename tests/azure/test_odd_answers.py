"""A service that answers late, wrong or in part: a job's result is right, or there is none."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from paretune.azure.failures import CredentialsError
from paretune.core.job import Job, JobStatus
from paretune.core.model import Model
from paretune.targets.launchers import azureml_run
from paretune.targets.launchers.azureml import AzuremlTarget
from paretune.testing.targets import call
from tests.azure.cloud import Cloud
from tests.azure.service import CONTAINER, STORE
from tests.azure.storage import ACCOUNT, KEY
from tests.azure.test_target import build, opened, running, until

pytestmark = [pytest.mark.azure, pytest.mark.usefixtures("impatient")]

_ENDS_S = 120.0


@pytest.mark.parametrize(
    "address",
    [
        f"https://{ACCOUNT}.blob.core.windows.net/azureml/log.txt?sv=2026-02-06&sig=c2VjcmV0&sp=r",
        "https://nowhere.invalid/log.txt",
        "not an address",
    ],
    ids=["refused", "not reached", "no address"],
)
def test_a_log_that_cannot_be_read_costs_nothing(
    cloud: Cloud, target: AzuremlTarget, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(cloud.jobs, "_signed", lambda name: address)
    result = target.submit(call("sleep", seconds=1)).result(_ENDS_S)
    cloud.proxy.refused.clear()
    assert result.status is JobStatus.OK, result.reason


def test_what_is_seen_late_is_waited_for(cloud: Cloud, target: AzuremlTarget) -> None:
    cloud.service.plan("GET", "/jobs/paretune-", 404, times=2)
    cloud.service.plan("GET", "/details$", 404, times=2)
    assert target.submit(call("sleep", seconds=2)).result(_ENDS_S).status is JobStatus.OK
    assert not cloud.service.plans


def test_answers_of_something_else_are_asked_for_again(cloud: Cloud, target: AzuremlTarget) -> None:
    # As a proxy that wants a password answers. Of a job that ends at once, details are read once.
    cloud.service.plan("GET", "/jobs/paretune-", 200, times=2)
    cloud.service.plan("GET", "/details$", 200)
    for path in ("/environments/", "/jobs/"):
        cloud.service.plan("PUT", path, 200)
    assert target.submit(call("add", a=11, b=22)).result(_ENDS_S).value == 33
    assert not cloud.service.plans


def test_a_job_that_somebody_deletes_is_a_transient_crash(
    cloud: Cloud, target: AzuremlTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azureml_run, "_GONE_S", 0.5)
    future = target.submit(call("sleep", seconds=905))
    name = running(cloud, "sleep")
    cloud.jobs.cancel(name)
    until(cloud, lambda: cloud.jobs.jobs[name].status == "Canceled")
    deleted = cloud.jobs.jobs.pop(name)
    try:
        result = future.result(_ENDS_S)
    finally:
        cloud.jobs.jobs[name] = deleted
    assert (result.status, result.transient) == (JobStatus.CRASHED, True)
    assert result.lost is None


def test_a_job_that_fails_before_its_worker_began_is_no_candidates_failure(
    cloud: Cloud, target: AzuremlTarget, network: Model, tmp_path: Path, monkeypatch: Any
) -> None:
    def no_node(conda: object) -> Path:
        raise RuntimeError("the quota of cores is exceeded")

    job = Job(build(network, tmp_path / "here"))
    with monkeypatch.context() as patch:
        patch.setattr(cloud.jobs, "_environment", no_node)
        result = target.submit(job).result(_ENDS_S)
    assert (result.status, result.transient) == (JobStatus.CRASHED, True)
    assert "the quota of cores is exceeded" in str(result.lost)
    assert target.submit(job).result(_ENDS_S).status is JobStatus.OK


def test_a_preempted_job_that_azure_runs_again_is_waited_for(
    cloud: Cloud, target: AzuremlTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, runs = cloud.jobs._run_command, list[str]()

    def preempted(job: Any, *given: Any) -> int:
        runs.append(job.name)
        status = run(job, *given)
        if len(runs) > 1:
            return status
        job.status = "Queued"
        until(cloud, lambda: cloud.service.asked("GET", f"/jobs/{job.name}$") > 3)
        return run(job, *given)

    monkeypatch.setattr(cloud.jobs, "_run_command", preempted)
    assert target.submit(call("add", a=20, b=3)).result(_ENDS_S).value == 23


def cut(folder: Path) -> None:
    results = folder / "results.jsonl"
    results.write_bytes(results.read_bytes()[:-20])


def lacking(folder: Path) -> None:
    max((folder / "files").iterdir(), key=lambda path: path.stat().st_size).unlink()


def short(folder: Path) -> None:
    for path in (folder / "files").iterdir():
        path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [cut, lacking, short])
def test_results_that_came_in_part_are_none_and_the_next_try_is_whole(
    cloud: Cloud,
    target: AzuremlTarget,
    network: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
) -> None:
    keep = cloud.jobs._keep

    def damaged(folder: Path, uri: str) -> None:
        damage(folder)
        keep(folder, uri)

    job = Job(build(network, tmp_path / "here"))
    with monkeypatch.context() as patch:
        patch.setattr(cloud.jobs, "_keep", damaged)
        result = target.submit(job).result(_ENDS_S)
    assert result.status is not JobStatus.OK
    assert result.transient
    assert result.lost is None, "the job ran"
    assert target.submit(job).result(_ENDS_S).status is JobStatus.OK


def signature(permission: str, hours: float) -> str:
    from azure.storage.blob import generate_container_sas

    expiry = datetime.now(UTC) + timedelta(hours=hours)
    made = generate_container_sas(
        ACCOUNT, CONTAINER, account_key=KEY, permission=permission, expiry=expiry
    )
    return str(made)


@pytest.mark.parametrize(
    ("permission", "hours", "said"),
    [("rl", 1.0, "permission denied"), ("rwl", -1.0, "does not accept the datastore's key")],
    ids=["read only", "expired"],
)
def test_a_datastore_that_cannot_be_written_is_refused_before_a_search(
    cloud: Cloud,
    target: AzuremlTarget,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    permission: str,
    hours: float,
    said: str,
) -> None:
    token = signature(permission, hours)
    cloud.service.secrets[STORE] = {"secretsType": "Sas", "sasToken": token}
    kind = cloud.service.stores[STORE]["properties"]["credentials"]
    monkeypatch.setitem(kind, "credentialsType", "Sas")
    count = len(cloud.jobs.jobs)
    with opened(store) as another, pytest.raises(CredentialsError, match=said) as caught:
        another.info()
    assert "sig=" not in str(caught.value)
    assert len(cloud.jobs.jobs) == count


def test_two_searches_of_one_study_on_two_machines_share_nothing_but_files(
    cloud: Cloud, network: Model, tmp_path: Path
) -> None:
    def built(name: str) -> str:
        with opened(tmp_path / name) as target:
            result = target.submit(Job(build(network, tmp_path / name))).result(_ENDS_S)
        assert result.status is JobStatus.OK, result.reason
        return str(result.value.model.digest)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(built, ["eins zwei", "größe"])
    assert one == other
