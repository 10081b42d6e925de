"""Parameters of passes and evaluators: declared, documented and checked."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Searchable = Literal["range", "choice", "none"]


def parameter(
    default: Any,
    description: str,
    *,
    unit: str | None = None,
    search: Searchable = "choice",
    writes: bool = False,
    **constraints: Any,
) -> Any:
    """Declare one parameter of a pass.

    Args:
        default: Its default; ``...`` for a required one.
        description: What it means.
        unit: Its unit, if it has one.
        search: ``range``: a choice or a range (numbers); ``choice``: a list of values only;
            ``none``: one fixed value.
        writes: It names a file that is written. The content of a file that a parameter names
            counts as a part of the parameter otherwise.
        **constraints: pydantic's own (``ge``, ``le``, ...).

    Returns:
        A pydantic field whose JSON Schema carries ``unit`` and ``search``.
    """
    extra: dict[str, Any] = {"search": search}
    if unit is not None:
        extra["unit"] = unit
    if writes:
        extra["writes"] = True
    return Field(default, description=description, json_schema_extra=extra, **constraints)


class Params(BaseModel):
    """Base of every pass's parameters: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class NoParams(Params):
    """A pass without parameters."""
