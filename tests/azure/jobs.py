"""The job service: it runs the command of a job in a process of its own, as a compute would.

Inputs are brought from the blob storage before, outputs go there afterwards, and what the command
prints is an append blob that grows meanwhile. The packages are those of the job's conda file: its
pip requirements, in a virtual environment that also sees the packages of the tests' environment,
but not its paretune. The image and conda itself are not used.
"""

from __future__ import annotations

import hashlib
import os
import queue
import re
import shutil
import signal
import site
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from tests.azure.storage import ACCOUNT, KEY

LOG = "user_logs/std_log.txt"
LOGS = "azureml"
_ENDED = ("Completed", "Failed", "Canceled")
_POLL_S = 0.1
_HIDDEN = re.compile(r"AZURE|HTTPS?_PROXY|NO_PROXY|REQUESTS_CA|HF_|PARETUNE|PYTHON", re.IGNORECASE)


@dataclass
class ServedJob:
    """A job of the service.

    Attributes:
        name: Its name.
        body: As it was submitted.
        environment: The environment version that it names.
        id: Its address in ARM.
        status: As Azure calls it.
        error: Why it failed.
        process: Its command, while it runs.
        cancelled: Whether its end was asked for.
    """

    name: str
    body: dict[str, Any]
    environment: dict[str, Any] | None
    id: str
    status: str = "Queued"
    error: str | None = None
    process: subprocess.Popen[bytes] | None = None
    cancelled: bool = False
    seen: list[str] = field(default_factory=list)


class JobService:
    """Runs jobs, one after another or several at once.

    Args:
        folder: Takes the files of jobs.
        container: Returns the SDK's client of a container of the blob storage.
        nodes: How many jobs run at once.
    """

    def __init__(self, folder: Path, container: Any, nodes: int = 1) -> None:
        self.folder, self._container = folder, container
        self.jobs: dict[str, ServedJob] = {}
        self.held = threading.Event()
        """While it is not set, jobs stay queued."""
        self.held.set()
        self._waiting: queue.SimpleQueue[ServedJob | None] = queue.SimpleQueue()
        self._environments = threading.Lock()
        self._inherited = {k: v for k, v in os.environ.items() if not _HIDDEN.match(k)}
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(nodes)]
        for thread in self._threads:
            thread.start()

    def submit(
        self, name: str, body: dict[str, Any], environment: dict[str, Any] | None, id: str
    ) -> tuple[int, Any]:
        """Take a job; returns the answer."""
        if name in self.jobs:
            code = {"code": "UserError", "message": f"A job with the name {name} already exists."}
            return 409, {"error": code}
        self.jobs[name] = ServedJob(name, body, environment, id)
        self._waiting.put(self.jobs[name])
        return 201, self._shown(self.jobs[name])

    def get(self, name: str) -> tuple[int, Any]:
        """Return the answer for a job's state."""
        job = self.jobs.get(name)
        if job is None:
            missing = {"code": "UserError", "message": f"The job {name} was not found."}
            return 404, {"error": missing}
        return 200, self._shown(job)

    def cancel(self, name: str) -> tuple[int, Any]:
        """End a job; returns the answer."""
        job = self.jobs[name]
        job.cancelled = True
        if job.status == "Queued":
            job.status = "Canceled"
        elif job.process is not None:
            _end(job.process)
        return 200, {}

    def details(self, name: str) -> tuple[int, Any]:
        """Return what the run history says of a job."""
        job = self.jobs.get(name)
        if job is None:
            return 404, {"error": {"code": "UserError", "message": "no such run"}}
        logs = {}
        if (self._place(job) / "log").exists():
            logs[LOG] = self._signed(f"{job.name}/{LOG}")
        wrong = None if job.error is None else {"error": {"message": job.error}}
        return 200, {"runId": name, "status": job.status, "logFiles": logs, "error": wrong}

    def kill(self, name: str) -> None:
        """Kill a job's command as a lost node would."""
        process = self.jobs[name].process
        assert process is not None
        os.killpg(process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End every job."""
        self.held.set()
        for job in list(self.jobs.values()):
            job.cancelled = True
            if job.process is not None:
                _end(job.process)
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(30.0)

    def _shown(self, job: ServedJob) -> dict[str, Any]:
        properties = {"properties": {}, "tags": {}, **job.body["properties"], "status": job.status}
        return {"id": job.id, "name": job.name, "properties": properties}

    def _place(self, job: ServedJob) -> Path:
        return self.folder / job.name

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            self.held.wait()
            if job.cancelled:
                continue
            try:
                self._run(job)
            except Exception as error:  # the job's end, so that no test waits for it
                job.error = f"{type(error).__name__}: {error}"
                job.status = "Failed"

    def _run(self, job: ServedJob) -> None:
        job.status = "Preparing"
        place, properties = self._place(job), job.body["properties"]
        (place / "work").mkdir(parents=True)
        (place / "tmp").mkdir()
        assert job.environment is not None, "the job names no environment"
        conda = job.environment["properties"]["condaFile"]
        python = self._environment(yaml.safe_load(conda) if isinstance(conda, str) else conda)
        paths = {}
        for name, given in (properties.get("inputs") or {}).items():
            paths[f"${{{{inputs.{name}}}}}"] = str(self._bring(given["uri"], place, name))
        for name in properties["outputs"]:
            (place / "outputs" / name).mkdir(parents=True)
            paths[f"${{{{outputs.{name}}}}}"] = str(place / "outputs" / name)
        command = properties["command"]
        for placeholder, path in paths.items():
            command = command.replace(placeholder, path)
        if job.cancelled:
            job.status = "Canceled"
            return
        status = self._run_command(job, command, python)
        for name, given in properties["outputs"].items():
            self._keep(place / "outputs" / name, given["uri"])
        if job.cancelled:
            job.status = "Canceled"
        elif status == 0:
            job.status = "Completed"
        else:
            job.error = f"Execution failed. User process exited with status {status}."
            job.status = "Failed"

    def _run_command(self, job: ServedJob, command: str, python: Path) -> int:
        place, properties = self._place(job), job.body["properties"]
        environment = {
            **self._inherited,
            "PARETUNE_MACHINE": str(self.folder / "machine"),  # it is not the one that measures
            "TMPDIR": str(place / "tmp"),  # a job's own, as its container is
            "PATH": f"{python.parent}:{self._inherited['PATH']}",
            **(properties.get("environmentVariables") or {}),
        }
        limit = (properties.get("limits") or {}).get("timeout")
        with open(place / "log", "wb") as log:
            job.process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=place / "work",
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        job.status = "Running"
        begun = time.monotonic()
        blob = self._container(LOGS).get_blob_client(f"{job.name}/{LOG}")
        blob.create_append_blob()
        shown = 0
        while True:
            ended = job.process.poll() is not None
            content = (place / "log").read_bytes()[shown:]
            if content:
                blob.append_block(content)
                shown += len(content)
            if ended:
                break
            if limit is not None and time.monotonic() - begun > _seconds(limit):
                _end(job.process)
            time.sleep(_POLL_S)
        return job.process.returncode

    def _bring(self, uri: str, place: Path, name: str) -> Path:
        """Return the file that an input is; a compute gives it a name of its own."""
        path = place / "inputs" / f"INPUT_{name}"
        path.parent.mkdir(exist_ok=True)
        store, _, blob = uri.partition("/datastores/")[2].partition("/paths/")
        with open(path, "wb") as out:
            self._container(store).download_blob(blob).readinto(out)
        return path

    def _keep(self, folder: Path, uri: str) -> None:
        store, _, prefix = uri.partition("/datastores/")[2].partition("/paths/")
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = f"{prefix.rstrip('/')}/{path.relative_to(folder).as_posix()}"
                with open(path, "rb") as source:
                    self._container(store).upload_blob(name, source, overwrite=True)

    def _environment(self, conda: dict[str, Any]) -> Path:
        """Return the interpreter of the environment that a conda file's pip part describes."""
        given = conda["dependencies"]
        pip = next(part["pip"] for part in given if isinstance(part, dict))
        wanted = f"{sys.version_info.major}.{sys.version_info.minor}"
        assert f"python={wanted}" in given, f"this Python is {wanted}, asked for was {given}"
        digest = hashlib.sha256("\n".join(pip).encode()).hexdigest()[:16]
        place = self.folder / "environments" / digest
        python = place / "bin" / "python"
        with self._environments:
            if (place / "ready").exists():
                return python
            shutil.rmtree(place, ignore_errors=True)
            run = (sys.executable, "-m")
            subprocess.run([*run, "venv", "--without-pip", str(place)], check=True)
            (own,) = place.glob("lib/python*/site-packages")
            (own / "tests.pth").write_text("".join(f"{p}\n" for p in site.getsitepackages()))
            file = place / "requirements.txt"
            file.write_text("".join(f"{line}\n" for line in pip))
            done = subprocess.run(
                [*run, "pip", "--python", str(python), "install", "-q", "-r", str(file)],
                capture_output=True,
                text=True,
                check=False,
                env=self._inherited,
            )
            assert done.returncode == 0, f"the packages cannot be installed: {done.stderr}"
            (place / "ready").touch()
        return python

    def _signed(self, name: str) -> str:
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        token = generate_blob_sas(
            ACCOUNT,
            LOGS,
            name,
            account_key=KEY,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        return f"https://{ACCOUNT}.blob.core.windows.net/{LOGS}/{name}?{token}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command with all that it started, as Azure does: SIGTERM first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            try:
                os.killpg(process.pid, number)
                process.wait(5.0)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def _seconds(duration: str) -> float:
    """Return an ISO 8601 duration of hours, minutes and seconds in seconds."""
    found = re.fullmatch(r"P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?", duration)
    assert found is not None, duration
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
