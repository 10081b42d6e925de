"""YAML (and so JSON) read safely, with the line of every key."""

from __future__ import annotations

from typing import Any, TypeAlias

import yaml

from paretune.errors import ConfigError
from paretune.jsontools import Json

Path: TypeAlias = tuple[str | int, ...]
"""Keys and positions from the top, such as ``("passes", 0, "lora", "r")``."""

_MOST_BYTES = 1 << 20
_MOST_NODES = 50_000
_MOST_DEPTH = 40


def key_of(path: Path) -> str:
    """Return a path as people read it: ``passes[0].lora.r``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Source:
    """A configuration's text: its value, and where each part of it stands.

    Args:
        text: YAML or JSON.
        file: Name for messages.

    Raises:
        ConfigError: It is not YAML, has a key twice, or is unreasonably large or deep.
    """

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self._lines: dict[Path, int] = {}
        self._nodes = 0
        if len(text) > _MOST_BYTES:
            raise ConfigError(f"larger than {_MOST_BYTES} bytes", file=file)
        try:
            loader = yaml.SafeLoader(text)
            try:
                node = loader.get_single_node()
                self.value: Json = None if node is None else self._read(loader, node, ())
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = None if mark is None else mark.line + 1
            raise ConfigError(f"not YAML: {error.problem}", file=file, line=line) from error
        except (yaml.YAMLError, ValueError) as error:
            # ValueError: a date or number that PyYAML takes for one and cannot read.
            raise ConfigError(f"not YAML: {error}", file=file) from error

    def _read(self, loader: yaml.SafeLoader, node: yaml.Node, path: Path) -> Json:
        line = node.start_mark.line + 1
        self._lines.setdefault(path, line)
        self._nodes += 1
        if self._nodes > _MOST_NODES or len(path) > _MOST_DEPTH:
            raise ConfigError("unreasonably large or deep", file=self.file, line=line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._read(loader, item, (*path, i)) for i, item in enumerate(node.value)]
        value: Any = loader.construct_object(node)
        if isinstance(value, (str, int, float, bool)) or value is None:
            return value
        raise ConfigError(
            f"expected text, a number, true or false, found a {type(value).__name__}",
            file=self.file, line=line, key=key_of(path), hint="Put it in quotes to make it text.",
        )  # fmt: skip

    def _mapping(self, loader: yaml.SafeLoader, node: yaml.MappingNode, path: Path) -> Json:
        found: dict[str, Json] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise ConfigError(
                    f"expected a name as key, found {key!r}", file=self.file, line=line,
                    key=key_of(path),
                )  # fmt: skip
            if key in found:
                raise ConfigError(
                    f"{key!r} is given twice", file=self.file, line=line, key=key_of((*path, key))
                )
            self._lines[(*path, key)] = line
            found[key] = self._read(loader, value_node, (*path, key))
        return found

    def line(self, path: Path) -> int | None:
        """Return the line of a key, or of the nearest key above it that is there."""
        for length in range(len(path), -1, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return None

    def error(self, path: Path, message: str, hint: str | None = None) -> ConfigError:
        """Return an error at a key."""
        return ConfigError(
            message, file=self.file, line=self.line(path), key=key_of(path) or None, hint=hint
        )
