"""The target ``azureml``: jobs go through the SDK to a job service that really runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paretune.azure.failures import CredentialsError
from paretune.core.candidate import RuntimeSettings, Step
from paretune.core.errors import TargetRefusesError, UsageError
from paretune.core.job import Build, BuildResult, Call, Job, JobStatus, Limits, Measure
from paretune.core.measurement import Rung
from paretune.core.model import Model
from paretune.core.packages import WORKER, pinned
from paretune.core.progress import Progress
from paretune.core.target import Target
from paretune.store.artifacts import Store
from paretune.targets.launchers import azureml_run
from paretune.targets.launchers.azureml import AzuremlTarget
from paretune.targets.launchers.azureml_jobs import Place
from paretune.testing.declared import follows
from paretune.testing.targets import TARGET_LAWS, call
from tests.azure.cloud import NAMED, Cloud
from tests.azure.service import COMPUTE

pytestmark = pytest.mark.azure

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = (*pinned(WORKER), *pinned(["onnxruntime", "onnx"]))
DATA = {"specs": {}, "root": ".", "allow_network": False}
TOKEN = Job(Call("os:getenv", {"key": "HF_TOKEN"}))
_ENDS_S = 120.0


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask more often than is decent for the real service."""
    monkeypatch.setattr(azureml_run, "_LONGEST_POLL_S", 0.5)


def opened(
    store: Path, *, hf_token: bool = False, network: bool = False, name: str = "aml"
) -> AzuremlTarget:
    place = Place(COMPUTE, "registry/image:1", PYTHON, PACKAGES)
    return AzuremlTarget(store, network, name=name, workspace=NAMED, place=place, hf_token=hf_token)


@pytest.fixture
def target(cloud: Cloud, store: Path) -> Iterator[AzuremlTarget]:
    with opened(store) as made:
        yield made


def build(model: Model, store: Path) -> Build:
    step = Step("onnx_dynamic_int8", {})
    return Build(model=model, recipe=(step,), provider="cpu", store=store, data=DATA)


def until(cloud: Cloud, seen: Callable[[], object]) -> None:
    end = time.monotonic() + _ENDS_S
    while not seen():
        assert time.monotonic() < end, [*cloud.jobs.jobs.values()]
        time.sleep(0.05)


def running(cloud: Cloud, word: str) -> str:
    """Return the name of the job that runs and whose display name has a word."""
    found: list[str] = []

    def look() -> list[str]:
        found[:] = [
            job.name
            for job in cloud.jobs.jobs.values()
            if job.status == "Running" and word in job.body["properties"]["displayName"]
        ]
        return found

    until(cloud, look)
    return found[0]


def test_it_keeps_the_laws_of_targets(cloud: Cloud, store: Path) -> None:
    with opened(store, name="azureml") as target:
        follows(target, Target, "azureml")
        for law in TARGET_LAWS:
            law(target)


def test_a_build_lies_in_this_store_and_nothing_goes_up_twice(
    cloud: Cloud, target: AzuremlTarget, network: Model, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    job = Job(build(network, tmp_path / "here"), log=tmp_path / "log", on_progress=seen.append)
    result = target.submit(job).result(_ENDS_S)
    assert result.status is JobStatus.OK, result.reason
    assert isinstance(result.value, BuildResult)
    assert result.value.model.path.is_relative_to(tmp_path / "here")
    assert Store(tmp_path / "here").is_intact(result.value.model.digest)
    assert any("running in Azure" in each.note for each in seen)
    steps = [each.step for each in seen if "receiving" not in each.note]
    assert "onnx_dynamic_int8" in steps, "the worker's progress comes by the log"
    sent = cloud.names("paretune/files/")
    assert len(sent) == len(set(sent))
    count = len(cloud.jobs.jobs)
    again = target.submit(job).result(_ENDS_S)
    assert again.value.model == result.value.model
    assert len(cloud.jobs.jobs) == count, "all of it lies here"
    measured = target.submit(Job(_measure(result.value.model))).result(_ENDS_S)
    assert measured.status is JobStatus.OK, measured.reason
    assert {each.metric for each in measured.value} >= {"latency_ms_p50"}
    assert measured.interference is not None
    weights = {path.name for path in result.value.model.path.iterdir()}
    assert weights
    assert cloud.names("paretune/files/") == sent, "what was made there is used from there"


def _measure(model: Model) -> Measure:
    return Measure(
        model=model,
        runtime=RuntimeSettings("cpu", 1),
        evaluator="latency",
        params={"shapes": {"x": [1, 20_000]}},
        rung=Rung.ROUGH,
        data=DATA,
    )


def test_the_compute_is_described_once_and_for_the_next_search(
    cloud: Cloud, target: AzuremlTarget, store: Path
) -> None:
    first = target.info()
    count = len(cloud.jobs.jobs)
    with opened(store) as another:
        assert another.info().fingerprint == first.fingerprint
    assert len(cloud.jobs.jobs) == count
    assert first.name == "aml"
    assert first.boot_id == "azureml models/cluster", "no job runs where another target measures"


def test_what_azure_gets_of_a_job(
    cloud: Cloud, target: AzuremlTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.submit(call("add", a=1, b=2)).result(_ENDS_S)
    job = [*cloud.jobs.jobs.values()][-1]
    properties = job.body["properties"]
    assert not (properties.get("limits") or {}).get("timeout")
    assert {name: given["mode"] for name, given in properties["inputs"].items()} == {
        "jobs": "Download",
        "paretune": "Download",
    }
    assert "git" not in json.dumps(properties["properties"]).replace("azureml.git.dirty", "")
    assert job.environment is not None
    assert job.environment["properties"]["image"] == "registry/image:1"
    target.submit(call("add", 60.0, a=2, b=2)).result(_ENDS_S)
    limits = [*cloud.jobs.jobs.values()][-1].body["properties"]["limits"]
    assert limits["timeout"] in ("PT11M", "PT660S"), "its limit, and the grace of every far side"


def test_a_token_is_in_the_jobs_environment_and_nowhere_else(
    cloud: Cloud, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    without = opened(store, hf_token=True, network=True)
    with pytest.raises(UsageError, match="HF_TOKEN, which is not set"):
        without.info()
    without.close()
    secret = "hf_this_is_the_secret"
    monkeypatch.setenv("HF_TOKEN", secret)
    with opened(store, hf_token=True, network=True) as target:
        result = target.submit(TOKEN).result(_ENDS_S)
    assert result.value == "***", "it was there, and no result has it"
    assert not cloud.holding(secret.encode())
    job = [*cloud.jobs.jobs.values()][-1]
    assert job.body["properties"]["environmentVariables"] == {"HF_TOKEN": secret}
    assert secret not in job.body["properties"]["command"]
    for path in store.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    with opened(store, hf_token=True) as target:
        result = target.submit(TOKEN).result(_ENDS_S)
    assert result.value is None, "the network is off"


def test_a_busy_service_and_a_short_outage_end_no_job(cloud: Cloud, target: AzuremlTarget) -> None:
    future = target.submit(call("sleep", seconds=3))
    name = running(cloud, "sleep")
    cloud.service.plan("GET", f"/jobs/{name}$", 429, times=2, Retry_After="1")
    cloud.service.plan("GET", f"/runs/{name}/details$", 500, times=2)
    assert future.result(_ENDS_S).status is JobStatus.OK
    assert not cloud.service.plans
    future = target.submit(call("sleep", seconds=2))
    running(cloud, "sleep")
    cloud.proxy.cut = True
    time.sleep(1.0)
    cloud.proxy.cut = False
    cloud.proxy.refused.clear()
    assert future.result(_ENDS_S).status is JobStatus.OK


def test_an_answer_that_is_lost_submits_a_job_once(cloud: Cloud, target: AzuremlTarget) -> None:
    target.info()
    cloud.service.lose_answer("PUT", "/jobs/")
    count = len(cloud.jobs.jobs)
    assert target.submit(call("add", a=3, b=4)).result(_ENDS_S).value == 7
    assert len(cloud.jobs.jobs) == count + 1


def test_a_node_that_is_lost_is_a_transient_crash(cloud: Cloud, target: AzuremlTarget) -> None:
    future = target.submit(call("sleep", seconds=900))
    cloud.jobs.kill(running(cloud, "sleep"))
    result = future.result(_ENDS_S)
    assert (result.status, result.transient) == (JobStatus.CRASHED, True)
    assert "failed in Azure without a result" in str(result.reason)
    future = target.submit(call("sleep", seconds=901))
    cloud.jobs.cancel(running(cloud, "sleep"))
    result = future.result(_ENDS_S)
    assert (result.status, result.transient) == (JobStatus.CRASHED, True), "not by this side"


def test_a_cancelled_job_is_cancelled_in_azure(cloud: Cloud, target: AzuremlTarget) -> None:
    future = target.submit(call("sleep", seconds=902))
    name = running(cloud, "sleep")
    begun = time.monotonic()
    target.cancel(future)
    assert future.result(_ENDS_S).status is JobStatus.CANCELLED
    until(cloud, lambda: cloud.jobs.jobs[name].status == "Canceled")
    assert time.monotonic() - begun < 30.0


def test_a_job_of_a_killed_search_is_found_again(cloud: Cloud, store: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.azure.test_target import opened, call\n"
        "opened(Path(sys.argv[1])).submit(call('sleep', seconds=5)).result()\n"
    )
    command = [sys.executable, "-c", program, str(store)]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    with subprocess.Popen(command, env=environment) as process:
        name = running(cloud, "sleep")
        process.send_signal(signal.SIGKILL)
    count = len(cloud.jobs.jobs)
    with opened(store) as target:
        result = target.submit(call("sleep", seconds=5)).result(_ENDS_S)
    assert result.status is JobStatus.OK, result.reason
    assert len(cloud.jobs.jobs) == count
    assert cloud.jobs.jobs[name].status == "Completed"


def test_one_that_nobody_asks_for_again_is_cancelled(cloud: Cloud, store: Path) -> None:
    with opened(store) as target:
        future = target.submit(call("sleep", seconds=903))
        name = running(cloud, "sleep")
        cloud.service.tokens.revoked_before = time.time() + 1
        with pytest.raises(TargetRefusesError, match="the credentials have expired"):
            future.result(_ENDS_S)
    assert cloud.jobs.jobs[name].status == "Running", "the same command finds it"
    cloud.service.tokens.revoked_before = 0.0
    with opened(store) as target:
        target.info()
    until(cloud, lambda: cloud.jobs.jobs[name].status == "Canceled")


@pytest.mark.parametrize("denied", ["PUT .*/jobs/", "PUT .*/environments/"])
def test_a_role_that_may_not_submit_is_said_at_the_first_job(
    cloud: Cloud, tmp_path: Path, denied: str
) -> None:
    cloud.service.denied.append(denied)
    target = opened(tmp_path)
    with pytest.raises(CredentialsError, match=r"'aml' cannot be used.*permission denied"):
        target.info()
    target.close()


def test_packages_that_cannot_be_installed_are_said_at_the_first_job(
    cloud: Cloud, tmp_path: Path
) -> None:
    place = Place(COMPUTE, "registry/image:1", PYTHON, ("numpy==0.0.1",))
    target = AzuremlTarget(tmp_path, name="aml", workspace=NAMED, place=place)
    with pytest.raises(UsageError, match=r"in Azure failed: .*packages cannot be installed"):
        target.info()
    target.close()


def test_results_that_are_no_results_cost_their_job_only(
    cloud: Cloud, target: AzuremlTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.info()
    keep = cloud.jobs._keep

    def damaged(folder: Path, uri: str) -> None:
        (folder / "results.jsonl").write_bytes(b'{"type": "result", "id": 1, "status": 7}\n')
        keep(folder, uri)

    with monkeypatch.context() as patch:
        patch.setattr(cloud.jobs, "_keep", damaged)
        result = target.submit(call("add", a=5, b=5)).result(_ENDS_S)
    assert (result.status, result.transient) == (JobStatus.FAILED, True)
    assert "cannot be read" in str(result.reason)
    assert target.submit(call("add", a=5, b=5)).result(_ENDS_S).value == 10


def test_a_file_with_another_content_than_announced_is_not_taken_over(
    cloud: Cloud,
    target: AzuremlTarget,
    network: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target.info()
    keep = cloud.jobs._keep

    def damaged(folder: Path, uri: str) -> None:
        for path in (folder / "files").iterdir():
            path.write_bytes(b"x" * path.stat().st_size)
        keep(folder, uri)

    monkeypatch.setattr(cloud.jobs, "_keep", damaged)
    result = target.submit(Job(build(network, tmp_path / "here"))).result(_ENDS_S)
    assert (result.status, result.transient) == (JobStatus.FAILED, True)
    assert "was not taken over" in str(result.reason)


def test_a_log_that_is_listed_before_it_is_there_fails_no_job(
    cloud: Cloud, target: AzuremlTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = cloud.jobs._signed
    monkeypatch.setattr(cloud.jobs, "_signed", lambda name: signed(f"not-yet/{name}"))
    task = Call("subprocess:check_call", {"args": ["sh", "-c", "echo a line of the job; sleep 3"]})
    result = target.submit(Job(task, Limits(), tmp_path / "log")).result(_ENDS_S)
    assert result.status is JobStatus.OK, result.reason


def test_the_log_is_streamed_while_the_job_runs(
    cloud: Cloud, target: AzuremlTarget, store: Path, tmp_path: Path
) -> None:
    shell = ["sh", "-c", "echo a line of the job; sleep 6"]
    task = Call("subprocess:check_call", {"args": shell})
    future = target.submit(Job(task, Limits(), tmp_path / "log"))
    name = running(cloud, "check_call")
    file = store / "azureml" / "logs" / f"{name}.log"
    until(cloud, lambda: file.exists() and "a line of the job" in file.read_text())
    assert not future.done()
    assert future.result(_ENDS_S).status is JobStatus.OK
    assert "a line of the job" in (tmp_path / "log").read_text()
