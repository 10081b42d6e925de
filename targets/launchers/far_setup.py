"""Prepares a machine for a worker: a program that is sent there and runs with its Python alone.

It uses the standard library only, as nothing of ours is installed there yet
(`paretune.targets.launchers.provision` sends it). Its first argument says what it does:

``look STORE``
    Prints what this interpreter and this machine are, and whether the folder can be written.
``missing FOLDER``
    Reads ``[[name, bytes, sha256], ...]`` from standard input; prints the names of those that are
    not in the folder with this content.
``take FOLDER``
    Reads such a list in one line, then the files' bytes one after another; keeps each whole file.
``make``
    Reads a request in one line, makes an environment and prints messages, a JSON object per line:
    ``{"step": ...}``, ``{"alive": true}`` every few seconds and, at the end, ``{"failed": what}``
    or ``{"packages": {name: version}}``. It ends with what it started as soon as standard input
    is closed, which is how a lost connection is noticed.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import platform
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib.util import find_spec
from typing import Any, BinaryIO, TextIO

WHOLE = "paretune.json"
"""A file of an environment that is complete; it holds what is installed."""
WHEELS = ".wheels"
"""Follows an environment's path: the folder of the wheels that are copied for it."""
_CACHE = ".cache"
"""Follows an environment's path: the folder for what uv and pip keep meanwhile."""
_EMPTY = "paretune.made"
"""A file of an environment that was made, but may have no packages yet."""
_ALIVE_EVERY_S = 5.0
_POLL_S = 0.2
_LOCK_WITHIN_S = 10.0
_PIECE = 1 << 20
_LAST_CHARACTERS = 2000
_UV_PLACES = ("~/.local/bin/uv", "~/.cargo/bin/uv", "/usr/local/bin/uv", "/opt/homebrew/bin/uv")
_IMPORTS = """
import importlib, json, sys
from importlib.metadata import version
found = {}
for each in sys.argv[1:]:
    name, module = each.split("=")
    importlib.import_module(module)
    found[name] = version(name)
print(json.dumps(found))
"""


class FailedError(Exception):
    """A step failed; the text says why."""


def look(store: str) -> dict[str, Any]:
    """Return what this interpreter and machine are.

    Args:
        store: The folder for models, data and environments; empty: the default one.
    """
    home = os.path.expanduser("~")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    store = store or os.environ.get("PARETUNE_STORE") or os.path.join(cache, "paretune")
    store = os.path.expanduser(store)
    reason = "there is no such user" if store.startswith("~") else None
    store = os.path.join(home, store)
    folder, free = store, 0
    while not os.path.lexists(folder):  # nothing is made yet
        folder = os.path.dirname(folder)
    if os.pathsep in store:
        reason = f"its path has a {os.pathsep!r}"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * 65536)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        reason = error.strerror
    return {
        "python": list(sys.version_info[:3]),
        "executable": sys.executable,
        "bits": 8 * struct.calcsize("P"),
        "machine": platform.machine(),
        "system": platform.system(),
        "libc": list(_libc()),
        "markers": _markers(),
        "store": store,
        "reason": reason,
        "free": free,
        "uv": _uv(),
        "venv": find_spec("venv") is not None,
        "pip": find_spec("ensurepip") is not None,
        "environments": _environments(os.path.join(store, "env")),
        "gpus": _gpus(),
    }


def _gpus() -> list[str]:
    """Return the names of the NVIDIA GPUs; none where there is no driver, or it does not answer."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in said.stdout.splitlines() if line.strip()]


def _libc() -> tuple[str, str]:
    """Return the name and version of the C library: ``glibc`` or ``musl``."""
    name, version = platform.libc_ver()
    if name == "glibc":
        return name, version
    triplet = sysconfig.get_config_var("HOST_GNU_TYPE") or ""
    # Since musl 1.2, wheels for 1.2 are what there is; it does not state its version to programs.
    return ("musl", "1.2") if "musl" in triplet else (name, version)


def _markers() -> dict[str, str]:
    """Return the values of this interpreter that requirements may depend on (PEP 508)."""
    version = ".".join(map(str, sys.implementation.version[:3]))
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": version,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "platform_python_implementation": platform.python_implementation(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


def _uv() -> str | None:
    """Return uv; a shell that ssh starts often lacks the folders in which it is installed."""
    places = (shutil.which("uv"), *map(os.path.expanduser, _UV_PLACES))
    return next((place for place in places if place and os.access(place, os.X_OK)), None)


def _environments(folder: str) -> list[str]:
    """Return the complete environments of a folder by name."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(n for n in names if os.path.isfile(os.path.join(folder, n, WHOLE)))


def missing(folder: str, files: list[list[Any]]) -> list[str]:
    """Return the names of the files that are not there with their content."""
    return [
        name
        for name, size, digest in files
        if not _is_there(os.path.join(folder, os.path.basename(name)), size, digest)
    ]


def _is_there(path: str, size: int, digest: str) -> bool:
    if not os.path.isfile(path) or os.path.getsize(path) != size:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest


def take(folder: str, files: list[list[Any]], source: BinaryIO) -> int:
    """Keep files that follow one another in a stream; returns their number.

    Raises:
        FailedError: The stream ended early, a file has another content than announced, or another
            process keeps or installs files of the same environment.
    """
    os.makedirs(folder, exist_ok=True)
    with open(folder.removesuffix(WHEELS) + ".lock", "a+") as lock:
        _hold(lock)
        _take(folder, files, source)
    return len(files)


def _take(folder: str, files: list[list[Any]], source: BinaryIO) -> None:
    for name, size, digest in files:
        path = os.path.join(folder, os.path.basename(name))
        hashed, left = hashlib.sha256(), size
        with open(path + ".part", "wb") as file:
            while left:
                piece = source.read(min(left, _PIECE))
                if not piece:
                    raise FailedError(f"{name}: {left} of {size} bytes did not arrive")
                hashed.update(piece)
                file.write(piece)
                left -= len(piece)
        if hashed.hexdigest() != digest:
            raise FailedError(f"{name} arrived damaged")
        os.replace(path + ".part", path)


def make(request: dict[str, Any]) -> dict[str, str]:
    """Make an environment, or complete one that was left behind.

    Args:
        request: ``place`` (its folder), ``uv`` (or null), ``requirements`` with the module that
            each brings, and ``wheels`` (the folder that they are installed from, or null for the
            index).

    Returns:
        What is installed, by distribution.

    Raises:
        FailedError: It could not be made.
    """
    place = request["place"]
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place + ".lock", "a+") as lock:
        _hold(lock)
        whole = os.path.join(place, WHOLE)
        if not os.path.isfile(whole):
            found = _make(place, request["uv"], request["requirements"], request["wheels"])
            with open(whole + ".part", "w") as file:
                json.dump(found, file)
            os.replace(whole + ".part", whole)
        for left in (WHEELS, _CACHE):
            shutil.rmtree(place + left, ignore_errors=True)
        with open(whole) as file:
            made: dict[str, str] = json.load(file)
        return made


def _make(
    place: str, uv: str | None, modules: dict[str, str], wheels: str | None
) -> dict[str, str]:
    python = os.path.join(place, "bin", "python")
    own_pip = None if wheels is None else _pip_in(wheels)
    cache = place + _CACHE
    os.makedirs(cache, exist_ok=True)
    begun = os.path.join(place, _EMPTY)
    has_pip = uv or own_pip or glob.glob(os.path.join(glob.escape(place), "lib/*/*/pip"))
    if not (os.path.isfile(begun) and has_pip):
        shutil.rmtree(place, ignore_errors=True)
        say(step="making the environment")
        without = [] if own_pip is None else ["--without-pip"]
        venv = [sys.executable, "-m", "venv", *without, place]
        run([uv, "venv", "--python", sys.executable, place] if uv else venv, cache)
        with open(begun, "w"):
            pass
    say(step="installing packages")
    pip = [python, *(("-m", "pip") if own_pip is None else (own_pip,))]
    options = ["--only-binary=:all:"]
    if uv:
        pip = [uv, "pip"]
        options += ["--python", python]
    else:
        options += ["--disable-pip-version-check", "--no-input", "--retries", "1"]
    if wheels is not None:
        options += ["--no-index", "--find-links", wheels]
    run([*pip, "install", *options, *modules], cache)
    say(step="importing them")
    plain = [f"{name_of(each)}={module}" for each, module in modules.items()]
    said = run([python, "-c", _IMPORTS, *plain], cache)
    found: dict[str, str] = json.loads(said.strip().splitlines()[-1])
    return found


def name_of(requirement: str) -> str:
    """Return the distribution that a requirement names."""
    return re.split(r"[^\w.-]", requirement)[0]


def _hold(lock: TextIO) -> None:
    """Lock a file for as long as it is open; one whose connection was lost ends within seconds.

    Raises:
        FailedError: Another process holds it.
    """
    end = time.monotonic() + _LOCK_WITHIN_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > end:
                lock.seek(0)
                raise FailedError(
                    f"another installation into it is running (process {lock.read(20).strip()})"
                ) from None
            time.sleep(_POLL_S)
        else:
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            return


def _pip_in(wheels: str) -> str | None:
    """Return pip's own wheel, which runs without being installed; None: there is none."""
    found = [n for n in os.listdir(wheels) if n.startswith("pip-") and n.endswith(".whl")]
    return os.path.join(wheels, sorted(found)[-1], "pip") if found else None


def run(command: list[str], cache: str) -> str:
    """Run a command to its end; returns what it wrote to its standard output.

    Args:
        command: It and its arguments.
        cache: A folder for what it keeps or needs meanwhile, so that nothing outside is changed.

    Raises:
        FailedError: It failed.
        SystemExit: Standard input was closed meanwhile; the command was ended.
    """
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment.update(PIP_CACHE_DIR=cache, UV_CACHE_DIR=cache, TMPDIR=cache)
    # A runtime that is imported reports nothing, nor makes a file for that in the home folder.
    environment.update(ORT_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_TELEMETRY="1")
    environment.update(PIP_USER="0", UV_LINK_MODE="hardlink")  # no link to a cache that is removed
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        try:
            _wait(process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        errors.seek(0)
        said = output.read().decode(errors="replace")
        if process.returncode != 0:
            wrong = errors.read().decode(errors="replace").strip() or said.strip()
            raise FailedError(wrong[-_LAST_CHARACTERS:] or f"exit status {process.returncode}")
        return said


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait for a command, and say that it goes on; end where standard input is closed."""
    told = time.monotonic()
    while process.poll() is None:
        if select.select([0], [], [], _POLL_S)[0]:  # nothing is ever sent
            sys.exit("the connection was closed")
        if time.monotonic() - told > _ALIVE_EVERY_S:
            told = time.monotonic()
            say(alive=True)


def say(**message: Any) -> None:
    """Print a message to the near side."""
    print(json.dumps(message), flush=True)


def main(what: str, *arguments: str) -> None:
    """Do what the first argument says."""
    print()  # a greeting of the login may have no line break at its end
    try:
        if what == "look":
            say(**look(*arguments))
            return
        request = json.loads(sys.stdin.buffer.readline())
        if what == "missing":
            say(missing=missing(arguments[0], request))
        elif what == "take":
            say(taken=take(arguments[0], request, sys.stdin.buffer))
        else:
            say(packages=make(request))
    except (FailedError, OSError) as error:
        say(failed=str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
