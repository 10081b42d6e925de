"""Reads conda's way to name a package and its versions, and its selectors, in pip's notation."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet

_NAME = re.compile(r"([A-Za-z0-9_][\w.-]*)\s*(.*)", re.DOTALL)
_BRACKETS = re.compile(r"(.*?)\[([^\]]*)\]\s*")
_IN_BRACKETS = re.compile(r"(\w+)\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^,'\"]+))")
_ATOM = re.compile(r"(>=|<=|!=|~=|==|=|>|<)?\s*([\w.*+!-]+)")
_SELECTOR = re.compile(r"#\s*\[\s*([^\]]+?)\s*\]\s*$")
_PYTHON = re.compile(r"py\s*(<=|>=|==|<|>)\s*(\d)(\d+)")
_MARKERS = {
    "linux": "sys_platform == 'linux'",
    "osx": "sys_platform == 'darwin'",
    "win": "sys_platform == 'win32'",
    "unix": "sys_platform != 'win32'",
    "linux64": "sys_platform == 'linux' and platform_machine == 'x86_64'",
    "linux-64": "sys_platform == 'linux' and platform_machine == 'x86_64'",
    "win64": "sys_platform == 'win32'",
    "win-64": "sys_platform == 'win32'",
    "osx-64": "sys_platform == 'darwin' and platform_machine == 'x86_64'",
    "osx-arm64": "sys_platform == 'darwin' and platform_machine == 'arm64'",
    "x86_64": "platform_machine == 'x86_64'",
    "aarch64": "platform_machine == 'aarch64'",
    "arm64": "platform_machine == 'arm64'",
    "not linux": "sys_platform != 'linux'",
    "not osx": "sys_platform != 'darwin'",
    "not win": "sys_platform != 'win32'",
    "not unix": "sys_platform == 'win32'",
    "not arm64": "platform_machine != 'arm64'",
    "not aarch64": "platform_machine != 'aarch64'",
}


@dataclass(frozen=True)
class CondaSpec:
    """A package as a conda file names it.

    Attributes:
        name: Conda's name.
        versions: In pip's notation; empty: any.
        left_out: What pip has no notation for: a build string, one of several versions.
    """

    name: str
    versions: SpecifierSet
    left_out: tuple[str, ...] = ()


def read_spec(text: str) -> CondaSpec:
    """Read one dependency: ``numpy=1.26=py312_0``, ``conda-forge::numpy >=1.26,<2``.

    Raises:
        ValueError: It is not one; says what was expected.
    """
    _, _, plain = text.strip().rpartition("::")
    left_out: list[str] = []
    brackets = _BRACKETS.fullmatch(plain)
    inner: dict[str, str] = {}
    if brackets is not None:
        plain = brackets[1]
        inner = {
            m[1]: m[2] or m[3] or (m[4] or "").strip() for m in _IN_BRACKETS.finditer(brackets[2])
        }
    found = _NAME.fullmatch(plain.strip())
    if found is None:
        raise ValueError(f"expected a package such as numpy=1.26, found {text.strip()[:60]!r}")
    name, rest = found[1], inner.get("version", found[2].strip())
    version, build = _split(rest)
    build = inner.get("build", build)
    if build and build != "*":
        left_out.append("the build string")
    exact = bool(build and build != "*")
    return CondaSpec(name, _versions(version, exact, text, left_out), tuple(left_out))


def _split(rest: str) -> tuple[str, str]:
    """Return the versions and the build string of what stands after a name."""
    words = re.sub(r"([<>=!~,|])\s+", r"\1", re.sub(r"\s+([,|])", r"\1", rest)).split()
    if len(words) > 1:
        return words[0], " ".join(words[1:])
    text = words[0] if words else ""
    found = re.fullmatch(r"(={0,2}[^=<>!~]+)=([^=]+)", text)
    return (text, "") if found is None else (found[1], found[2])


def _versions(text: str, exact: bool, whole: str, left_out: list[str]) -> SpecifierSet:
    if not text or text == "*":
        return SpecifierSet()
    alternatives = text.split("|")
    if len(alternatives) > 1:
        left_out.append(f"the alternatives to {alternatives[-1]}")
    atoms = []
    for part in alternatives[-1].split(","):
        found = _ATOM.fullmatch(part.strip())
        if found is None:
            raise ValueError(f"expected versions such as >=1.2,<2, found {whole.strip()[:60]!r}")
        atoms.append(_atom(found[1] or "", found[2], exact))
    try:
        return SpecifierSet(",".join(atom for atom in atoms if atom))
    except InvalidSpecifier:  # conda's versions are not all PyPI's
        left_out.append(f"the version {text.lstrip('=')}, which is none of PyPI's")
        return SpecifierSet()


def _atom(sign: str, version: str, exact: bool) -> str:
    open_end = version.endswith("*")
    number = version.rstrip("*").rstrip(".")
    if not number:
        return ""
    if sign in (">=", "<=", ">", "<", "~="):
        return f"{sign}{number}"
    if sign == "!=":
        return f"!={number}{'.*' if open_end else ''}"
    if open_end or (sign == "=" and not exact):
        return f"=={number}.*"
    return f"=={number}"


def selector_of(line: str) -> str | None:
    """Return the selector in the comment of a line (``# [linux]``); None if it has none."""
    found = _SELECTOR.search(line)
    return None if found is None else found[1]


def marker_of(selector: str) -> str | None:
    """Return a selector as a marker of pip; None if it is not known.

    Args:
        selector: Such as ``linux``, ``not win``, ``osx and arm64``, ``py>=39``.
    """
    for word, joined in ((" or ", " or "), (" and ", " and ")):
        if word in selector:
            each = [marker_of(part.strip()) for part in selector.split(word)]
            known = [part for part in each if part is not None]
            return None if len(known) < len(each) else joined.join(f"({part})" for part in known)
    plain = selector.strip().lower()
    version = _PYTHON.fullmatch(plain)
    if version is not None:
        return f"python_version {version[1]} '{version[2]}.{version[3]}'"
    return _MARKERS.get(plain)
