"""What a machine behind ssh is, before anything of ours is there: its Python, folder and space."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic import StringConstraints as Constraints

from paretune.core.errors import UsageError
from paretune.targets.launchers.far_program import OTHER_PYTHON, FarProgram
from paretune.targets.launchers.installed import LEAST_PYTHON
from paretune.targets.launchers.wheelhouse import Platform
from paretune.targets.transports.host import CommandError
from paretune.targets.transports.ssh import SshHost

_PYTHONS = ("python3", "python3.13", "python3.12", "python3.11", "python3.14", "python3.15")
_OF_UV = ' "$HOME"/.local/share/uv/python/cpython-3.1[1-9]*/bin/python3'
_FIND = (
    'cd || exit; echo; code=$1; shift; for each in "$@"%s; do '
    'found=$(command -v "$each" 2>/dev/null) || continue; '
    'version=$("$found" -c "$code" 2>/dev/null </dev/null); '
    '[ -n "$version" ] && echo "$version $found"; done; true'
)
"""In one line: see `one_line`. A line break comes first: what a login prints may have none."""
_VERSION = "import sys; print('%d.%d.%d' % sys.version_info[:3])"


def _printable(text: str) -> str:
    """Return a text that the file of known targets may have."""
    if not text.isprintable():
        raise ValueError("it has invisible characters")
    return text


_Text = Annotated[str, Constraints(min_length=1, max_length=4000), AfterValidator(_printable)]
_Plain = Annotated[str, Constraints(max_length=40, pattern=r"^[\w.+-]*$")]


class Found(BaseModel):
    """What a machine and the chosen interpreter on it are (`far_setup.look`).

    Attributes:
        python: The interpreter's version.
        executable: Its path.
        bits: Of its addresses.
        machine: The architecture.
        system: The operating system.
        libc: The C library and its version.
        markers: What requirements may depend on.
        store: The folder for models, data and environments.
        reason: Why that cannot be written; None: it can.
        free: Free disk space there, in bytes.
        uv: The path of uv; None: there is none.
        venv: Whether the interpreter can make environments.
        pip: Whether it can put pip into them.
        environments: The complete ones there, by name.
        gpus: The NVIDIA GPUs that its driver lists.
    """

    model_config = ConfigDict(frozen=True)

    python: tuple[int, int, int]
    executable: _Text
    bits: Literal[32, 64]
    machine: _Plain
    system: _Plain
    libc: tuple[_Plain, _Plain]
    markers: Mapping[str, Annotated[str, Field(max_length=400)]]
    store: _Text
    reason: str | None
    free: int
    uv: _Text | None
    venv: bool
    pip: bool
    environments: tuple[_Plain, ...]
    gpus: tuple[_Text, ...] = ()

    @property
    def version(self) -> str:
        """The interpreter's version as text."""
        return ".".join(map(str, self.python))

    @property
    def platform(self) -> Platform:
        """What wheels must be for."""
        short = self.version.rpartition(".")[0]
        version = {"python_version": short, "python_full_version": self.version}
        return Platform(self.machine, self.libc, {**self.markers, **version})


def examine(host: SshHost, python: str | None, folder: str | None) -> tuple[FarProgram, Found]:
    """Connect, choose an interpreter, and check what a worker needs.

    Args:
        host: The machine.
        python: The interpreter to take; None: the first that fits.
        folder: The folder there; None: the default one.

    Raises:
        UsageError: It cannot be reached, or has no suitable Python or no writable folder.
    """
    program = FarProgram(host, _chosen(host, python))
    try:
        found = Found.model_validate(program.answer("look", folder or ""))
    except ValidationError as error:
        detail = error.errors()[0]
        raise UsageError(
            f"{host.host}: {program.python} is not a usable Python interpreter: it reports "
            f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}",
            hint=OTHER_PYTHON,
        ) from error
    _check(host.host, found)
    return program, found


def _chosen(host: SshHost, given: str | None) -> str:
    """Return the interpreter to take.

    Raises:
        UsageError: There is none of a suitable version.
    """
    if given is not None and given.startswith("~/"):
        given = f"./{given[2:]}"
    names, more = (_PYTHONS, _OF_UV) if given is None else ((given,), "")
    command = ("sh", "-c", _FIND % more, "sh", _VERSION, *names)
    try:
        said = host.run(*command).decode(errors="replace")
    except CommandError as error:
        raise UsageError(
            f"{host.host}: expected an account that runs `sh` in its home folder: {error.reason}",
            hint=f"`ssh {host.host} 'cd && pwd'` must print that folder.",
        ) from error
    seen = re.findall(r"^(\d{1,3})\.(\d{1,3})\.(\d{1,3}) (\S.*)$", said, re.MULTILINE)
    for *version, path in seen:
        if tuple(map(int, version)) >= LEAST_PYTHON:
            return str(path)
    least = ".".join(map(str, LEAST_PYTHON))
    there = ", ".join(f"{path} is {'.'.join(version)}" for *version, path in seen)
    if given is not None and not there:
        there = f"{given!r} is not a Python interpreter"
    raise UsageError(
        f"{host.host}: expected Python {least} or later: {there or 'there is no Python'}",
        hint="Install one there (Debian: apt install python3; or `uv python install 3.12`), or "
        "name another one: --python PATH.",
    )


def _check(host: str, found: Found) -> None:
    if found.bits != 64:
        raise UsageError(
            f"{host}: {found.executable} is a {found.bits}-bit Python, expected 64 bits: the "
            "runtimes have no packages for it",
            hint=f"Install a 64-bit system there. {OTHER_PYTHON}",
        )
    if found.reason is not None:
        raise UsageError(
            f"{host}: the folder {found.store} cannot be written: {found.reason}",
            hint="Make it writable, or name another one: --folder DIR.",
        )
    if not (found.venv or found.uv):
        raise UsageError(
            f"{host}: {found.executable} has no module venv, and there is no uv",
            hint="Install one of them there (Debian: apt install python3-venv).",
        )
