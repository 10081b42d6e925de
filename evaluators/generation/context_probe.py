"""A process that holds a long context and nothing else: what that takes in memory.

`main`, given the payload as its input, prints ``{"peak_memory_mb"}`` as JSON. Like `probe`, it
imports the runtime alone: a worker's own peak would hold what else the worker imported.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.child_interpreter import calling
from paretune.core.errors import CandidateError
from paretune.core.model import Model
from paretune.evaluators.footprint_probe import peak_bytes, told_by
from paretune.runtimes.serving import open_session

_TIMEOUT_S = 600


def context_probe(payload: dict[str, Any]) -> dict[str, float]:
    """Fill a model's context once per stream, decode a few tokens, and read the peak memory.

    Args:
        payload: ``model`` and ``runtime`` as JSON, ``tokens`` before the first that is decoded,
            the ``decode`` ones, ``streams``, ``trust_remote_code``.

    Returns:
        ``peak_memory_mb``: the process's largest resident size, in 10^6 bytes.
    """
    tokens, decode = payload["tokens"], payload["decode"]
    try:
        session = open_session(
            Model.from_json(payload["model"]),
            RuntimeSettings.from_json(payload["runtime"]),
            trust_remote_code=payload["trust_remote_code"],
        )
        streams = [session, *(copy.copy(session) for _ in range(payload["streams"] - 1))]
        for stream in streams:
            stream.begin(tokens, len(decode) + 1)
        for token in decode:
            for stream in streams:
                stream.append((token,))
    except CandidateError as error:
        sys.exit(error.message)  # the last line is what is told of a process that failed
    return {"peak_memory_mb": peak_bytes() / 1e6}


def peak_in_a_process(payload: dict[str, Any]) -> float | str:
    """Return the peak of a process that holds the context, in 10^6 bytes, or what became of it.

    Args:
        payload: See `context_probe`.
    """
    command = calling("paretune.evaluators.generation.context_probe:main")
    try:
        ran = subprocess.run(
            command,
            input=json.dumps(payload),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"filling the context took more than {_TIMEOUT_S} s"
    told = told_by(ran, fills_memory=True)
    if isinstance(told, str):
        return f"the process that was to hold the context ended: {told}"
    return told["peak_memory_mb"]


def main() -> None:
    """Print what `context_probe` finds, as standard input asks."""
    found = context_probe(json.loads(sys.stdin.read()))
    sys.stdout.write("\n" + json.dumps(found) + "\n")
