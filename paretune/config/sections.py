"""Validates a configuration's own keys, by the schema of its sections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from paretune.config.booleans import misplaced_in
from paretune.config.known_keys import instead_of
from paretune.config.model_section import MODULE, NETWORK, PLACE
from paretune.config.schema import ONE, SEVERAL, ConfigFile
from paretune.config.space_building import shown
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Source, Wrong


def read_sections(source: Source, wrong: Wrong, stop_if_wrong: Callable[[], None]) -> ConfigFile:
    """Validate the configuration's own keys; passes and evaluators come later.

    Args:
        source: The configuration.
        wrong: Receives what is wrong.
        stop_if_wrong: Raises what it has received.

    Raises:
        ConfigError: The configuration has no keys.
    """
    value = source.value
    if not isinstance(value, dict):
        raise source.error(
            (),
            "expected keys such as model: and passes:",
            "`paretune init` writes a first configuration.",
        )
    told = refuse_booleans(ConfigFile, value, (), source, wrong)
    try:
        return ConfigFile.model_validate(value)
    except ValidationError as error:
        for detail in error.errors():
            if not any(tuple(detail["loc"])[: len(path)] == path for path in told):
                _report(detail, wrong)
        stop_if_wrong()
        raise


def refuse_booleans(
    fields: type[BaseModel], value: Any, at: KeyPath, source: Source, wrong: Wrong
) -> list[KeyPath]:
    """Refuse booleans where a number or text belongs; returns where they are."""
    found = [((*at, *path), expected) for path, expected in misplaced_in(fields, value)]
    for path, expected in found:
        wrong(path, *source.no_boolean(path, expected))
    return [path for path, _ in found]


_FORMS = (
    *(("target", ONE), ("target", SEVERAL)),
    *(("model", PLACE), ("model", NETWORK), ("model", MODULE)),
)


def _report(detail: Any, wrong: Wrong) -> None:
    loc: KeyPath = tuple(detail["loc"])
    if loc[:2] in _FORMS:
        loc = (loc[0], *loc[2:])  # which form it is, is no key
    kind = detail["type"]
    if kind == "extra_forbidden":
        wrong(loc, f"unknown key {loc[-1]!r}", instead_of(loc))
    elif kind == "missing":
        wrong(loc[:-1], f"the key {loc[-1]!r} is missing")
    else:
        told = detail["msg"].removeprefix("Value error, ")
        if kind in ("model_type", "dict_type"):
            told = "expected keys with values (`key: value`)"
        elif kind == "too_short" and loc == ("target",):
            told = "expected at least one target, such as `- {name: local}`"
        wrong(loc, f"{told[0].lower()}{told[1:]}, found {shown(detail['input'])}")
