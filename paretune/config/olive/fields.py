"""Reads the keys of Olive's objects one by one, by tables of rules."""

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

NULL = "null has the same meaning as a missing key"
_LONGEST_NAME = 60
_MAX_NAMES = 100


@dataclass(frozen=True)
class Node:
    """A value of the JSON and its path."""

    path: Path
    value: Json


class Fields:
    """The keys of one object, each of which is taken once.

    Args:
        path: The object's path.
        nodes: Its values by name.
    """

    def __init__(self, path: Path, nodes: dict[str, Node] | None = None) -> None:
        self.path = path
        self._nodes = nodes or {}

    @classmethod
    def of(
        cls, node: Node | None, ledger: Ledger, nested: str | None = None, otherwise: Path = ()
    ) -> Fields:
        """Return the keys of an object that have no record yet.

        Args:
            node: The object; None: there is none.
            ledger: Records an error if it is not an object.
            nested: A key that may contain more of its keys, as in Olive's older form. The nested
                value is used; the same key beside it is reported as given twice.
            otherwise: The path that the object would have, if there is none.
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
        """Return the first of the keys that exists; the caller has to record it."""
        for name in names:
            if name in self._nodes:
                return self._nodes.pop(name)
        return None

    def peek(self, name: str) -> Json:
        """Return a key's value without taking it; None if it does not exist."""
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
        """Yield all remaining keys."""
        while self._nodes:
            name = next(iter(self._nodes))
            yield name, self._nodes.pop(name)

    def rest(self, ledger: Ledger, status: Status, why: str) -> None:
        """Record all remaining keys at once."""
        for _, node in self.drain():
            ledger.record(node.path, status, None, why)

    def __contains__(self, name: str) -> bool:
        return name in self._nodes


@dataclass(frozen=True)
class Rule:
    """The translation of a key.

    Attributes:
        read: Converts its value.
        into: Its name in paretune; None: it has none.
        status: The status that is listed.
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
    """Return the rule of a key that paretune has too.

    Args:
        into: Its name in paretune.
        read: Converts its value.
        nearly: The difference, if there is one.
        searched: Olive takes a list as values to search over.
    """
    status = Status.TRANSLATED if nearly is None else Status.APPROXIMATED
    return Rule(read, into, status, nearly, searched)


def ignores(why: str) -> Rule:
    """Return the rule of a key that changes nothing, whatever its value is."""
    return Rule(_as_it_is, None, Status.NO_EFFECT, why)


def nearly(why: str, *, same: tuple[Json, ...] = ()) -> Rule:
    """Return the rule of a key without a counterpart, if paretune does nearly the same.

    Args:
        why: The difference.
        same: Values at which there is no difference.
    """
    return Rule(_as_it_is, None, Status.APPROXIMATED, why, same=same)


def only(*values: Json, why: str, otherwise: str) -> Rule:
    """Return the rule of a key that changes nothing at some values, and is refused at others.

    Args:
        *values: Values that change nothing.
        why: Why they do not.
        otherwise: Why other values cannot be translated.
    """

    def read(value: Json) -> Json:
        if not any(value == known and type(value) is type(known) for known in values):
            raise ValueError(otherwise)
        return value

    return Rule(read, None, Status.NO_EFFECT, why)


def refused(why: str) -> Rule:
    """Return the rule of a key that cannot be translated."""

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
    """Translate all remaining keys of an object, and record each of them.

    Args:
        rules: The rule of each key.
        fields: The object.
        ledger: Records the results.
        at: Its place in paretune's configuration.
        of: What the object is, for messages.
        searching: Whether values to search over may be given.

    Returns:
        Parameters by name; a list if there are several values to search over.
    """
    found: dict[str, Json] = {}
    for name, node in fields.drain():
        rule = rules.get(name)
        if rule is None:
            ledger.unsupported(node.path, f"{of} takes no {name!r}{near(name, rules)}")
        elif node.value is None:
            ledger.no_effect(node.path, NULL)
        elif node.value == "DEFAULT_VALUE":
            ledger.no_effect(node.path, "in Olive this value has the same meaning as a missing key")
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
                ledger.no_effect(node.path, "paretune always does this")
            else:
                ledger.record(node.path, rule.status, into, rule.why)
            if rule.into is not None:
                found[rule.into] = value
    return found


def one(rule: Rule, node: Node, ledger: Ledger, at: Path = (), *, of: str) -> Json:
    """Translate and record one key; returns None if its value is wrong."""
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


def no_effect(ledger: Ledger, why: str, *nodes: Node | None) -> None:
    """Record keys that change nothing; those of them that exist."""
    for node in nodes:
        if node is not None:
            ledger.no_effect(node.path, why)


def missing(ledger: Ledger, fields: Fields, name: str, why: str, node: Node | None = None) -> None:
    """Record a key that Olive needs: as unsupported if it exists with a wrong value.

    Args:
        ledger: Records it.
        fields: The object that it belongs to.
        name: Its name.
        why: What is wrong.
        node: The key with its wrong value; None: it does not exist.
    """
    if node is None:
        ledger.absent((*fields.path, name), None, why, Status.UNSUPPORTED)
    else:
        ledger.unsupported(node.path, why)


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
    """Return a reader of names, each with its name in paretune."""

    def read(value: Json) -> Json:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"expected {', '.join(known)}, found {shown(value)}")
        return known[value]

    return read


def shown(value: Json) -> str:
    """Return a value as messages show it."""
    told = repr(value)
    return told if len(told) <= 60 else told[:57] + "..."
