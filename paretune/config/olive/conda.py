"""A conda environment file becomes the requirements of an environment in which a worker runs.

Each line is kept, replaced or dropped, with the reason. Nothing is installed or fetched.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from paretune.config.olive.conda_file import Given, What, is_conda, read_lines
from paretune.config.olive.conda_items import Item, read_item
from paretune.config.olive.conda_names import (
    INSTALLERS,
    OF_TORCH,
    OLIVE,
    RUNTIMES,
    is_known,
)
from paretune.config.olive.conda_options import Option, without_secrets
from paretune.config.olive.listing import grouped_text
from paretune.config.olive.worker_packages import WorkerPackages, python_version, worker_packages
from paretune.config.reading import read_configuration
from paretune.config.yaml_source import ForeignSource
from paretune.core.jsontools import Json
from paretune.core.os_errors import printable

_PINNED = re.compile(r"^={2,3}")
_OTHER_PACKAGE = "PyPI may have another package of this name: check it"
_KEYS = {
    "name": "an environment of pip has no name",
    "prefix": "a folder of the machine that the file was written on",
    "channels": "packages come from PyPI",
    "variables": "the environment of a job is set where it is started",
    "platforms": "the requirements are for the platform where they are installed",
}


class LineStatus(StrEnum):
    """What became of a line."""

    KEPT = "kept"
    REPLACED = "replaced"
    DROPPED = "dropped"
    ADDED = "added"


@dataclass(frozen=True)
class Line:
    """A line, and what became of it.

    Attributes:
        text: As written, without passwords in addresses; of an added one what was added.
        status: What became of it.
        into: The requirement or option that it became; None: none.
        why: The reason; None where it is kept as it is.
        file: The file that it stands in; None: in none.
        line: Its line there.
    """

    text: str
    status: LineStatus
    into: str | None
    why: str | None
    file: str | None = None
    line: int | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the line as `paretune import-olive --json` shows it."""
        return {
            "file": self.file,
            "line": self.line,
            "text": self.text,
            "status": str(self.status),
            "into": None if self.into is None else without_secrets(self.into),
            "why": self.why,
        }


@dataclass(frozen=True)
class CondaTranslation:
    """A translated conda file.

    Attributes:
        file: Its name.
        python: The version of Python that the requirements are for.
        variant: Of the runtimes: cpu, gpu or directml.
        lines: Every line, in order; added ones come last.
        requirements: Options and requirements of pip, in order.
    """

    file: str
    python: str
    variant: str
    lines: tuple[Line, ...]
    requirements: tuple[str, ...]

    def text(self, name: str) -> str:
        """Return the requirements file.

        Args:
            name: The file's own name, for the commands in its first lines.
        """
        header = (
            f"Translated from {Path(self.file).name} by `paretune import-olive`: the environment "
            f"of a worker (runtimes: {self.variant}).",
            f"Python {self.python}: uv venv --python {self.python} && "
            f"uv pip install -r {shlex.quote(name)}",
            "paretune itself: uv pip install --no-deps WHEEL",
        )
        head = "".join(f"# {printable(line)}\n" for line in header)
        return head + "".join(f"{line}\n" for line in self.requirements)


def read_conda(file: Path) -> CondaTranslation | None:
    """Read and translate a conda environment file; None if the file is something else.

    Args:
        file: The file.

    Raises:
        ConfigError: It, or a file of requirements that it names, cannot be read.
    """
    if file.suffix.lower() not in (".yaml", ".yml"):
        return None
    text = read_configuration(file)
    source = ForeignSource(text, str(file))
    return translate_conda(read_lines(file, text, source)) if is_conda(source.value) else None


def translate_conda(given: Iterable[Given], python: str | None = None) -> CondaTranslation:
    """Translate the lines of a conda file.

    Args:
        given: The lines.
        python: The version of Python of the environment; None: this one.

    Raises:
        ConfigError: A line cannot be read.
    """
    read = [read_item(line) for line in given]
    named = {item.name for item in read if item.name and item.given.what is not What.CONSTRAINT}
    variants = [item.variant for item in read if item.variant is not None]
    variant = next((v for v in ("gpu", "directml") if v in variants), "cpu")
    made = _Translator(worker_packages(variant), python or python_version(), named)
    for item in read:
        made.add(item)
    made.close()
    file = read[0].given.file if read else ""
    return CondaTranslation(
        file, made.python, variant, tuple(made.lines), tuple(dict.fromkeys(made.requirements))
    )


@dataclass
class _Translator:
    """Translates line by line."""

    worker: WorkerPackages
    python: str
    named: set[str]
    lines: list[Line] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)
    _written: set[str] = field(default_factory=set)
    _old_python: bool = False

    def add(self, item: Item) -> None:
        """Translate a line."""
        given = item.given
        if given.what is What.KEY:
            key = given.text.partition(":")[0]
            self._drop(item, _KEYS.get(key, "a key that pip has no notation for"))
        elif given.what is What.NAMES_FILE:
            self._line(item, LineStatus.REPLACED, None, "its lines are listed in its place")
        elif item.option is not None:
            self._option(item, item.option)
        elif item.requirement is None:
            if item.conda_name is not None:
                self._drop(item, "no Python package: wheels bring what they need of it")
            else:
                self._drop(item, "a path on this machine: build a wheel of it, and install that")
        elif item.name == "python" and item.conda_name is not None:
            self._python(item, item.requirement)
        else:
            self._package(item, item.requirement)

    def close(self) -> None:
        """Add what a worker needs and no line names."""
        for name, requirement in self.worker.needed.items():
            if name not in self._written:
                text = str(requirement)
                self.requirements.append(text)
                self.lines.append(
                    Line(text, LineStatus.ADDED, text, "a worker needs it, and no line names it")
                )

    def _option(self, item: Item, option: Option) -> None:
        if option.why is not None:
            self._drop(item, option.why)
        else:
            self._keep(item, option.text)

    def _python(self, item: Item, wanted: Requirement) -> None:
        asked = wanted.specifier
        same = str(asked).startswith((f"=={self.python}.", f"~={self.python}."))
        if same or any(asked.contains(f"{self.python}.{patch}") for patch in (0, 99)):
            self._line(item, LineStatus.KEPT, f"Python {self.python}", None)
            return
        self._old_python = True
        why = f"this version of paretune runs in Python {self.python} here"
        self._line(item, LineStatus.REPLACED, f"Python {self.python}", why)

    def _package(self, item: Item, wanted: Requirement) -> None:
        name, worker = item.name, self.worker
        if item.given.what is What.CONSTRAINT and name not in {*self.named, *worker.needed}:
            self._drop(item, "a constraint on a package that no line names")
        elif name in INSTALLERS:
            self._drop(item, "the installer brings its own")
        elif name in OLIVE:
            why = "paretune does Olive's work: its wheel is installed in the place of Olive"
            self._line(item, LineStatus.REPLACED, None, why)
        elif name in RUNTIMES or name in worker.needed:
            self._ours(item, wanted)
        elif name.startswith("nvidia-"):
            self._drop(item, "torch brings those that it needs")
        elif name in OF_TORCH:
            self._without_version(item, wanted, "each version of it is for one version of torch")
        else:
            self._others(item, wanted)

    def _ours(self, item: Item, wanted: Requirement) -> None:
        """Replace a package that a worker needs by this version's requirement."""
        family = RUNTIMES.get(item.name)
        name = next(
            (n for n in self.worker.needed if family is not None and RUNTIMES.get(n) == family),
            item.name,
        )
        own = Requirement(str(self.worker.needed[name]))
        own.extras |= wanted.extras if name == item.name else set()
        into = str(own)
        first = name not in self._written
        self._written.add(name)
        if first:
            self.requirements.append(into)
        if wanted == own and item.url is None and not item.left_out:
            self._line(item, LineStatus.KEPT, into, None)
            return
        why = "what a worker of this version needs"
        if name != item.name:
            why = f"one variant of the runtimes at a time ({self.worker.variant}), as a release"
        elif item.url is not None:
            why += ", as a release"
        self._line(item, LineStatus.REPLACED, into, why if first else f"{why}; named above too")

    def _others(self, item: Item, wanted: Requirement) -> None:
        """Keep a package that a worker does not need, unless its version does not work there."""
        clash = None if item.url is not None else self.worker.refuses(item.name, wanted.specifier)
        if clash is not None:
            self._without_version(item, wanted, clash)
            return
        into = str(wanted) if item.url is None or item.url.certain else item.url.address
        reasons = [f"without {part}" for part in item.left_out]
        if item.given.odd_selector is not None:
            reasons.append(f"conda takes [{item.given.odd_selector}] for a comment")
        if item.conda_name is not None and not is_known(item.conda_name):
            reasons.append(_OTHER_PACKAGE)
        if self._old_python and _PINNED.match(str(wanted.specifier)):
            reasons.append(
                f"chosen for another Python: where no wheel fits {self.python}, leave the version "
                "out"
            )
        self.requirements.append(into)
        renamed = item.conda_name is not None and item.name != canonicalize_name(item.conda_name)
        status = LineStatus.REPLACED if renamed or item.left_out else LineStatus.KEPT
        if renamed:
            reasons.insert(0, "PyPI's name of it")
        self._line(item, status, into, "; ".join(reasons) or None)

    def _without_version(self, item: Item, wanted: Requirement, why: str) -> None:
        plain = Requirement(str(wanted))
        if item.url is None:
            plain.specifier = SpecifierSet()
        self.requirements.append(str(plain))
        same = str(plain) == str(wanted)
        status = LineStatus.KEPT if same else LineStatus.REPLACED
        self._line(item, status, str(plain), why)

    def _keep(self, item: Item, text: str) -> None:
        self.requirements.append(text)
        self._line(item, LineStatus.KEPT, text, None)

    def _drop(self, item: Item, why: str) -> None:
        self._line(item, LineStatus.DROPPED, None, why)

    def _line(self, item: Item, status: LineStatus, into: str | None, why: str | None) -> None:
        given = item.given
        text = without_secrets(given.text)
        self.lines.append(Line(text, status, into, why, given.file, given.line))


def lines_text(lines: Iterable[Line]) -> str:
    """Return the list of lines, grouped by what became of them."""
    return grouped_text(lines, LineStatus, lambda line: line.status, _told)


def _told(line: Line) -> list[str]:
    place = "" if line.file is None else f"{Path(line.file).name}:{line.line}: "
    into = "" if line.into in (None, line.text) else f" -> {without_secrets(str(line.into))}"
    return [f"  {place}{line.text}{into}", *([] if line.why is None else [f"      {line.why}"])]
