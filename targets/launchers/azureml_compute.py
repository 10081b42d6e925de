"""The compute on which jobs run: checked before the first one, and described by a small job."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from paretune.azure.client import AzureClient
from paretune.azure.failures import UnreachableError
from paretune.core import protocol
from paretune.core.device import TargetInfo, changed
from paretune.core.errors import (
    ConnectionLostError,
    DeviceChangedError,
    TargetLostError,
    TransientError,
    UsageError,
)
from paretune.core.jsontools import Json, digest, write_atomic
from paretune.core.permissions import Permissions
from paretune.core.stamps import Stamped, take
from paretune.targets.launchers import answers
from paretune.targets.launchers.azureml_jobs import AzureJobs, Place, refuse_failed
from paretune.targets.launchers.azureml_records import LOGS, OWN, Records
from paretune.targets.launchers.azureml_run import AzureRunner
from paretune.targets.launchers.wheel import build_wheel
from paretune.targets.transports.azure_blob import ROOT, AzureFiles


@dataclass(eq=False)
class Compute:
    """A compute of a workspace, with what jobs run with there.

    Attributes:
        name: The target's name.
        client: Of the workspace.
        place: The compute, and what jobs run with.
        files: The files of jobs.
        records: The jobs whose results were not taken.
        store: The artifact store of this machine.
        folder: Takes the wheel of paretune.
        permissions: What jobs may do.
        hf_token: Whether jobs get the HF_TOKEN of this process.
        device: What it is; None: it was not asked yet.
        away: Whether Azure was lost; it is asked again before the next job.
    """

    name: str
    client: AzureClient
    place: Place
    files: AzureFiles
    records: Records
    store: Path
    folder: Path
    permissions: Permissions
    hf_token: bool
    device: TargetInfo | None = None
    away: bool = False
    _beginning: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> TargetInfo:
        """Check, once, that jobs can run there; return what they run on.

        Raises:
            UsageError: They cannot.
            TargetLostError: Azure was away for too long, and still is.
        """
        with self._beginning:
            if self.device is None:
                self._token()  # before anything is asked of Azure
                try:
                    self.client.check()
                    self.client.check_compute(self.place.compute)
                    self.files.datastore.check_writable(ROOT)
                    self.device = self._described()
                except (TransientError, ConnectionLostError) as error:
                    raise UsageError(
                        f"the target {self.name!r} cannot be used: {error.message}",
                        hint="Run the same command again later.",
                    ) from error
                except UsageError as error:
                    message = f"the target {self.name!r} cannot be used: {error.message}"
                    raise type(error)(message, hint=error.hint) from error
            elif self.away:
                try:
                    self.client.check()
                except UnreachableError as error:
                    raise TargetLostError(f"{self.name}: {error.message}") from error
                self.away = False
            return self.device

    @property
    def key(self) -> str:
        """What tells this compute, image, package list and version of paretune from others."""
        place, workspace = self.place, self.client.workspace
        given: Json = [
            workspace.uri("", ""),
            *(place.compute, place.image, place.python, place.instance_type),
            *(place.instance_count, *place.requirements, self._wheel.sha256),
            *(place.secret or ()),
        ]
        return digest(given).removeprefix("sha256:")[:24]

    @cached_property
    def runner(self) -> AzureRunner:
        """Carries out jobs."""
        return AzureRunner(
            self.name,
            AzureJobs(self.client, self.place),
            self.files,
            self.store / LOGS,
            self._wheel,
            self.permissions,
            self._token(),
        )

    def compare(self, now: TargetInfo) -> None:
        """Require that a measurement was made on the device that the study is for.

        Args:
            now: Where it was made.

        Raises:
            DeviceChangedError: It was another one.
        """
        before = self.device
        assert before is not None
        if before.fingerprint != now.fingerprint:
            self._described_in.unlink(missing_ok=True)
            raise DeviceChangedError(
                f"the target {self.name!r} is not the device that it was: "
                f"{', '.join(changed(before, now))}",
                hint="Has the compute another size, or another image, by now? For the device as it "
                "is now, start another study (`--study DIR`).",
            )

    @property
    def _described_in(self) -> Path:
        return self.store / OWN / "described" / f"{self.key}.json"

    def _described(self) -> TargetInfo:
        """Return what a job has said of the compute, if necessary by running one."""
        file = self._described_in
        with contextlib.suppress(OSError, answers.AnswerError):
            known = answers.read(file.read_bytes())
            if isinstance(known, protocol.Described):
                return known.device
        claim = self.records.claim({"describe": file.stem}, None, None)
        try:
            ended = self.runner.carry_out(claim, None, threading.Event())
        except BaseException:
            self.runner.give_up(claim)
            raise
        claim.done()
        if ended.described is None:
            raise refuse_failed(claim.name, ended.state, ended.log.tail())
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, ended.described.line().decode())
        return ended.described.device

    @cached_property
    def _wheel(self) -> Stamped:
        """This paretune."""
        return take(build_wheel(self.folder))

    def _token(self) -> str:
        """Return the token for the Hugging Face hub; empty: jobs get none."""
        if not (self.hf_token and self.permissions.network):
            return ""
        token = os.environ.get("HF_TOKEN", "")
        if not token:
            raise UsageError(
                f"the target {self.name!r} passes on HF_TOKEN, which is not set",
                hint="Set it in the shell that runs the search, or write `hf_token: {key_vault: "
                "NAME, secret: NAME}`.",
            )
        return token
