"""Fields whose values may lie on disk until they are read.

Of ten thousand trials the raw samples, and what says which examples they belong to, are most of
what a search would hold. A study keeps them in ``measurements.json``; a `Measurement` of a trial
that has ended holds an `OnDisk` in their place, and reading the field reads the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class OnDisk:
    """Stands for a value.

    Attributes:
        read: Returns it.
        count: Its length.
    """

    read: Callable[[], Any]
    count: int


class MayBeOnDisk(Generic[T]):
    """A field of a dataclass: holds a value, or an `OnDisk` that gives it.

    Args:
        default: Where nothing is given.
    """

    def __init__(self, default: T) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type) -> T:
        if instance is None:
            return self._default
        found = instance.__dict__[self._name]
        if isinstance(found, OnDisk):
            found = found.read()
        value: T = found
        return value

    def __set__(self, instance: object, value: T | OnDisk) -> None:
        instance.__dict__[self._name] = value


def length(instance: object, name: str) -> int:
    """Return the length of a field's value without reading it; 0 where there is none.

    Args:
        instance: Has a field that may be on disk.
        name: The field's.
    """
    found = instance.__dict__[name]
    return found.count if isinstance(found, OnDisk) else len(found or ())
