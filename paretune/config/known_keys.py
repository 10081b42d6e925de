"""The valid keys at a place of the configuration's own sections, for messages."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from paretune.config.schema import ConfigFile
from paretune.config.yaml_source import Path
from paretune.core.errors import nearest


def instead_of(path: Path) -> str | None:
    """Return which keys there are instead of an unknown one; None: this is not known.

    Args:
        path: Keys and positions from the top; the last one is the unknown key.
    """
    section = next(_sections(ConfigFile, path[:-1]), None)
    if section is None:
        return None
    known = [field.alias or name for name, field in section.model_fields.items()]
    return nearest(str(path[-1]), known)


def _sections(annotation: Any, loc: Path) -> Iterator[type[BaseModel]]:
    """Yield the sections that a place of a type can be."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _sections(inner[0], loc)
    elif origin in (Union, types.UnionType):
        for one in inner:
            yield from _sections(one, loc)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not loc:
            yield annotation
        for name, field in annotation.model_fields.items() if loc else ():
            if loc[0] == (field.alias or name):
                yield from _sections(field.annotation, loc[1:])
    elif loc and inner:  # the items of a list, or the values of a mapping
        yield from _sections(inner[-1], loc[1:])
