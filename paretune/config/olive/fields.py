"""Keys of Olive's objects taken one by one, and tables of what each of them becomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from paretune.config.olive.entries import Ledger, Status, children
from paretune.config.yaml_source import Path
from paretune.core.errors import nearest
from paretune.core.jsontools import Json

Reader: TypeAlias = Callable[[Json], Json]
"""Turns a value of Olive's into ours; raises ValueError with what is wrong about it."""

NULL = "null is the same as leaving it out"
_LONGEST_NAME = 60
_MAX_NAMES = 100


@dataclass(frozen=True)
class Node:
    """A value of the JSON and where it stands."""

    path: Path
    value: Json


class Fields:
    """The keys of one object, each of which is taken once.

    Args:
        path: Where the object stands.
        nodes: Its values by name.
    """

    def __init__(self, path: Path, nodes: dict[str, Node] | None = None) -> None:
        self.path = path
        self._nodes = nodes or {}

    @classmethod
    def of(
        cls, node: Node | None, ledger: Ledger, nested: str | None = None, otherwise: Path = ()
    ) -> Fields:
        """Return the keys of an object that somebody has not spoken for yet.

        Args:
            node: The object; None: there is none.
            ledger: Told if it is no object.
            nested: A key below which more of its keys may stand, as in Olive's older form. What
                stands there counts; the same key beside it is told as given twice.
            otherwise: Where the object would stand, if there is none.
        """
        if node is None:
            return cls(otherwise)
        if node.value is None:
            ledger.no_effect(node.path, NULL)
            return cls(node.path)
        if not isinstance(node.value, dict):
            why = f"expected an object, found {shown(node.value)}"
            ledger.unsupported(node.path, why)
            return cls(node.path)
        nodes = {
            str(path[-1]): Node(path, value)
            for path, value in children(node.path, node.value)
            if not ledger.covers(path)
        }
        if nested is None or nested not in nodes:
            return cls(node.path, nodes)
        inner = cls.of(nodes.pop(nested), ledger)
        for name in inner._nodes.keys() & nodes.keys():
            twice = nodes.pop(name)
            why = f"{name!r} is given twice: here and in {nested!r}"
            ledger.unsupported(twice.path, why)
        return cls(inner.path, nodes | inner._nodes)

    def take(self, *names: str) -> Node | None:
        """Return the first of the keys that is there; whoever takes it has to speak for it."""
        for name in names:
            if name in self._nodes:
                return self._nodes.pop(name)
        return None

    def peek(self, name: str) -> Json:
        """Return a key's value without taking it; None if it is not there."""
        return self._nodes[name].value if name in self._nodes else None

    def split(self, names: Mapping[str, object] | frozenset[str]) -> Fields:
        """Take every key of those names, as fields of their own."""
        taken = {name: self._nodes.pop(name) for name in list(self._nodes) if name in names}
        return Fields(self.path, taken)

    def joined(self, other: Fields) -> Fields:
        """Return both together; where both have a key, this one's stays and the other is left."""
        mine = {
            name: other._nodes.pop(name) for name in list(other._nodes) if name not in self._nodes
        }
        path = other.path if mine and not self._nodes else self.path
        return Fields(path, self._nodes | mine)

    def drain(self) -> Iterator[tuple[str, Node]]:
        """Yield all that is left."""
        while self._nodes:
            name = next(iter(self._nodes))
            yield name, self._nodes.pop(name)

    def rest(self, ledger: Ledger, status: Status, why: str) -> None:
        """Speak for all that is left at once."""
        for _, node in self.drain():
            ledger.record(node.path, status, None, why)

    def __contains__(self, name: str) -> bool:
        return name in self._nodes


@dataclass(frozen=True)
class Rule:
    """What becomes of a key.

    Attributes:
        read: Turns its value into ours.
        into: Our name of it; None: it has none.
        status: What it is listed as.
        why: The reason that is listed.
        searched: Olive takes a list as values to search over.
        same: Values that change nothing: they are listed as having no effect.
    """

    read: Reader
    into: str | None = None
    status: Status = Status.TRANSLATED
    why: str | None = None
    searched: bool = False
    same: tuple[Json, ...] = ()


def takes(into: str, read: Reader, *, nearly: str | None = None, searched: bool = False) -> Rule:
    """Return the rule of a key that we have too.

    Args:
        into: Our name.
        read: Turns its value into ours.
        nearly: What is different, if something is.
        searched: Olive takes a list as values to search over.
    """
    status = Status.TRANSLATED if nearly is None else Status.APPROXIMATED
    return Rule(read, into, status, nearly, searched)


def ignores(why: str) -> Rule:
    """Return the rule of a key that changes nothing, whatever its value is."""
    return Rule(_as_it_is, None, Status.NO_EFFECT, why)


def nearly(why: str, *, same: tuple[Json, ...] = ()) -> Rule:
    """Return the rule of a key that has no counterpart, where ours comes near it.

    Args:
        why: What differs.
        same: Values at which nothing differs.
    """
    return Rule(_as_it_is, None, Status.APPROXIMATED, why, same=same)


def only(*values: Json, why: str, otherwise: str) -> Rule:
    """Return the rule of a key that changes nothing at some values, and is refused at others.

    Args:
        *values: Those that change nothing.
        why: Why they do not.
        otherwise: Why others cannot be honoured.
    """

    def read(value: Json) -> Json:
        if not any(value == known and type(value) is type(known) for known in values):
            raise ValueError(otherwise)
        return value

    return Rule(read, None, Status.NO_EFFECT, why)


def refused(why: str) -> Rule:
    """Return the rule of a key that cannot be honoured."""

    def read(value: Json) -> Json:
        raise ValueError(why)

    return Rule(read)


def apply(
    rules: Mapping[str, Rule],
    fields: Fields,
    ledger: Ledger,
    at: Path = (),
    *,
    of: str,
    searching: bool = False,
) -> dict[str, Json]:
    """Turn all that is left of an object into ours, and speak for each of its keys.

    Args:
        rules: What becomes of each key.
        fields: The object.
        ledger: Where it is taken down.
        at: Where it stands in our configuration.
        of: What the object is, for messages.
        searching: Whether values to search over may be given.

    Returns:
        Our parameters by name; a list where there are several values to search over.
    """
    found: dict[str, Json] = {}
    for name, node in fields.drain():
        rule = rules.get(name)
        if rule is None:
            ledger.unsupported(node.path, f"{of} takes no {name!r}{near(name, rules)}")
        elif node.value is None:
            ledger.no_effect(node.path, NULL)
        elif node.value == "DEFAULT_VALUE":
            ledger.no_effect(node.path, "Olive's word for leaving it out")
        elif rule.into in found:
            ledger.unsupported(node.path, "given twice, under another name too")
        else:
            try:
                value = _read(rule, node.value, searching)
            except ValueError as error:
                ledger.unsupported(node.path, str(error))
                continue
            into = None if rule.into is None else (*at, rule.into)
            if any(value == known and type(value) is type(known) for known in rule.same):
                ledger.no_effect(node.path, "it is so with paretune too")
            else:
                ledger.record(node.path, rule.status, into, rule.why)
            if rule.into is not None:
                found[rule.into] = value
    return found


def one(rule: Rule, node: Node, ledger: Ledger, at: Path = (), *, of: str) -> Json:
    """Turn one key into ours, and speak for it; returns None if its value is wrong."""
    found = apply({"": rule}, Fields((), {"": node}), ledger, at, of=of)
    return None if rule.into is None else found.get(rule.into)


def _read(rule: Rule, value: Json, searching: bool) -> Json:
    values = value if rule.searched and isinstance(value, list) else None
    if isinstance(value, dict) and value.get("olive_parameter_type") == "SearchParameter":
        values = value.get("support")
        if value.get("type") != "Categorical" or not isinstance(values, list):
            raise ValueError("values to search over that depend on other parameters")
    if values is None:
        return rule.read(value)
    if not values:
        raise ValueError("no value to search over")
    if not searching:
        raise ValueError("values to search over, without a search strategy")
    return [rule.read(inner) for inner in values]


def near(name: Json, known: Collection[str]) -> str:
    """Return ``. Did you mean 'x'?`` if a known name is near, else nothing.

    Nor is there a hint among so many names that looking for it would take long.
    """
    if not isinstance(name, str) or len(name) > _LONGEST_NAME or len(known) > _MAX_NAMES:
        return ""
    hint = nearest(name, known)
    return f". {hint}" if hint.startswith("Did") else ""


def _as_it_is(value: Json) -> Json:
    return value


def text(value: Json) -> str:
    """Read text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected text, found {shown(value)}")
    return value


def any_text(value: Json) -> str:
    """Read text, which may be empty."""
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {shown(value)}")
    return value


def number(value: Json) -> float:
    """Read a finite number. YAML, by which JSON is read, takes ``1e-4`` for text."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if math.isfinite(found):
            return found
    raise ValueError(f"expected a number, found {shown(value)}")


def whole(value: Json) -> int:
    """Read a whole number; ``50.0`` is one."""
    found = number(value)
    if found != int(found):
        raise ValueError(f"expected a whole number, found {shown(value)}")
    return int(found)


def flag(value: Json) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, found {shown(value)}")
    return value


def count(value: Json) -> int:
    """Read a whole number from 1."""
    found = whole(value)
    if found < 1:
        raise ValueError(f"expected a whole number from 1, found {shown(value)}")
    return found


def texts(value: Json) -> list[str]:
    """Read a list of texts; one text is a list of it."""
    listed = value if isinstance(value, list) else [value]
    if not listed:
        raise ValueError("expected at least one name")
    return [text(inner) for inner in listed]


def one_of(**known: Json) -> Reader:
    """Return a reader of names, each with what it is called by us."""

    def read(value: Json) -> Json:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"expected {', '.join(known)}, found {shown(value)}")
        return known[value]

    return read


def shown(value: Json) -> str:
    """Return a value as messages show it."""
    told = repr(value)
    return told if len(told) <= 60 else told[:57] + "..."
