"""YAML (and so JSON) read safely, with the line of every key.

PyYAML's safe loader builds no objects, but it recurses as deep as a text nests, expands aliases
without a limit and fails on tags that do not fit their value. Here, every text gives plain values
or a `ConfigError`.
"""

from __future__ import annotations

import json
from typing import Any, Protocol, TypeAlias

import yaml

from paretune.core.errors import ConfigError
from paretune.core.jsontools import Json

Path: TypeAlias = tuple[str | int, ...]
"""Keys and positions from the top, such as ``("passes", 0, "lora", "r")``."""


class Wrong(Protocol):
    """Takes a key, what is wrong there and what to do: checks report through it."""

    def __call__(self, path: Path, message: str, hint: str | None = None, /) -> None:
        """Take what is wrong."""


_MAX_BYTES = 1 << 20
_MAX_NODES = 50_000
_MAX_DEPTH = 40
_TOO_LARGE = f"more than {_MAX_NODES} values, or nested more than {_MAX_DEPTH} levels deep"
# Text after aliases are expanded: a few times what the file itself may hold.
_MAX_CHARACTERS = 4 << 20
# Digits of a number; base 60 ("1:59:59") takes the square of them in time.
_MAX_DIGITS = 100
_MAX_NUMBER = 1 << 63
_TEXT, _MAP, _LIST = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))


def _kind(node: yaml.Node) -> str:
    return "a mapping" if isinstance(node, yaml.MappingNode) else "a list"


def key_of(path: Path) -> str:
    """Return a path as text: ``passes[0].lora.r``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which stops where a text is too deep or too long."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._composed = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        self._composed += 1
        if self._depth > _MAX_DEPTH or self._composed > _MAX_NODES:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=_TOO_LARGE, problem_mark=mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class Source:
    """A configuration's text: its value, and the line of each part.

    Args:
        text: YAML or JSON.
        file: Name for messages.

    Raises:
        ConfigError: It is not YAML, has a key twice, or is unreasonably large or deep.
    """

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self._lines: dict[Path, int] = {}
        self._booleans: dict[Path, str] = {}
        self._nodes = self._characters = 0
        if len(text) > _MAX_BYTES:
            raise ConfigError(f"larger than {_MAX_BYTES} bytes", file=file)
        try:
            loader = _Loader(text)
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

    def _read(self, loader: _Loader, node: yaml.Node, path: Path) -> Json:
        line = node.start_mark.line + 1
        self._lines.setdefault(path, line)
        self._nodes += 1
        if self._nodes > _MAX_NODES or len(path) > _MAX_DEPTH:
            raise ConfigError(_TOO_LARGE, file=self.file, line=line)
        if node.tag == _MAP and isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, path)
        if node.tag == _LIST and isinstance(node, yaml.SequenceNode):
            return [self._read(loader, item, (*path, i)) for i, item in enumerate(node.value)]
        value, why = self._scalar(loader, node)
        if why is not None:
            raise ConfigError(
                why,
                file=self.file,
                line=line,
                key=key_of(path),
                hint="Put it in quotes to make it text.",
            )
        if isinstance(value, bool):
            self._booleans[path] = node.value
        return value

    def _scalar(self, loader: _Loader, node: yaml.Node) -> tuple[Json, str | None]:
        """Return a plain value, or why it is not one."""
        if not isinstance(node, yaml.ScalarNode):
            return None, f"not YAML: the tag {node.tag[:60]!r} does not fit {_kind(node)}"
        self._characters += len(node.value)
        if self._characters > _MAX_CHARACTERS:
            return None, f"more than {_MAX_CHARACTERS} characters after expanding all aliases"
        if node.tag == _TEXT:
            # JSON escapes a character beyond U+FFFF as two halves, which PyYAML leaves apart.
            halves = node.value.encode("utf-16", "surrogatepass")
            try:
                return halves.decode("utf-16"), None
            except UnicodeDecodeError:
                return None, "half of a surrogate pair is not valid text"
        implied = loader.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
        if node.tag != implied:
            return None, f"not YAML: the tag {node.tag[:60]!r} does not fit {node.value[:60]!r}"
        if len(node.value) > _MAX_DIGITS:
            return None, f"a number has more than {_MAX_DIGITS} digits"
        value: Any = loader.construct_object(node)
        if isinstance(value, (int, float)) and not abs(value) < _MAX_NUMBER:
            return None, f"expected a finite number below 2^63, found {node.value}"
        if isinstance(value, (int, float, bool)) or value is None:
            return value, None
        return None, f"expected text, a number, true or false, found a {type(value).__name__}"

    def _key(self, loader: _Loader, node: yaml.Node) -> Json:
        """Return the value of a key; a name, unless the text is wrong."""
        return self._scalar(loader, node)[0]

    def _mapping(self, loader: _Loader, node: yaml.MappingNode, path: Path) -> Json:
        found: dict[str, Json] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self._key(loader, key_node)
            if not isinstance(key, str):
                scalar = isinstance(key_node, yaml.ScalarNode)
                shown = repr(key_node.value[:60]) if scalar else _kind(key_node)
                raise ConfigError(
                    f"expected a name as key, found {shown}",
                    file=self.file,
                    line=line,
                    key=key_of(path),
                )
            if key in found:
                raise ConfigError(
                    f"{key!r} is given twice", file=self.file, line=line, key=key_of((*path, key))
                )
            self._lines[(*path, key)] = line
            found[key] = self._read(loader, value_node, (*path, key))
        return found

    def line(self, path: Path) -> int | None:
        """Return the line of a key, or of the nearest existing key above it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return None

    def no_boolean(self, path: Path, expected: str) -> tuple[str, str | None]:
        """Return the error about a boolean where another value is expected, and what to do.

        Args:
            path: Its key.
            expected: The expected value.
        """
        word = self._booleans.get(path, "true or false")
        told = f"expected {expected}, found {word}, which is a boolean"
        if "text" not in expected and "one of" not in expected:
            return told, None
        return told, f"Put it in quotes to make it text: {json.dumps(word)}."

    def error(self, path: Path, message: str, hint: str | None = None) -> ConfigError:
        """Return an error at a key."""
        return ConfigError(
            message, file=self.file, line=self.line(path), key=key_of(path) or None, hint=hint
        )


class ForeignSource(Source):
    """A file that another program writes for itself: dates, large numbers and number keys are text.

    A configuration has none of these, so `Source` refuses them; tags that build objects are refused
    here too.
    """

    def _scalar(self, loader: _Loader, node: yaml.Node) -> tuple[Json, str | None]:
        value, why = super()._scalar(loader, node)
        if why is None or not isinstance(node, yaml.ScalarNode) or node.tag == _TEXT:
            return value, why
        implied = loader.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
        if node.tag != implied or self._characters > _MAX_CHARACTERS:
            return value, why
        return node.value, None

    def _key(self, loader: _Loader, node: yaml.Node) -> Json:
        value, why = self._scalar(loader, node)
        plain = why is None and isinstance(node, yaml.ScalarNode)
        return node.value if plain else value
