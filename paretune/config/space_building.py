"""Turns ``passes:``, ``baseline:`` and ``try_first:`` into a space and recipes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from paretune.config.booleans import misplaced
from paretune.config.yaml_source import Path, Source
from paretune.core.candidate import Step
from paretune.core.errors import ConfigError, UsageError, nearest
from paretune.core.jsontools import Json, canonical
from paretune.passes.base import Pass
from paretune.registry import find_pass, table
from paretune.search.space import AnyOf, Chain, PassSlot, Stage, grid

_RANGE_KEYS = {"low", "high", "log", "step", "points"}


class SpaceReader:
    """Reads entries and collects errors, so that all of them can be reported together.

    Args:
        source: Where the lines are.
        errors: Errors are added here.
    """

    def __init__(self, source: Source, errors: list[ConfigError]) -> None:
        self._source = source
        self._errors = errors

    def _wrong(self, path: Path, message: str, hint: str | None = None) -> None:
        self._errors.append(self._source.error(path, message, hint))

    def _no_boolean(self, path: Path, expected: str) -> None:
        message, hint = self._source.no_boolean(path, expected)
        self._wrong(path, message, hint)

    def stages(self, entries: list[Any], path: Path) -> tuple[Stage, ...]:
        """Read a list of entries, without those that have errors."""
        read = (self._stage(entry, (*path, i)) for i, entry in enumerate(entries))
        return tuple(stage for stage in read if stage is not None)

    def recipe(self, entries: Any, path: Path) -> tuple[Step, ...]:
        """Read a list of entries that must be one recipe: every parameter has one value."""
        if not isinstance(entries, list):
            self._wrong(path, f"expected a list of passes, found {shown(entries)}")
            return ()
        steps: list[Step] = []
        for i, stage in enumerate(self.stages(entries, path)):
            if stage.size != 1 or not isinstance(stage, PassSlot):
                self._wrong(
                    (*path, i), "expected one fixed pass here: no choice, range, any or optional"
                )
                continue
            steps += stage.at(0)
        return tuple(steps)

    def _stage(self, entry: Any, path: Path) -> Stage | None:
        if isinstance(entry, str):
            return self._slot(entry, {}, False, path)
        if isinstance(entry, list):
            return Chain(self.stages(entry, path))
        if not isinstance(entry, dict):
            self._wrong(path, f"expected a pass's name or `name: parameters`, found {shown(entry)}")
            return None
        optional = entry.get("optional", False)
        if not isinstance(optional, bool):
            self._wrong((*path, "optional"), f"expected true or false, found {shown(optional)}")
        names = [key for key in entry if key != "optional"]
        if len(names) != 1:
            self._wrong(
                path,
                f"expected one pass here, found {', '.join(names) or 'none'}",
                "Indent parameters below the pass's name, and begin each pass with a dash.",
            )
            return None
        (name,) = names
        if name == "any":
            return self._any(entry["any"], bool(optional), (*path, "any"))
        return self._slot(name, entry[name], bool(optional), path)

    def _any(self, options: Any, optional: bool, path: Path) -> Stage | None:
        if not isinstance(options, list) or not options:
            self._wrong(path, f"expected a list of alternatives, found {shown(options)}")
            return None
        return AnyOf(self.stages(options, path), optional)

    def _slot(self, name: str, params: Any, optional: bool, path: Path) -> Stage | None:
        try:
            pass_ = find_pass(name)
        except UsageError as error:
            self._wrong((*path, name), error.message, error.hint)
            return None
        for kind in sorted({*pass_.accepts, pass_.produces} - table("kinds").keys()):
            self._wrong(
                (*path, name),
                f"the pass {name} is for models of kind {kind}, and there is no such kind",
                nearest(kind, table("kinds")),
            )
        values = self.grid(
            f"the pass {name}", "parameter", pass_.Params, params, (*path, name), pass_.trains
        )
        if values is None:
            return None
        refused: Callable[..., Iterable[tuple[str, str]]] | None
        refused = getattr(pass_.Params, "refused", None)
        for key, why in () if refused is None else refused(values):
            self._wrong((*path, name, key), why)
        return PassSlot(name, values, optional, _ranges(params))

    def grid(
        self,
        owner: str,
        word: str,
        model: type[BaseModel],
        params: Any,
        path: Path,
        trains: bool = False,
    ) -> dict[str, tuple[Json, ...]] | None:
        """Read the values to try of each parameter.

        Args:
            owner: Whose they are, for messages.
            word: What they are called there.
            model: Declares them.
            params: As configured.
            path: Their key.
            trains: Whether ranges become small grids, because each value is a training.

        Returns:
            Without those that have errors; None: they are no parameters by name.
        """
        params = {} if params is None else params
        if not isinstance(params, dict):
            self._wrong(path, f"expected {word}s by name, found {shown(params)}")
            return None
        fields = model.model_fields
        values: dict[str, tuple[Json, ...]] = {}
        for key, value in params.items():
            if key not in fields:
                self._wrong((*path, key), f"{owner} has no {word} {key!r}", nearest(key, fields))
                continue
            read = self._values(fields[key], value, (*path, key), trains)
            if read is not None:
                values[key] = read
        for key, field in fields.items():
            if field.is_required() and key not in params:
                self._wrong(path, f"{owner} needs the {word} {key!r}")
        return values

    def _values(
        self, field: FieldInfo, value: Any, path: Path, trains: bool
    ) -> tuple[Json, ...] | None:
        """Return the values to try of one parameter."""
        search = _search_of(field)
        # Field() stands in where a parameter has no bounds: Annotated wants at least one entry.
        bounded: Any = Annotated[field.annotation, Field(), *field.metadata]
        adapter: TypeAdapter[Any] = TypeAdapter(bounded)
        as_one, why = _converted(adapter, value)
        found = next(_booleans(field.annotation, value, one=why is None), None)
        if found is not None and not (isinstance(value, dict) and {"low", "high"} <= value.keys()):
            self._no_boolean((*path, *found[0]), found[1])
            return None
        if why is None:
            return (as_one,)
        if isinstance(value, list) and value:
            if search == "none":
                self._wrong(path, f"expected one value, found a list of {len(value)}")
                return None
            return self._choice(adapter, value, path)
        if isinstance(value, dict) and {"low", "high"} <= value.keys():
            if search != "range":
                self._wrong(
                    path,
                    "a range is not allowed here",
                    "Write a value" + ("." if search == "none" else ", or a list of values."),
                )
                return None
            return self._range(adapter, value, path, trains)
        self._wrong(path, why)
        return None

    def _choice(
        self, adapter: TypeAdapter[Any], values: list[Any], path: Path
    ) -> tuple[Json, ...] | None:
        found: dict[str, Json] = {}
        for i, value in enumerate(values):
            converted, why = _converted(adapter, value)
            if why is not None:
                self._wrong((*path, i), why)
                return None
            found.setdefault(canonical(converted), converted)
        return tuple(found.values())

    def _range(
        self, adapter: TypeAdapter[Any], value: Mapping[str, Any], path: Path, trains: bool
    ) -> tuple[Json, ...] | None:
        unknown = value.keys() - _RANGE_KEYS
        if unknown:
            key = min(unknown)
            self._wrong((*path, key), f"a range has no {key!r}", nearest(key, _RANGE_KEYS))
            return None
        for key in ("low", "high", "step", "points"):
            if isinstance(value.get(key), bool):
                self._no_boolean((*path, key), "a number")
                return None
        if not isinstance(value.get("log", False), bool):
            self._wrong((*path, "log"), f"expected true or false, found {shown(value['log'])}")
            return None
        ends = []
        for key in ("low", "high"):
            converted, why = _converted(adapter, value[key])
            if why is not None or isinstance(converted, (bool, str)):
                self._wrong((*path, key), why or f"expected a number, found {shown(value[key])}")
                return None
            ends.append(converted)
        try:
            points = grid(
                *ends,
                log=value.get("log", False),
                step=None if value.get("step") is None else float(value["step"]),
                points=None if value.get("points") is None else int(value["points"]),
                integer=isinstance(ends[0], int) and isinstance(ends[1], int),
            )
        except (TypeError, ValueError, OverflowError) as error:
            self._wrong(path, f"range: {error}")
            return None
        return points


def _ranges(params: Any) -> dict[str, dict[str, Json]]:
    """Return the parameters of a pass that are given as a range, as they are given."""
    given = params if isinstance(params, dict) else {}
    return {
        name: value
        for name, value in given.items()
        if isinstance(value, dict) and {"low", "high"} <= value.keys()
    }


def _booleans(annotation: Any, value: Any, *, one: bool) -> Iterator[tuple[Path, str]]:
    """Yield booleans that are not allowed, in a parameter's value or in a list of values."""
    if one or not isinstance(value, list):
        yield from misplaced(annotation, value)
        return
    for i, item in enumerate(value):
        for place, expected in misplaced(annotation, item):
            yield (i, *place), expected


def _search_of(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra.get("search", "choice")) if isinstance(extra, dict) else "choice"


def _converted(adapter: TypeAdapter[Any], value: Any) -> tuple[Json, str | None]:
    """Return a value converted to the parameter's type, or why it does not fit."""
    try:
        converted: Json = adapter.dump_python(adapter.validate_python(value), mode="json")
        if isinstance(converted, float) and not math.isfinite(converted):
            return None, f"expected a finite number, found {shown(value)}"
        return converted, None
    except ValidationError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ")
        return None, f"{told[0].lower()}{told[1:]}, found {shown(value)}"


def shown(value: Any) -> str:
    """Return a value as a message shows it, at most 60 characters of it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def fitting_kinds(
    stages: tuple[Stage, ...], begin: frozenset[str], where: str
) -> tuple[frozenset[str], str | None]:
    """Return the kinds of model that a chain of passes can produce, or why it produces none.

    Args:
        stages: In order.
        begin: Kinds of its input.
        where: Name of the input, for the message.
    """
    kinds = begin
    for stage in stages:
        if isinstance(stage, PassSlot):
            pass_: Pass = find_pass(stage.name)
            out = frozenset({pass_.produces}) if kinds & pass_.accepts else frozenset()
            why = f"{where} gives {_kinds(kinds)}, but {stage.name} takes {_kinds(pass_.accepts)}"
            name = stage.name
        elif isinstance(stage, Chain):
            out, inner = fitting_kinds(stage.stages, kinds, where)
            why, name = inner or "", "the alternative"
        else:
            each = [fitting_kinds((option,), kinds, where) for option in stage.options]
            out = frozenset().union(*(found for found, _ in each))
            why, name = next((told for _, told in each if told), ""), "the alternatives"
        if not isinstance(stage, Chain) and stage.optional:
            out |= kinds
        if not out:
            return out, why
        kinds, where = out, name
    return kinds, None


def _kinds(kinds: frozenset[str]) -> str:
    return " or ".join(sorted(kinds))
