"""Prepares a machine behind ssh: an environment with what a worker needs there.

`paretune.targets.launchers.far_setup` runs there; here it is decided what it does. Each step can be
repeated: an environment that is complete is taken as it is, one that is not is completed.
"""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json, digest
from paretune.core.stamps import file_digest
from paretune.targets.launchers.examined import examine
from paretune.targets.launchers.far_program import OTHER_FOLDER, messages
from paretune.targets.launchers.far_setup import WHEELS, name_of
from paretune.targets.launchers.wheelhouse import bundled_pip, download
from paretune.targets.launchers.wish import Wish, module_of
from paretune.targets.transports.bounded import Stalled
from paretune.targets.transports.ssh import SshHost

_NEEDED_BYTES = {"torch": 4e9, "onnxruntime-gpu": 2e9, "transformers": 9e8, "": 4e8}
"""Free disk space that an installation needs, by the largest package of it."""
_GPU_WHEELS = ("Linux", "x86_64")
"""The system and architecture that the GPU packages of the runtimes are for."""
_BUSY = "another installation"
_WAIT = "Wait until it has ended, and run the command again."
_OTHER_INDEX = (
    "Not every index has this build: have pip use the one that it came from (of PyTorch: "
    "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu), here or there, or give a folder "
    "with wheels: --wheelhouse DIR."
)
_SILENT_S = 120.0
_STALLED_S = 300.0
_PIECE = 1 << 20


class InstallError(UsageError):
    """Packages could not be installed from an index there."""


class Device:
    """A machine that is prepared.

    Args:
        host: It.
        wish: What is wanted of it.
        say: Takes a line about each step.

    Raises:
        UsageError: It cannot be reached, has no suitable Python, no space, no writable folder, or
            no GPU though one is wanted.
    """

    def __init__(self, host: SshHost, wish: Wish, say: Callable[[str], None]) -> None:
        self._host, self._wish, self._say = host, wish, say
        self._requirements = wish.requirements()
        self._program, self.found = examine(host, wish.python, wish.folder)
        found = self.found
        runs_on = [found.executable, found.version, found.system, found.machine, [*found.libc]]
        made_of = [[*self._requirements], *runs_on]  # several machines may share a home folder
        self._name = digest(made_of).partition(":")[2][:16]
        self._place = PurePosixPath(self.found.store, "env", self._name)
        if wish.gpu:
            self._check_gpu()
        if not self.is_prepared:
            self._check_space()

    @property
    def python(self) -> str:
        """The interpreter of the environment there, whether it is made already or not."""
        return str(self._place / "bin" / "python")

    @property
    def is_prepared(self) -> bool:
        """Whether the environment is complete."""
        return self._name in self.found.environments

    def describe(self) -> str:
        """Return what the machine is, in one line."""
        found = self.found
        libc = " ".join(filter(None, found.libc))
        return (
            f"{self._host.host}: Python {found.version} ({found.executable}), {found.system} "
            f"{found.machine}{', ' if libc else ''}{libc}, "
            f"{''.join(f'{gpu}, ' for gpu in found.gpus)}{found.free / 1e9:.1f} GB free in "
            f"{found.store}"
        )

    def plan(self) -> str:
        """Return what `prepare` does, in one line."""
        host = self._host.host
        if self.is_prepared:
            return f"{host}: the environment {self._place} is complete"
        where = "wheels that are copied from here" if self._copies else "its package index"
        return (
            f"{host}: makes the environment {self._place} with "
            f"{self.found.uv or 'venv and pip'}, from {where}: {', '.join(self._requirements)}"
        )

    def prepare(self) -> None:
        """Make the environment, or complete it; does nothing if it is complete.

        Raises:
            UsageError: It could not be made; says what failed there.
            ConnectionLostError: The connection was lost; the same call again continues.
        """
        if self.is_prepared:
            return
        if not self._copies:
            try:
                self._make(None)
                return
            except InstallError as error:
                self._say(f"  not from an index there: {error.message.partition(' failed: ')[2]}")
                self._say("  wheels are downloaded here and copied")
                self._copy_and_make(error)
        else:
            self._copy_and_make(None)

    def _check_space(self) -> None:
        needed = next(
            size
            for name, size in _NEEDED_BYTES.items()
            if any(each.startswith(name) for each in self._requirements)
        )
        if self.found.free < needed:
            raise UsageError(
                f"{self._host.host}: {self.found.free / 1e9:.1f} GB are free in "
                f"{self.found.store}, expected {needed / 1e9:.1f} GB for the packages",
                hint=OTHER_FOLDER,
            )

    def _check_gpu(self) -> None:
        host, found = self._host.host, self.found
        if (found.system, found.machine) != _GPU_WHEELS:
            raise UsageError(
                f"{host}: the runtimes have GPU packages for {' '.join(_GPU_WHEELS)}, found "
                f"{found.system} {found.machine}",
                hint="Without --gpu it measures with its processor.",
            )
        if not found.gpus:
            raise UsageError(
                f"{host}: no NVIDIA GPU was found: `nvidia-smi -L` lists none there",
                hint="Install the driver there, or leave --gpu out: it measures with its "
                "processor then.",
            )

    @property
    def _copies(self) -> bool:
        wish, found = self._wish, self.found
        return wish.copy_wheels or wish.wheelhouse is not None or not (found.uv or found.pip)

    def _copy_and_make(self, before: InstallError | None) -> None:
        """Download wheels here, copy those that are missing there, and install them."""
        with tempfile.TemporaryDirectory(prefix="paretune-wheels-") as folder:
            # An environment without pip is made in a moment, and pip runs from its wheel.
            pip = [] if self.found.uv else bundled_pip()
            names = [*self._requirements]
            if not (pip or self.found.uv or self.found.pip):
                names.append("pip")
            try:
                wheels = download(names, self.found.platform, Path(folder), self._wish.wheelhouse)
            except UsageError as error:
                text = f"{before.message}\nand {error.message}" if before else error.message
                marked = any("+" in each and each in error.message for each in names)
                raise UsageError(text, hint=_OTHER_INDEX if marked else error.hint) from error
            there = f"{self._place}{WHEELS}"
            self._send([*pip, *wheels], there)
            self._make(there)

    def _send(self, wheels: Sequence[Path], there: str) -> None:
        listed: list[Json] = [[w.name, w.stat().st_size, file_digest(w)] for w in wheels]
        answer = self._program.answer("missing", there, given=f"{json.dumps(listed)}\n".encode())
        wanted = answer.get("missing")
        if not isinstance(wanted, list):
            raise UsageError(
                f"{self._host.host}: it does not say which wheels are missing in {there}",
                hint=f"What does `ssh {self._host.host} true` print?",
            )
        files = [each for each in listed if each[0] in wanted]
        sent = [wheel for wheel in wheels if wheel.name in wanted]
        kept = f"; {len(listed) - len(files)} are there" if len(files) < len(listed) else ""
        total = sum(wheel.stat().st_size for wheel in sent)
        self._say(f"  copying {len(files)} wheels, {total / 1e6:.1f} MB{kept}")
        if files:
            self._take(files, sent, there)

    def _take(self, files: Sequence[Json], wheels: Sequence[Path], there: str) -> None:
        with (
            self._program.running("take", there) as channel,
            Stalled(_STALLED_S, channel.kill) as stalled,
        ):
            stream, broken = stalled.watched(channel.writer), None
            try:
                stream.write(f"{json.dumps(files)}\n".encode())
                for wheel in wheels:
                    with open(wheel, "rb") as file:
                        while piece := file.read(_PIECE):
                            stream.write(piece)
                channel.writer.flush()
            except BrokenPipeError:  # what the far side reports is a better reason
                broken = "it was closed"
            message = next(messages(channel), {})
            if message.get("taken") == len(files):
                return
            if "failed" in message:
                said = str(message["failed"])
                raise UsageError(
                    f"{self._host.host}: wheels cannot be kept in {there}: {said}",
                    hint=_WAIT if _BUSY in said else OTHER_FOLDER,
                )
            why = f"it took nothing for {_STALLED_S:.0f} s" if stalled.happened else broken
            raise self._program.lost(channel, why)

    def _make(self, wheels: str | None) -> None:
        request = {
            "place": str(self._place),
            "uv": self.found.uv,
            "requirements": {each: module_of(name_of(each)) for each in self._requirements},
            "wheels": wheels,
        }
        step = "starting"
        with (
            self._program.running("make") as channel,
            Stalled(_SILENT_S, channel.kill) as stalled,
        ):
            with suppress(BrokenPipeError):  # there is no message then
                channel.writer.write(f"{json.dumps(request)}\n".encode())
                channel.writer.flush()
            for message in messages(channel):
                stalled.moved()
                if "step" in message:
                    step = str(message["step"])
                    self._say(f"  {step}")
                if "failed" in message:
                    raise self._failure(step, str(message["failed"]), from_index=wheels is None)
                if "packages" in message:
                    return
            why = f"it reported nothing for {_SILENT_S:.0f} s" if stalled.happened else None
            raise self._program.lost(channel, why)

    def _failure(self, step: str, said: str, *, from_index: bool) -> UsageError:
        """Return the error for what failed there."""
        text = f"{self._host.host}: {step} in {self._place} failed: {_reason(said)}"
        if any(each in said.lower() for each in ("no space left", "quota exceeded")):
            return UsageError(text, hint=OTHER_FOLDER)
        if _BUSY in said:
            return UsageError(text, hint=_WAIT)
        if step == "installing packages" and from_index:
            return InstallError(text)
        if step == "making the environment":
            return UsageError(text, hint="Debian: apt install python3-venv; or install uv there.")
        remove = shlex.quote(shlex.join(["rm", "-r", str(self._place)]))  # for both shells
        return UsageError(
            text,
            hint=f"Remove the folder there (ssh {self._host.host} {remove}) and run the command "
            "again.",
        )


def _reason(said: str) -> str:
    """Return the line of a program's last words that says what is wrong."""
    lines = [line.strip() for line in reversed(said.splitlines()) if line.strip()] or [said]
    begins = [line for line in lines if line.lower().startswith("error")]
    return next(iter((*begins, *(line for line in lines if "error" in line.lower()), *lines)))
