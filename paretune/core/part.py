"""A dataclass that lies in a measurement's details: a JSON object with the names of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from paretune.core.jsontools import Json


@dataclass(frozen=True)
class Part:
    """Base of dataclasses that lie in `paretune.core.details.Details`."""

    def to_json(self) -> dict[str, Json]:
        """Return the fields by name; a field that has its default value is left out."""
        given = ((f.name, f.default, getattr(self, f.name)) for f in fields(self))
        return {name: plain(value) for name, default, value in given if value != default}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(**value)


def plain(value: Any) -> Json:
    """Return the JSON of a field's value."""
    if isinstance(value, Part):
        return value.to_json()
    return [plain(each) for each in value] if isinstance(value, tuple) else value
