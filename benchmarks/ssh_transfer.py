"""How fast an artifact travels over ssh, beside rsync alone: python benchmarks/ssh_transfer.py.

An sshd of this script's own on a loopback port stands for the other machine. A file of random
bytes, as hard to compress as weights, is sent to its store and fetched back, each several times;
between them the same file goes through `ssh HOST 'cat > FILE'` and, where it is installed,
``rsync``. Then the file is a model's: how long a job takes whose model has arrived before, in a new
process that connects anew, until it can begin there. `--mb` is the size, `--rounds` how often.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from common import ROOT, save, table

from paretune.core.candidate import RuntimeSettings
from paretune.core.job import Job, Smoke
from paretune.core.model import Model, ModelKind
from paretune.core.stamps import Stamped, take
from paretune.models.handle import folder_digest
from paretune.targets.launchers.ssh import SshTarget
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.rsync import Rsync
from paretune.targets.transports.ssh import SshHost

sys.path.insert(0, str(ROOT))

from tests.targets.sshd import start

_HOST = "board"


def main() -> None:
    """Measure, print a table, save the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=float, default=500.0)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="paretune-transfer-") as place:
        sshd = start(Path(place) / "sshd")
        os.environ["PATH"] = f"{sshd.client}:{os.environ['PATH']}"
        try:
            found = measured(Path(place), int(given.mb * 1e6), given.rounds)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):  # a connection that ends meanwhile
                sshd.stop()
            sshd.process.kill()
    rows = [
        [name, statistics.median(each), min(each), max(each), given.mb / statistics.median(each)]
        for name, each in found.items()
    ]
    print(table(["what", "median s", "fastest s", "slowest s", "MB/s"], rows))
    print(save("ssh_transfer", {"mb": given.mb, "seconds": found}))


def measured(place: Path, size: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each way, round by round; the ways take turns."""
    model = place / "model"
    model.mkdir()
    with open(model / "weights.bin", "wb") as out:
        for left in range(size, 0, -(1 << 20)):
            out.write(os.urandom(min(left, 1 << 20)))
    file, far = take(model / "weights.bin"), place / "far"
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        target = opened(place)
        target.info()
        for name, way in ways(target, place, far, file).items():
            begin = time.perf_counter()
            way()
            found.setdefault(name, []).append(time.perf_counter() - begin)
        target.close()
    first = Model(ModelKind.ONNX, model, folder_digest(model))
    second_time(place, first)
    for _ in range(rounds):
        begin = time.perf_counter()
        second_time(place, first)
        found.setdefault("a job whose model is there", []).append(time.perf_counter() - begin)
    return found


def ways(target: SshTarget, place: Path, far: Path, file: Stamped) -> dict[str, Callable[[], Any]]:
    """Return what is compared; each sends or fetches the whole file."""
    back, copy = FileStore(place / "back"), place / "copy"
    back.discard([file.sha256])
    FileStore(far).discard([file.sha256])
    copy.unlink(missing_ok=True)
    command = ["ssh", _HOST, f"cat > {copy}"]

    def cat() -> None:
        with open(file.path, "rb") as source:
            subprocess.run(command, stdin=source, check=True)
        os.sync()

    found: dict[str, Callable[[], Any]] = {
        "sent": lambda: target.transport.send([file]),
        "fetched": lambda: target.transport.fetch({file.sha256: file.stamp.size}, back),
        "ssh and cat": cat,
    }
    if Rsync(SshHost(_HOST)).there():
        words = ["rsync", "--whole-file", "--fsync", str(file.path), f"{_HOST}:{place}/rsynced"]
        (place / "rsynced").unlink(missing_ok=True)
        found["rsync"] = lambda: subprocess.run(words, check=True)
    return found


def second_time(place: Path, model: Model) -> None:
    """Connect anew, and run a job with a model; it ends at once, as nothing can load the model."""
    target = opened(place)
    try:
        job = Job(Smoke(model=model, runtime=RuntimeSettings()))
        target.submit(job).result()
    finally:
        target.close()


def opened(place: Path) -> SshTarget:
    """Return a target with stores in a folder."""
    return SshTarget(
        place / "near",
        name=_HOST,
        host=_HOST,
        python=sys.executable,
        store=str(place / "far"),
    )


if __name__ == "__main__":
    main()
