"""A process that serves a model and nothing else: what it takes to load it, and in memory.

`main`, called with FOLDER KIND THREADS, prints ``{"load_s", "peak_memory_mb"}`` as JSON. It imports
the runtime alone.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import TransientError, UsageError
from paretune.models.containment import check_model
from paretune.runtimes.serving import required_runtime

if TYPE_CHECKING:
    import subprocess


def told_by(
    ran: subprocess.CompletedProcess[str], *, fills_memory: bool = False
) -> dict[str, float] | str:
    """Return what the process of a probe printed, or the last line of why it failed.

    Args:
        ran: The process.
        fills_memory: It takes as much memory as the model can ask for: SIGKILL is the kernel's
            answer to that, and no accident.

    Raises:
        TransientError: Something outside of it ended the process.
    """
    from paretune.core.exits import explain_exit, is_from_outside  # not in the probe's process

    said = ran.stderr.strip().splitlines()
    killed = fills_memory and ran.returncode == -signal.SIGKILL
    if killed and said:
        return said[-1]
    if ran.returncode < 0 and not killed and is_from_outside(ran.returncode):
        raise TransientError(
            f"a helper process was {explain_exit(ran.returncode, 0, oom_killer_ran=False)[1]}"
        )
    if ran.returncode < 0:
        return explain_exit(ran.returncode, 0, oom_killer_ran=False)[1]
    if ran.returncode != 0:
        return (said or [f"exit status {ran.returncode}"])[-1]
    found: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def probe(folder: Path, kind: str, settings: RuntimeSettings) -> dict[str, float]:
    """Load a model, generate a few tokens, and measure time and memory.

    Returns:
        ``load_s``: wall seconds from the import being done to the model being loaded;
        ``peak_memory_mb``: the process's largest resident size, in 10^6 bytes.
    """
    try:
        check_model(folder)
    except UsageError as error:
        sys.exit(error.message)  # the last line is what is told of a process that failed
    load_s = required_runtime(kind, settings.name).load_s(folder, settings)
    return {"load_s": load_s, "peak_memory_mb": peak_bytes() / 1e6}


def peak_bytes() -> int:
    """Return this process's largest resident size.

    Not ``getrusage``, where there is a choice: Linux carries that figure over from the process
    that started this one, which is many times larger.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Print what `probe` finds of the model that the command line names."""
    found = probe(
        Path(sys.argv[1]), sys.argv[2], RuntimeSettings.from_json(json.loads(sys.argv[3]))
    )
    sys.stdout.write("\n" + json.dumps(found) + "\n")
