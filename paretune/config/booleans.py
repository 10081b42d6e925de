"""Booleans where a number or text is meant: `yes`, `no`, `on` and `off` are booleans in YAML.

The library that checks values accepts true as 1 and false as 0. A configuration with `trials: yes`
is a mistake, so it is refused.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

Path = tuple[str | int, ...]
_MAX_DEPTH = 40
_NUMBERS = (int, float, complex)


def misplaced(annotation: Any, value: Any) -> Iterator[tuple[Path, str]]:
    """Yield the path of each boolean where none belongs, and what was expected there.

    Args:
        annotation: The type of the value.
        value: As read, before it is converted.
    """
    yield from _misplaced(annotation, value, ())


def misplaced_in(fields: type[BaseModel], values: Any) -> Iterator[tuple[Path, str]]:
    """As `misplaced`, of the values of a model's fields."""
    if not isinstance(values, Mapping):
        return
    for name, field in fields.model_fields.items():
        key = field.alias or name
        if key in values:
            yield from _misplaced(field.annotation, values[key], (key,))


def _misplaced(annotation: Any, value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if len(path) > _MAX_DEPTH or not isinstance(value, (bool, list, tuple, dict)):
        return
    kinds = _kinds(annotation)
    if isinstance(value, bool):
        items = [item for kind in kinds for item in _kinds(_item_of(kind))]
        if not any(map(_takes_boolean, [*kinds, *items])):
            yield path, _expected([*kinds, *items])
        return
    for kind in kinds:
        if _takes_anything(kind):
            return
        fields = isinstance(kind, type) and issubclass(kind, BaseModel)
        if fields and isinstance(value, dict):
            for place, expected in misplaced_in(kind, value):
                yield (*path, *place), expected
            return
    if isinstance(value, dict):
        inner = [
            get_args(kind)[1]
            for kind in kinds
            if get_origin(kind) in (dict, Mapping) and len(get_args(kind)) == 2
        ]
        places: Any = value.items()
    else:
        inner = [item for kind in kinds if (item := _item_of(kind)) is not None]
        places = enumerate(value)
    if inner:
        for place, item in places:
            yield from _misplaced(Union[tuple(inner)], item, (*path, place))  # noqa: UP007


def _kinds(annotation: Any) -> list[Any]:
    """Return the alternatives of a type."""
    if annotation is None:
        return []
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [kind for one in get_args(annotation) for kind in _kinds(one)]
    return [annotation]


def _item_of(kind: Any) -> Any:
    """Return the type of a list's items; None if it is not a list type."""
    origin, args = get_origin(kind), get_args(kind)
    if isinstance(origin, type) and not issubclass(origin, Mapping) and args:
        return args[0] if len(args) == 1 or args[1:] == (...,) else Union[args]  # noqa: UP007
    return None


def _takes_anything(kind: Any) -> bool:
    return kind is Any or kind is object or not (isinstance(kind, type) or get_origin(kind))


def _takes_boolean(kind: Any) -> bool:
    """Return whether a boolean may be meant; of a type that is not known here, the library says."""
    if get_origin(kind) is Literal:
        return any(isinstance(one, bool) for one in get_args(kind))
    if kind is bool:
        return True
    if kind in (str, bytes, type(None)) or get_origin(kind) is not None:
        return False
    known = (BaseModel, list, dict, tuple, *_NUMBERS)
    return not (isinstance(kind, type) and issubclass(kind, known))


def _expected(kinds: list[Any]) -> str:
    literals = [one for kind in kinds if get_origin(kind) is Literal for one in get_args(kind)]
    if literals and str not in kinds:
        return f"one of {', '.join(str(one) for one in literals)}"
    numbers = any(kind in _NUMBERS for kind in kinds)
    if str in kinds:
        return "a number or text" if numbers else "text"
    return "a number" if numbers else "a value that is not a boolean"
