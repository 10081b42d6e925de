"""A far side over ssh that lies, or sends what nobody asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil
from faulting.impostor import Impostor
from faulting.world import WITHIN_S, Came, Case, World

from paretune.core.job import JobResult, JobStatus
from paretune.store.artifacts import Store
from paretune.targets.transports.greeting import BEGIN

_OTHER_BYTES = """
kept = agent.Agent._kept
def spoiled(self, result):
    result = kept(self, result)
    for made in getattr(result.value, "made", ()):
        for file in made.files:
            path = self._arrivals._store.path(file.sha256)
            size = path.stat().st_size
            path.chmod(0o644)
            path.write_bytes(bytes(size))
    return result
agent.Agent._kept = spoiled
"""
_OTHER_RESULT = """
write = agent.Agent._write
def changed(self, line):
    message = json.loads(line)
    value = message.get("value")
    if message["type"] == "result" and isinstance(value, dict) and value.get("made"):
        made = value["made"]
        {change}
        line = json.dumps(message).encode() + b"\\n"
    write(self, line)
agent.Agent._write = changed
"""
_OTHER_DIGEST = _OTHER_RESULT.format(change='made[-1]["digest"] = "sha256:" + "0" * 64')
_LEADS_OUT = _OTHER_RESULT.format(change='made[-1]["files"][0][1] = "../../../../escaped"')
_ABSOLUTE = _OTHER_RESULT.format(change='made[-1]["files"][0][1] = {name!r}')
_ENDLESS_ANSWER = """
def endless(self, line):
    with self._sending:
        if json.loads(line)["type"] == "described":
            self._out.write(line)
            self._out.flush()
            return
        while True:
            self._out.write(b"x" * 65536)
agent.Agent._write = endless
"""
_ENDLESS_ERRORS = """
def complain():
    while True:
        sys.stderr.write("x" * 65536)
threading.Thread(target=complain, daemon=True).start()
"""
_NONSENSE = """
write = agent.Agent._write
def changed(self, line):
    message = json.loads(line)
    if message["type"] == "result":
        message["value"] = {"model": ["../../etc"], "made": 5, "bytes": "many"}
        line = json.dumps(message).encode() + b"\\n"
    write(self, line)
agent.Agent._write = changed
"""
_MOST_RSS = 400_000_000
"""By how much this process may grow while a far side writes without an end."""


def hostile(code: str = "", give: str = ":") -> Callable[[World], Came]:
    """Return what builds behind such a far side.

    Args:
        code: Runs in the agent before it begins.
        give: A shell command in the place of what sends files back.
    """

    def run(world: World) -> Came:
        escaped = world.folder / "escaped"
        impostor = Impostor(
            world.folder / "impostor", code.replace("{name!r}", repr(str(escaped))), give
        )
        world.python = str(impostor.python)
        target = world.open()
        target.info()
        near = world.folder / "near"
        job = world.build(near)
        outside = _files(world.folder, near)
        held = psutil.Process().memory_info().rss
        begin = time.monotonic()
        result: JobResult = target.submit(job).result(WITHIN_S)
        seconds = time.monotonic() - begin
        grown = psutil.Process().memory_info().rss - held
        store = Store(near)
        kept = [*store.objects(), *store.actions()]
        written = _files(world.folder, near) - outside
        ok = (
            result.status in (JobStatus.FAILED, JobStatus.CRASHED)
            and result.transient
            and not kept
            and not written
            and not escaped.exists()
            and grown < _MOST_RSS
        )
        what = f"{result.status}; kept here: {len(kept)}; written elsewhere: {len(written)}"
        return Came(what, result.transient, seconds, "this build", result.reason or "", ok)

    return run


def _files(folder: Path, without: Path) -> set[Path]:
    """Return the files of the near side outside of its store."""
    far = ("far", "sshd", "impostor")
    return {
        path
        for path in folder.rglob("*")
        if not path.is_relative_to(without) and path.relative_to(folder).parts[0] not in far
    }


def endless_errors(world: World) -> Came:
    """Build behind a far side that writes errors without an end."""
    world.python = str(Impostor(world.folder / "impostor", _ENDLESS_ERRORS).python)
    target = world.open()
    held = psutil.Process().memory_info().rss
    result = target.submit(world.build(world.folder / "near")).result(WITHIN_S)
    grown = psutil.Process().memory_info().rss - held
    ok = result.status is JobStatus.OK and grown < _MOST_RSS
    what = f"{result.status}; this process grew by {max(0, grown) / 1e6:.0f} MB"
    return Came(what, None, None, "nothing", result.reason or "", ok)


def greeting(world: World) -> Came:
    """Build behind a login that prints, the last line without a line break, at each command."""
    prints = "printf 'Welcome {1}\\n\\033]0;board\\007'"
    world.python = str(Impostor(world.folder / "impostor", environment=prints).python)
    result = world.open().submit(world.build(world.folder / "near")).result(WITHIN_S)
    kept = Store(world.folder / "near").objects()
    ok = result.status is JobStatus.OK and len(kept) == 1
    what = f"{result.status}; kept here: {len(kept)}"
    return Came(what, None, None, "nothing", result.reason or "", ok)


def cases() -> list[Case]:
    """Return the lies."""
    refused = "failed or crashed, transient; nothing is kept, nothing is written elsewhere"
    found = [
        ("a file has other bytes than its digest", hostile(_OTHER_BYTES)),
        ("an artifact has another digest than its files", hostile(_OTHER_DIGEST)),
        ("a name leads out of the artifact's folder", hostile(_LEADS_OUT)),
        ("a name is an absolute path", hostile(_ABSOLUTE)),
        ("a greeting without an end in place of files", hostile(give="exec cat /dev/zero")),
        (
            "a stream of files without an end",
            hostile(give=f"echo '{BEGIN.decode().strip()}'; printf P; exec cat /dev/zero"),
        ),
        ("an answer without an end", hostile(_ENDLESS_ANSWER)),
        ("an answer that is no result", hostile(_NONSENSE)),
    ]
    return [
        *(Case("ssh", f"hostile: {fault}", refused, run) for fault, run in found),
        Case(
            "ssh",
            "hostile: errors without an end",
            "ok: no more than the end of them is kept",
            endless_errors,
        ),
        Case("ssh", "the login prints at each command", "ok: nothing is lost", greeting),
    ]
