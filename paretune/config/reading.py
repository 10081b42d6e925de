"""Reads a configuration's text from its file: YAML, or JSON of any layout."""

from __future__ import annotations

import json
import re
from pathlib import Path

from paretune.config.yaml_source import Source
from paretune.core.errors import ConfigError

_MAX_BYTES = 4 << 20
_STRING = re.compile(r'("(?:[^"\\]|\\.)*")')
_EXPONENT = re.compile(r"(?<![\w.])(-?\d+)(\.\d+)?[eE]([+-]?)(\d+)")
_BEFORE_COLON = re.compile(r"(\s+):")
_PAIR = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
)


def read_configuration(file: Path, hint: str | None = None) -> str:
    """Return the text of a configuration file.

    Args:
        file: As the user named it.
        hint: What to do if it cannot be read.

    Raises:
        ConfigError: It cannot be read, is too large to be one, or is not UTF-8.
    """
    try:
        with open(file, "rb") as source:
            content = source.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(file), hint=hint) from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"larger than {_MAX_BYTES} bytes", file=str(file))
    try:
        # As text files are read: whatever ends a line, it is a line's end.
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            "not UTF-8 text", file=str(file), line=line, hint="Save the file as UTF-8."
        ) from error


def read_source(text: str, file: str) -> Source:
    """Return a configuration's source, whether it is YAML or JSON.

    PyYAML does not read all JSON: tabs between its tokens, characters beyond U+FFFF in two halves,
    numbers such as ``1e-4``, a colon on a line of its own. So JSON is rewritten in a form that
    PyYAML reads, with the same lines.

    Args:
        text: The configuration.
        file: Its name.
    """
    plain = text.lstrip("\ufeff \t\r\n")
    if plain.startswith(("{", "[")):
        if _is_json(plain):
            text = _as_yaml(text)
        elif '"input_model"' in text:  # Olive's, with a mistake: it is told by the same means
            text = _PAIR.sub(_whole_character, text.replace("\t", " "))
    return Source(text, file)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):  # YAML then; its reader has limits of its own
        return False
    return True


def _as_yaml(text: str) -> str:
    """Return valid JSON as YAML of the same value, with every token on its line."""
    parts = _STRING.split(text)
    for i, part in enumerate(parts):
        parts[i] = _quoted(json.loads(part)) if i % 2 else _between(part)
    return "".join(parts)


def _between(text: str) -> str:
    text = _EXPONENT.sub(lambda m: f"{m[1]}{m[2] or '.0'}e{m[3] or '+'}{m[4]}", text)
    return _BEFORE_COLON.sub(r":\1", text.replace("\t", " "))


def _quoted(value: str) -> str:
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    if c == " " or c.isprintable():
        return c
    return f"\\u{ord(c):04x}" if ord(c) <= 0xFFFF else f"\\U{ord(c):08x}"


def _whole_character(match: re.Match[str]) -> str:
    high, low = int(match[2], 16), int(match[3], 16)
    return f"{match[1]}\\U{0x10000 + (high - 0xD800) * 0x400 + (low - 0xDC00):08x}"
