"""The settings of a runtime: declared as a dataclass, checked before a model is loaded.

Only the standard library is imported: the process whose memory is measured imports this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from paretune.core.errors import UsageError, nearest
from paretune.core.jsontools import Json


def setting(
    default: Any,
    description: str,
    *,
    search: Literal["range", "choice", "none"] = "choice",
    **bounds: Any,
) -> Any:
    """Declare one setting.

    Args:
        default: Its value where the configuration gives none.
        description: What it means.
        search: ``range``: a choice or a range (numbers); ``choice``: a list of values only;
            ``none``: one fixed value.
        **bounds: As of `paretune.core.params.parameter` (``ge``, ``le``, ...).

    Returns:
        A field of a dataclass.
    """
    told = {"description": description, "search": search, **bounds}
    return field(default=default, metadata=told)


@dataclass(frozen=True)
class BasicSettings:
    """The settings that every runtime has; a runtime with more derives its own from it."""

    provider: Literal["cpu", "cuda", "dml"] = setting("cpu", "Execution provider.")
    threads: int = setting(1, "Intra-op threads.", search="range", ge=1, le=1024)

    @classmethod
    def without_effect(cls, settings: Mapping[str, Json]) -> frozenset[str]:
        """Return the settings that change nothing beside the others: they are not searched over.

        Args:
            settings: All that a candidate has; those that it lacks have their defaults.
        """
        del settings
        return frozenset()


def check_settings(runtime: str, kind: type[BasicSettings], given: Mapping[str, Json]) -> None:
    """Refuse settings that a runtime does not have.

    Args:
        runtime: Its name.
        kind: Its settings.
        given: By name.

    Raises:
        UsageError: It has no such setting, or the setting has no such value.
    """
    hints, known = get_type_hints(kind), [each.name for each in fields(kind)]
    for name, value in given.items():
        if name not in known:
            raise UsageError(
                f"the runtime {runtime} has no setting {name!r}", hint=nearest(name, known)
            )
        hint = hints[name]
        if hint in (bool, int) and type(value) is not hint:
            expected = "true or false" if hint is bool else "a whole number"
            raise UsageError(f"{name}: expected {expected}, found {value!r}")
        listed = get_args(hint) if get_origin(hint) is Literal else (value,)
        if value not in listed:
            raise UsageError(
                f"{name}: expected one of {', '.join(map(str, listed))}, found {value!r}",
                hint=nearest(str(value), map(str, listed)),
            )
