"""Checks translated passes and data sets, with the same errors as `load`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from paretune.core.jsontools import Json
from paretune.data.catalog import DataSpec
from paretune.registry import find_pass


def data_faults(spec: Mapping[str, Json]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the errors of a data set's entry: the keys from its name down, and the error."""
    try:
        DataSpec(**spec)
    except ValidationError as error:
        for detail in error.errors():
            yield tuple(map(str, detail["loc"])), _message(detail)


def pass_faults(name: str, params: Mapping[str, Json]) -> Iterator[tuple[str | None, str]]:
    """Yield the errors of a pass's parameters.

    Args:
        name: The pass in paretune.
        params: Its parameters; a list where it takes one value is a choice.

    Yields:
        A parameter and its error; None for several that contradict each other.
    """
    kind = find_pass(name).Params
    fixed: dict[str, Json] = {}
    wrong = False
    for key, value in params.items():
        if key not in kind.model_fields:
            wrong = True
            yield key, f"the pass {name} has no parameter {key!r}"
            continue
        values = [value]
        if isinstance(value, list) and value and _said_of(kind, {key: value}, key):
            values = value
        fixed[key] = values[0]
        for why in (why for one in values for why in _said_of(kind, {key: one}, key)):
            wrong = True
            yield key, why
            break
    if not wrong:
        yield from ((None, why) for why in _said_of(kind, fixed, None))


def _said_of(kind: type[BaseModel], values: dict[str, Json], key: str | None) -> list[str]:
    """Return what is wrong with one parameter, or with all of them together."""
    try:
        kind(**values)
    except ValidationError as error:
        return [
            _message(detail)
            for detail in error.errors()
            if (detail["loc"][:1] or (None,))[0] == key
        ]
    return []


def _message(detail: Mapping[str, Any]) -> str:
    return str(detail["msg"]).removeprefix("Value error, ")
