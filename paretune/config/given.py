"""A configuration in any of the forms that the library takes: a file, text or a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import yaml

from paretune.config.reading import read_configuration
from paretune.core.errors import ConfigError
from paretune.core.user_paths import user_path

_MAX_DEPTH = 40
NAME = "search"
"""The study's name where no file gives one."""


def read_config(config: Path | str | Mapping[str, Any]) -> tuple[str, Path]:
    """Return a configuration's text and its file.

    Args:
        config: A file; or YAML or JSON text, which has a line break or begins with ``{``; or a
            mapping. Relative paths in text and mappings start at the working folder.

    Raises:
        ConfigError: The file cannot be read, or a value of the mapping is not a plain value.
    """
    if not isinstance(config, (Mapping, str, PurePath)):
        raise ConfigError(
            f"expected a configuration: a file, its text or a mapping, found a "
            f"{type(config).__name__}",
            hint="docs/library.md shows each form.",
        )
    if isinstance(config, Mapping):
        plain = _plain(config, ())
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), Path(f"{NAME}.yaml")
    if isinstance(config, str) and ("\n" in config or config.lstrip().startswith("{")):
        return config, Path(f"{NAME}.yaml")
    file = user_path(config)
    return read_configuration(file, "`paretune init` writes a first configuration."), file


def _plain(value: Any, path: tuple[str, ...]) -> Any:
    """Return what YAML can hold: paths as text, tuples as lists."""
    if len(path) > _MAX_DEPTH:
        raise ConfigError(
            f"nested more than {_MAX_DEPTH} levels deep: does the value contain itself?",
            key=".".join(path[:3]),
        )
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, (*path, str(key))) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, (*path, str(i))) for i, inner in enumerate(value)]
    if isinstance(value, PurePath):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigError(
        f"expected text, a number, true, false, a list or a mapping, found a "
        f"{type(value).__name__}",
        key=".".join(path),
        hint="Functions are allowed only in `evaluate: [{custom: {function: ...}}]`.",
    )
