"""Reads a conda environment file into its lines, those of requirement files that it names too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from paretune.config.olive.conda_specs import marker_of, selector_of
from paretune.config.reading import read_configuration
from paretune.config.yaml_source import ForeignSource
from paretune.config.yaml_source import Path as KeyPath
from paretune.core.errors import ConfigError
from paretune.core.jsontools import Json

_MAX_DEPTH = 10
_SEL = re.compile(r"sel\((.*)\)")
_FILE = re.compile(r"(-r|-c|--requirement|--constraint)(?:\s*=\s*|\s+|(?<=-[rc]))(\S.*)")
_COMMENT = re.compile(r"(^|\s)#.*$")


class What(Enum):
    """What a line is."""

    KEY = "a key of the file"
    CONDA = "a package of conda"
    PIP = "a requirement or an option of pip"
    CONSTRAINT = "a constraint of pip"
    NAMES_FILE = "a file of requirements"


@dataclass(frozen=True)
class Given:
    """One line as it was given.

    Attributes:
        text: As written, without spaces around it.
        what: What it is.
        file: The file that it stands in.
        line: Its line there.
        marker: What its selector says, in pip's notation; None: it has none.
        odd_selector: A selector that is not known; conda takes it for a comment.
    """

    text: str
    what: What
    file: str
    line: int | None
    marker: str | None = None
    odd_selector: str | None = None

    def error(self, message: str, hint: str | None = None) -> ConfigError:
        """Return an error at the line."""
        return ConfigError(message, file=self.file, line=self.line, hint=hint)


def is_conda(value: Json) -> bool:
    """Return whether a file's content is a conda environment: it has ``dependencies``."""
    return isinstance(value, dict) and "dependencies" in value and "input_model" not in value


def read_lines(file: Path, text: str, source: ForeignSource) -> list[Given]:
    """Return the lines of a conda file, in order.

    Args:
        file: The file.
        text: Its text.
        source: The text, read.

    Raises:
        ConfigError: A part of it is not what conda reads, or a file that it names cannot be read.
    """
    return list(_Reader(file, text, source).lines())


class _Reader:
    def __init__(self, file: Path, text: str, source: ForeignSource) -> None:
        self._file, self._source = file, source
        self._raw = text.split("\n")
        self._read: set[Path] = {file.resolve()}

    def lines(self) -> Iterator[Given]:
        for key, value in self._source.value.items():
            if key == "dependencies":
                yield from self._dependencies((key,), value)
            else:
                yield self._given((key,), f"{key}: {_shown(value)}", What.KEY)

    def _dependencies(
        self, path: KeyPath, value: Json, marker: str | None = None
    ) -> Iterator[Given]:
        for i, entry in enumerate(self._list(path, value)):
            at = (*path, i)
            if isinstance(entry, str):
                yield self._given(at, entry, What.CONDA, marker)
            elif isinstance(entry, dict):
                for key, inner in entry.items():
                    yield from self._section((*at, key), key, inner, marker)
            else:
                raise self._wrong(at, "expected a package such as numpy=1.26", entry)

    def _section(self, path: KeyPath, key: str, value: Json, marker: str | None) -> Iterator[Given]:
        selected = _SEL.fullmatch(key)
        if selected is not None:
            inner = marker_of(selected[1])
            if inner is None:
                raise self._source.error(path, f"the selector {selected[1][:60]!r} is not known")
            both = inner if marker is None else f"({marker}) and ({inner})"
            listed = [value] if isinstance(value, str) else value
            yield from self._dependencies(path, listed, both)
            return
        if key != "pip":
            raise self._source.error(path, "expected packages or a section pip:")
        for i, entry in enumerate(self._list(path, value)):
            if not isinstance(entry, str):
                raise self._wrong((*path, i), "expected a requirement of pip", entry)
            for line in (_COMMENT.sub("", line) for line in entry.splitlines()):
                if line.strip():
                    given = self._given((*path, i), line, What.PIP, marker)
                    yield from self._with_files(given, self._file.parent, 0)

    def _with_files(self, given: Given, folder: Path, depth: int) -> Iterator[Given]:
        """Yield a line, and after one that names a file the lines of that."""
        named = _FILE.fullmatch(given.text)
        if named is None:
            yield given
            return
        yield replace(given, what=What.NAMES_FILE)
        name = named[2].strip().strip("'\"")
        if "://" in name:
            raise given.error(
                f"{name[:80]!r} is an address, and nothing is fetched",
                "Fetch it once, and name the file.",
            )
        file = folder / name
        if depth == _MAX_DEPTH:
            raise given.error(f"files that name files, more than {_MAX_DEPTH} deep")
        if file.resolve() in self._read:
            return
        self._read.add(file.resolve())
        try:
            text = read_configuration(file)
        except ConfigError as error:
            raise given.error(f"{name[:80]!r} {error.detail}", error.hint) from error
        constraint = named[1] in ("-c", "--constraint") or given.what is What.CONSTRAINT
        what = What.CONSTRAINT if constraint else What.PIP
        for number, line in _whole_lines(text):
            inner = Given(line, what, str(file), number, given.marker)
            yield from self._with_files(inner, file.parent, depth + 1)

    def _given(self, path: KeyPath, text: str, what: What, marker: str | None = None) -> Given:
        line = self._source.line(path)
        raw = "" if line is None or what is What.KEY else self._raw[line - 1]
        selector = selector_of(raw)
        own = None if selector is None else marker_of(selector)
        if marker is not None and own is not None:
            own = f"({marker}) and ({own})"
        odd = selector if own is None else None
        return Given(text.strip(), what, self._source.file, line, own or marker, odd)

    def _list(self, path: KeyPath, value: Json) -> list[Json]:
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(path, "expected a list", value)
        return value

    def _wrong(self, path: KeyPath, expected: str, found: Json) -> ConfigError:
        return self._source.error(path, f"{expected}, found {_shown(found)}")


def _whole_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a requirements file with their numbers; continued ones are joined."""
    joined, begin = "", 1
    for number, line in enumerate(text.split("\n"), start=1):
        begin = begin if joined else number
        if line.rstrip().endswith("\\") and not line.lstrip().startswith("#"):
            joined += line.rstrip()[:-1] + " "
            continue
        whole = _COMMENT.sub("", joined + line).strip()
        joined = ""
        if whole:
            yield begin, whole
    if joined.strip():
        yield begin, joined.strip()


def _shown(value: Json) -> str:
    if isinstance(value, list) and all(isinstance(one, (str, int, float)) for one in value):
        return ", ".join(map(str, value))
    text = "" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
