"""Reads a line of a conda file: a package, an option of pip, or a path."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from paretune.config.olive.conda_file import Given, What
from paretune.config.olive.conda_names import is_python, pip_name, variant_of
from paretune.config.olive.conda_options import Option, Url, option_of, url_of, without_secrets
from paretune.config.olive.conda_specs import read_spec

_HASH = re.compile(r"\s--hash[=\s]\S+")


@dataclass(frozen=True)
class Item:
    """A line, read.

    Attributes:
        given: The line.
        name: Canonical name of a package; empty: it is none.
        conda_name: What conda calls it; None: pip's line.
        requirement: In pip's notation; None: an option, a path, or no Python package.
        url: Where it comes from, if the line says so.
        option: An option of pip.
        left_out: What of the line has no notation.
        variant: Which variant of the runtimes the line is for.
    """

    given: Given
    name: str = ""
    conda_name: str | None = None
    requirement: Requirement | None = None
    url: Url | None = None
    option: Option | None = None
    left_out: tuple[str, ...] = ()
    variant: str | None = None


def read_item(given: Given) -> Item:
    """Return a line, read.

    Args:
        given: The line.

    Raises:
        ConfigError: It is not a line that conda or pip reads.
    """
    if given.what in (What.KEY, What.NAMES_FILE):
        return Item(given)
    if given.what is What.CONDA:
        return _read_conda(given)
    option = option_of(given.text)
    if option is not None and option.editable is None:
        return Item(given, option=option)
    text = given.text if option is None else str(option.editable)
    left_out = ("the hashes: pip would ask for one of every line",) if _HASH.search(text) else ()
    text = re.split(r"\s--?[a-z]", text)[0].strip()
    url = url_of(text)
    if url is not None and url.name is None:
        return Item(given, url=url)
    try:
        found = Requirement(text if url is None else f"{url.requirement} @ {url.address}")
    except InvalidRequirement as error:
        raise given.error(
            f"not a requirement of pip: {without_secrets(given.text)[:80]!r}",
            "Expected a line such as numpy>=1.26, or an option such as --extra-index-url ADDRESS.",
        ) from error
    name = canonicalize_name(found.name)
    variant = variant_of(name, frozenset(found.extras))
    return Item(given, name, None, _marked(found, given), url, None, left_out, variant)


def _read_conda(given: Given) -> Item:
    try:
        spec = read_spec(given.text)
    except ValueError as error:
        raise given.error(str(error)) from error
    variant = variant_of(spec.name)
    if spec.name == "python" or not is_python(spec.name):
        found = Requirement(f"python{spec.versions}") if spec.name == "python" else None
        name = "python" if spec.name == "python" else ""
        return Item(given, name, spec.name, found, left_out=spec.left_out, variant=variant)
    found = Requirement(f"{pip_name(spec.name).lstrip('_')}{spec.versions}")
    name = canonicalize_name(found.name)
    whole = _marked(found, given)
    return Item(given, name, spec.name, whole, left_out=spec.left_out, variant=variant)


def _marked(found: Requirement, given: Given) -> Requirement:
    """Return a requirement with what the line's selector says, too."""
    if given.marker is None:
        return found
    plain = Requirement(str(found))
    both = given.marker if found.marker is None else f"({found.marker}) and ({given.marker})"
    plain.marker = Requirement(f"x; {both}").marker
    return plain
