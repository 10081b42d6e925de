"""Files that a job in Azure read, and that were not what they should be: no candidate's fault."""

from __future__ import annotations

from paretune.azure.inputs import find_file
from paretune.azure.workspace import Workspace
from paretune.core.errors import InputChangedError, UsageError
from paretune.core.job import Call, JobResult, JobStatus, Task
from paretune.targets.transports.azure_blob import AzureFiles
from paretune.targets.transports.files import other_content
from paretune.targets.transports.tasks import addresses_of, files_of

_HINT = (
    "What was measured before stays on record. Put the file back and give the same command to go "
    "on; or give a folder of its own (--study DIR) to a search of what is there now."
)


def check_files(task: Task, result: JobResult, files: AzureFiles, workspace: Workspace) -> None:
    """Find out whether a job failed because of a file that it read.

    One that was sent from here is sent again before the next job that reads it.

    Args:
        task: What ran, with its files.
        result: How it ended.
        files: The files in Azure.
        workspace: That of the target.

    Raises:
        InputChangedError: A data file that is read in place is another one by now, or is gone.
        CredentialsError: It may not be read any more.
        TransientError: The service is not reached.
    """
    if result.status is JobStatus.OK or isinstance(task, Call):
        return
    in_place, said = addresses_of(task), str(result.reason)
    for digest in files_of(task):
        if other_content(digest) in said and digest not in in_place:
            files.damaged(digest)
        elif other_content(digest) in said:
            raise _changed(in_place[digest], "has another content")
    if result.status is JobStatus.CRASHED:  # a file that is gone cannot even be handed to the job
        for address in in_place.values():
            try:
                find_file(address, workspace)
            except UsageError as error:
                if type(error) is not UsageError:  # the credentials
                    raise
                raise _changed(address, "is not there any more") from error


def _changed(address: str, how: str) -> InputChangedError:
    return InputChangedError(
        f"data file {address!r} changed in Azure during the search: it {how}", hint=_HINT
    )
