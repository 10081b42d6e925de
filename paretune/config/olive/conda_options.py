"""Options of pip in a requirements file, and requirements that are addresses or paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import parse_qs, urlsplit

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from paretune.config.olive.conda_names import BUILDS_OF_TORCH, NIGHTLY

_OPTION = re.compile(r"(--?[A-Za-z][\w-]*)(?:\s*=\s*|\s+)?(.*)", re.DOTALL)
_SHORT = re.compile(r"(-[eif])(\S+)")
_SECRET = re.compile(r"(?<=://)(?!git@)[^/@\s]+@")
_QUERY = re.compile(r"(?<=[?&])([\w-]+)=[^&#\s]+")
_VCS = ("git+", "hg+", "svn+", "bzr+")
_PATH = re.compile(r"(\.{0,2}/|\.{1,2}(\[|$)|~|[A-Za-z]:\\|file:|.*\.(whl|zip|tar\.gz|tar\.bz2)$)")
_NAMED = re.compile(r"[A-Za-z0-9][\w.-]*(\[[^\]]*\])?\s*@\s*(\S.*)")
_INDEX = ("-i", "--index-url", "--pypi-url", "--extra-index-url")
_LINKS = ("-f", "--find-links")
_KEPT = ("--trusted-host", "--no-binary", "--only-binary", "--no-index")
_WHY_NOT = {
    "--pre": "it would allow pre-releases of every package: write the version of one that needs it",
    "--require-hashes": "the requirements have no hashes",
    "--prefer-binary": "wheels are preferred anyway where there is one",
}
_OF_THE_COMMAND = "an option of a command, not of a file of requirements"


@dataclass(frozen=True)
class Option:
    """An option of pip.

    Attributes:
        text: As a requirements file has it.
        why: Why it is dropped; None: it is kept.
        editable: The requirement of ``-e``; None: it is another option.
    """

    text: str
    why: str | None = None
    editable: str | None = None


@dataclass(frozen=True)
class Url:
    """A requirement that says where it comes from.

    Attributes:
        address: The address, or the path.
        name: Of the package; None: a path on this machine.
        requirement: The name with extras, before `` @ ``.
        certain: Whether the line itself says the name; else it is that of the repository or file.
    """

    address: str
    name: str | None = None
    requirement: str = ""
    certain: bool = True


def option_of(text: str) -> Option | None:
    """Return what an option of pip becomes; None if a line is none.

    Args:
        text: The line.
    """
    short = _SHORT.fullmatch(text)
    if short is not None and not text.startswith("--"):
        text = f"{short[1]} {short[2]}"
    found = _OPTION.fullmatch(text)
    if found is None:
        return None
    name, value = found[1], found[2].strip()
    if name in ("-e", "--editable"):
        return Option(text, editable=value)
    if name in _INDEX:
        name = "--extra-index-url" if name == "--extra-index-url" else "--index-url"
        return Option(f"{name} {value}", _why_no_index(value))
    if name in _LINKS:
        if "://" not in value:
            return Option(text, "a folder of this machine")
        return Option(f"--find-links {value}", _why_no_index(value))
    if name in _KEPT:
        return Option(f"{name} {value}".strip())
    return Option(text, _WHY_NOT.get(name, _OF_THE_COMMAND))


def _why_no_index(address: str) -> str | None:
    if NIGHTLY.search(address):
        return "nightly builds of the runtimes: their releases are on PyPI"
    if BUILDS_OF_TORCH.search(address):
        return "builds of other versions of torch: the version that a worker needs is on PyPI"
    return None


def url_of(text: str) -> Url | None:
    """Return where a requirement comes from; None if the line is a name with versions.

    Args:
        text: The line, without options.
    """
    named = _NAMED.fullmatch(text)
    address = text if named is None else named[2]
    if named is not None:
        if address.startswith("file:"):
            return Url(address)
        name = re.split(r"[\[\s@]", text, maxsplit=1)[0]
        return Url(_clean(address), name, f"{name}{named[1] or ''}")
    if address.startswith(_VCS):
        egg = _egg(address)
        place = urlsplit(address).path.partition("@")[0]
        whole = egg or PurePosixPath(place).name.removesuffix(".git")
        return Url(_clean(address), whole.partition("[")[0], whole, bool(egg))
    if address.startswith(("http://", "https://")):
        egg, file = _egg(address), PurePosixPath(urlsplit(address).path).name
        whole = egg or _name_of_file(file)
        certain = bool(egg) or file.endswith(".whl")
        return Url(_clean(address), whole.partition("[")[0] or None, whole, certain)
    return Url(address) if _PATH.match(address) else None


def without_secrets(text: str) -> str:
    """Return a line without names, passwords and signatures in its addresses."""
    return _QUERY.sub(r"\1=***", _SECRET.sub("***@", text)) if "://" in text else text


def _egg(address: str) -> str:
    """Return the name and extras in ``#egg=``; empty: there is none."""
    return next(iter(parse_qs(urlsplit(address).fragment).get("egg", [])), "")


def _clean(address: str) -> str:
    """Return an address without the name of its package, which stands before it."""
    base, _, fragment = address.partition("#")
    rest = [part for part in fragment.split("&") if part and not part.startswith("egg=")]
    return base.strip() + (f"#{'&'.join(rest)}" if rest else "")


def _name_of_file(file: str) -> str:
    try:
        return str(parse_wheel_filename(file)[0])
    except InvalidWheelFilename:
        return re.sub(r"-\d.*$", "", file.partition(".tar")[0].removesuffix(".zip"))
