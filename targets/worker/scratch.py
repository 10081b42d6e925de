"""Where a job keeps its temporary files: in the folder that its target empties afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from paretune.core.folders import remove_files

_jobs: list[Path] = []
"""The folder of this process's job, once it is known."""


def use_scratch(folder: str) -> None:
    """Have every temporary file of this job made where the target removes it afterwards."""
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    _jobs[:] = [Path(folder)]


@contextmanager
def temporary_folder(
    otherwise: Callable[[], AbstractContextManager[Path]], beside: Path | None = None
) -> Iterator[Path]:
    """Yield an empty folder in the job's own; no file is left in it at the end.

    The empty folders stay: the target removes them while no job waits.

    Args:
        otherwise: Makes the folder where there is no job, or its folder lies elsewhere.
        beside: Where the job's folder must lie; None: anywhere.
    """
    if not _jobs or beside not in (None, _jobs[0].parent):
        with otherwise() as folder:
            yield folder
        return
    place = Path(tempfile.mkdtemp(dir=_jobs[0]))
    try:
        yield place
    finally:
        remove_files(place)
