"""Command jobs of a workspace: how one is made, how it ends, and what it prints meanwhile."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paretune.azure.client import AzureClient
from paretune.azure.failures import explained
from paretune.core.errors import UsageError

EXPERIMENT = "paretune"
ENDED = frozenset({"Completed", "Failed", "Canceled"})
_CANCELLED = "Canceled"
_LOG = "user_logs/std_log"
_MOST_LOG_BYTES = 64 << 20
"""Of a log; what follows is not streamed."""
_LOG_WITHIN_S = 10
_NO_GIT = {"azureml.git.dirty": "unknown"}
"""Set, it keeps the SDK from sending the address and the commit of the git repository in which the
user works."""


@dataclass(frozen=True)
class Place:
    """Where jobs run, and with what.

    Attributes:
        compute: The compute's name.
        image: The container image.
        python: Python's version, such as ``3.11``.
        requirements: Options and requirements of pip.
        instance_type: Of a Kubernetes compute; None: its default.
        instance_count: Nodes of one job.
        secret: Key vault and name of a secret that becomes HF_TOKEN; None: none.
    """

    compute: str
    image: str
    python: str
    requirements: tuple[str, ...]
    instance_type: str | None = None
    instance_count: int = 1
    secret: tuple[str, str] | None = None

    @property
    def conda(self) -> dict[str, Any]:
        """The conda environment: Python, pip, and all packages by pip."""
        packages = [*self.requirements]
        if self.secret is not None:
            packages += ["azure-identity", "azure-keyvault-secrets"]
        return {
            "name": "paretune",
            "channels": ["conda-forge"],
            "dependencies": [f"python={self.python}", "pip", {"pip": packages}],
        }


@dataclass(frozen=True)
class JobState:
    """What has become of a job.

    Attributes:
        status: As Azure calls it: ``Queued``, ``Running``, ``Completed``, ...
        reason: Why it failed, if Azure says so.
        logs: Addresses of its log files, by name.
    """

    status: str
    reason: str | None = None
    logs: Mapping[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.status in ENDED

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.status == _CANCELLED


class AzureJobs:
    """The command jobs of a workspace.

    Args:
        client: Of the workspace.
        place: Where they run.
    """

    def __init__(self, client: AzureClient, place: Place) -> None:
        self._client, self._place = client, place

    def submit(
        self,
        name: str,
        what: str,
        jobs: str,
        wheel: str,
        files: Mapping[str, str],
        out: str,
        seconds: float | None,
        variables: Mapping[str, str],
    ) -> None:
        """Submit a job.

        Args:
            name: Its name, which no other job has.
            what: What it does, to be shown.
            jobs: Address of the file that says what runs.
            wheel: Address of the wheel of paretune.
            files: Addresses of files, by their digests.
            out: Address of the folder that takes what it makes.
            seconds: How long it may run; None: no limit.
            variables: Environment variables of its process.

        Raises:
            CredentialsError: Jobs may not be submitted.
            UsageError: Azure refuses it.
            TransientError: The service is not reached.
        """
        from azure.ai.ml import Input, Output, command
        from azure.ai.ml.entities import Environment
        from azure.core.exceptions import ResourceExistsError

        place = self._place
        inputs = {"jobs": jobs, "paretune": wheel}
        program = [
            *("PYTHONPATH=${{inputs.paretune}}", "python", "-P", "-m"),
            *("paretune.targets.launchers.azureml_start", "${{inputs.jobs}}", "${{outputs.out}}"),
        ]
        if place.secret is not None:
            program += ["--secret", *map(shlex.quote, place.secret)]
        for number, (digest, address) in enumerate(files.items()):
            inputs[f"file_{number}"] = address
            program += ["--file", digest, f"${{{{inputs.file_{number}}}}}"]
        made = command(
            name=name,
            display_name=what,
            experiment_name=EXPERIMENT,
            properties=dict(_NO_GIT),
            command=" ".join(program),
            environment=Environment(image=place.image, conda_file=place.conda),
            environment_variables=dict(variables),
            compute=place.compute,
            inputs={
                key: Input(type="uri_file", path=address, mode="download")
                for key, address in inputs.items()
            },
            outputs={"out": Output(type="uri_folder", path=out, mode="upload")},
            instance_count=place.instance_count,
            instance_type=place.instance_type,
            timeout=None if seconds is None else max(1, round(seconds)),
        )
        with explained(f"the job {name} cannot be submitted"):
            try:
                self._client.ml.jobs.create_or_update(made)
            except ResourceExistsError:  # the answer to an earlier request was lost
                if self.state(name) is None:
                    raise

    def state(self, name: str) -> JobState | None:
        """Return what has become of a job; None if there is none of that name.

        Raises:
            CredentialsError: It may not be read.
            TransientError: The service is not reached.
        """
        from azure.core.exceptions import ResourceNotFoundError

        jobs = self._client.ml.jobs
        with explained(f"the job {name} cannot be read"):
            try:
                found = jobs.get(name)
            except ResourceNotFoundError:
                return None
            status = str(getattr(found.status, "value", found.status))
            if status in ("NotStarted", "Queued"):
                return JobState(status)
            try:
                # What the SDK's own `stream` reads; each public function prints.
                details = jobs._runs_operations.get_run_details(name)
            except ResourceNotFoundError:  # the run history knows it later than the workspace
                return JobState(status)
        reason = getattr(getattr(details.error, "error", None), "message", None)
        return JobState(status, reason, dict(details.log_files or {}))

    def cancel(self, name: str) -> None:
        """Cancel a job; one that has ended, or does not exist, stays as it is.

        Raises:
            CredentialsError: It may not be cancelled.
            TransientError: The service is not reached.
        """
        from azure.core.exceptions import HttpResponseError

        with explained(f"the job {name} cannot be cancelled"):
            try:
                self._client.ml.jobs.begin_cancel(name)
            except HttpResponseError as error:
                if error.status_code not in (400, 404, 409):
                    raise

    def log(self, state: JobState, seen: int) -> bytes:
        """Return what a job has printed since.

        Args:
            state: Of the job.
            seen: Bytes of it that are known.

        Raises:
            CredentialsError: It may not be read.
            TransientError: The service is not reached.
        """
        from azure.core.exceptions import HttpResponseError
        from azure.storage.blob import BlobClient

        address = next((a for n, a in sorted(state.logs.items()) if n.startswith(_LOG)), None)
        if address is None or seen >= _MOST_LOG_BYTES:
            return b""
        with explained("the log of the job cannot be read"):
            # It is read again soon: the SDK's own tries would hold up what is known of the job.
            blob = BlobClient.from_blob_url(
                address, retry_total=0, connection_timeout=_LOG_WITHIN_S, read_timeout=_LOG_WITHIN_S
            )
            try:
                most = _MOST_LOG_BYTES - seen
                return bytes(blob.download_blob(offset=seen, length=most).readall())
            except HttpResponseError as error:
                if error.status_code in (404, 416):  # not there yet; no more of it
                    return b""
                raise


def refuse_failed(name: str, state: JobState, tail: str) -> UsageError:
    """Return the error for a job that failed before a worker of paretune said anything.

    Args:
        name: The job's name.
        state: Of it.
        tail: The end of its log.
    """
    why = state.reason or "no reason was given"
    shown = f"; the last lines of its log:\n{tail}" if tail else ""
    return UsageError(
        f"the job {name} in Azure {state.status.lower()}: {why}{shown}",
        hint="Correct the image, the packages (`conda:`) or the compute; then run the same command "
        "again.",
    )
