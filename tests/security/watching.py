"""Watches a command and all that it starts for connections to the outside, at the kernel.

``strace`` sees each system call that can reach out (connect, sendto, sendmsg, sendmmsg), whoever
makes it: Python, a library's own C++ or Rust code, a child, a child of a child.
"""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

# Follow children; stop at these calls only, so that the rest runs at full speed.
_OPTIONS = ("-f", "--seccomp-bpf", "-qq", "-e", "signal=none")
_CALLS = "trace=connect,sendto,sendmsg,sendmmsg"
_ADDRESS = re.compile(
    r'sin6?_port=htons\((?P<port>\d+)\).*?inet_(?:addr\(|pton\(AF_INET6, )"(?P<address>[^"]+)"'
)
_DNS = 53


def require_watcher() -> str:
    """Return strace's path; skips the test where it is absent or may not trace."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not here to watch for connections")
    tried = subprocess.run(
        [strace, *_OPTIONS, "-e", _CALLS, "true"], capture_output=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"strace may not trace here: {tried.stderr.decode().strip()[:200]}")
    return strace


def watched(
    command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a command; returns how it ended, and ``ADDRESS:PORT`` of each attempt to reach out.

    A name server counts as outside wherever it listens: a local one asks others.
    """
    strace = require_watcher()
    with tempfile.NamedTemporaryFile() as seen:
        ran = subprocess.run(
            [strace, *_OPTIONS, "-e", _CALLS, "-o", seen.name, *command],
            capture_output=True,
            text=True,
            check=False,
            env=dict(env),
            cwd=cwd,
        )
        calls = Path(seen.name).read_text(encoding="utf-8", errors="replace")
    return ran, [
        f"{found['address']}:{found['port']}"
        for found in _ADDRESS.finditer(calls)
        if int(found["port"]) == _DNS or not _stays_here(found["address"])
    ]


def _stays_here(address: str) -> bool:
    """Return whether an address is this machine's own."""
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
