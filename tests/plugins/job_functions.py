"""What tests let a worker call: each does one thing that a bad candidate might do."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from paretune.testing.jobs import add, fail, raise_memory_error, segfault, sleep, spin

__all__ = ["add", "fail", "raise_memory_error", "segfault", "sleep", "spin"]


def echo(value: Any) -> Any:
    return value


def facts() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "modules": sorted(sys.modules),
        "environment": dict(os.environ),
        "stdin": sys.stdin.read(),
        "descriptors": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None,
    }


def run_sample(program: str, prompts: list[str | None], transformers: bool) -> list[list[int]]:
    """Run a package's program with each prompt (None: its own); return the tokens that it fed."""
    if not transformers:  # as if it were not installed
        sys.modules["transformers"] = None  # type: ignore[assignment]
    fed = []
    for prompt in prompts:
        sys.argv = [program, *([] if prompt is None else [prompt])]
        found = runpy.run_path(program, run_name="__main__")
        fed.append([int(token) for token in found["tokens"]])
    return fed


def not_json() -> object:
    return object()


def not_a_number() -> dict[str, float]:
    return {"value": float("nan"), "low": float("-inf")}


def raise_from(module: str, name: str, message: str) -> None:
    raise getattr(__import__(module, fromlist=[name]), name)(message)


def leave(status: int) -> None:
    sys.exit(status)


def drop_dead(status: int) -> None:
    print("last words")
    os._exit(status)


def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(900)


def end_from_outside(number: int, ready: str) -> None:
    """Have another process send a signal to this one, and make an error of one's own of it."""
    del ready
    command = f"import os, time; time.sleep(0.2); os.kill({os.getpid()}, {number})"
    with subprocess.Popen([sys.executable, "-c", command]):
        try:
            time.sleep(60)
        except BaseException as error:  # as some libraries do
            raise RuntimeError("the loader failed") from error


def lose_a_helper(number: int) -> str:
    from paretune.evaluators.footprint_probe import told_by

    command = [sys.executable, "-c", f"import os; os.kill(os.getpid(), {number})"]
    told = told_by(subprocess.run(command, capture_output=True, text=True, check=False))
    assert isinstance(told, str)
    return told


def kill_server() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(900)


def ignore_sigterm(ready: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(ready).touch()
    while True:
        time.sleep(900)


def clean_up_when_ended(sign: str) -> None:
    try:
        time.sleep(900)
    finally:
        Path(sign).touch()


def hold(megabytes: int, seconds: float) -> int:
    held = bytearray(b"x") * (megabytes * 1_000_000)
    time.sleep(seconds)
    return len(held)


def chatter(lines: int) -> str:
    for number in range(lines):
        print(f"line {number}")
    print("to stderr", file=sys.stderr)
    os.write(1, b"to descriptor 1\n")
    return "done"


_DAEMON = """
import os, sys, time
os.setsid()
if os.fork():
    os._exit(0)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(900)
"""


def leave_a_daemon(pid_file: str, seconds: float = 0.0) -> str:
    """Start a process that leaves session, group and parent."""
    subprocess.run([sys.executable, "-c", _DAEMON, pid_file], check=True)
    while not Path(pid_file).is_file() or not Path(pid_file).read_text():
        time.sleep(0.01)
    time.sleep(seconds)
    return "left"


def leave_a_forked_child(pid_file: str) -> str:
    """Leave a child that holds every descriptor open."""
    pid = os.fork()
    if pid == 0:
        time.sleep(900)
        os._exit(0)
    Path(pid_file).write_text(str(pid))
    return "left"


def grow_in_a_child(megabytes: int) -> None:
    code = f"x = bytearray(b'x') * {megabytes * 1_000_000}; import time; time.sleep(900)"
    subprocess.run([sys.executable, "-c", code], check=True)


def names_of(group: str) -> list[str]:
    from paretune.registry import names

    return list(names(group))


def grow_in_many_children(children: int, megabytes: int) -> None:
    """Hold memory in so many children at once, each far below what all hold together."""
    code = f"x = bytearray(b'x') * {megabytes * 1_000_000}; import time; time.sleep(900)"
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(children)]
    for process in running:
        process.wait()


def fill_the_disk(folder: str) -> None:
    """Write until there is no room (``/dev/full`` has none from the start)."""
    place = Path(folder)
    with open(place / "big" if place.is_dir() else place, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))


def exceed_a_file_size(folder: str) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    fill_the_disk(folder)


def leave_temporary_files(then: str) -> str:
    """Make temporary files in every usual way, and end as asked for."""
    folder = tempfile.mkdtemp()
    Path(folder, "big").write_bytes(bytes(1000))
    number, _ = tempfile.mkstemp()
    os.close(number)
    subprocess.run(["mktemp"], check=True, stdout=subprocess.DEVNULL)
    if then == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if then == "hang":
        ignore_sigterm(str(Path(folder, "ready")))
    return folder
