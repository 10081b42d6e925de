"""Whether the runtime of a kind of model does what the evaluators need of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from paretune.core.errors import UsageError, nearest
from paretune.models.kinds.base import kind_named
from paretune.registry import find_evaluator, find_pass, table
from paretune.runtimes.base import CAPABILITIES
from paretune.runtimes.serving import all_runtimes, runtime_of

_LONGEST_ROUTE = 3
"""Passes that a hint names one after another."""


@dataclass(frozen=True)
class Need:
    """What an evaluator needs of a session.

    Attributes:
        evaluator: Its name.
        capabilities: Of `CAPABILITIES`; None: it does not say, and is not checked.
    """

    evaluator: str
    capabilities: frozenset[str] | None


@dataclass(frozen=True)
class Misfit:
    """Why a model of some kind cannot be measured.

    Attributes:
        message: Which evaluator, which kind, and what runs it.
        hint: What to do.
        position: Place of the evaluator; None: no runtime runs such a model at all.
    """

    message: str
    hint: str
    position: int | None


def need_of(name: str, params: Any) -> Need:
    """Return what a configured evaluator needs of a session.

    Args:
        name: As in the registry.
        params: As configured.

    Raises:
        UsageError: Its attribute ``needs`` names something that no session can do.
    """
    kind = find_evaluator(name)
    needs = getattr(kind(kind.Params(**params)), "needs", None)
    if needs is None:
        return Need(name, None)
    wanted = (needs,) if isinstance(needs, str) else needs
    known = isinstance(wanted, Iterable)
    strange = [word for word in wanted if word not in CAPABILITIES] if known else [needs]
    if strange:
        raise UsageError(
            f"the evaluator {name} needs {strange[0]!r} of a session; expected some of "
            f"{', '.join(CAPABILITIES)}",
            hint=nearest(str(strange[0]), CAPABILITIES),
        )
    return Need(name, frozenset(wanted))


def misfits(
    kind: str, needs: Sequence[Need], what: str = "the resulting model", name: str = ""
) -> list[Misfit]:
    """Return why a model of some kind cannot be measured; empty if it can.

    Args:
        kind: Of the model.
        needs: Of each evaluator.
        what: The model, for the message.
        name: The runtime that would run it; empty: the default one of its kind.
    """
    runtime = runtime_of(kind, name)
    named = f"{what} is {_article(kind)}"
    if runtime is None:
        who = ", ".join(need.evaluator for need in needs) or "any evaluator"
        none = f"the runtime {name} does not run" if name else "no runtime runs"
        message = f"{named}, which {none} ({_who_runs()}): {who} cannot measure it"
        usual = runtime_of(kind)
        hint = _way_out(kind, needs) if usual is None else f"Add {usual.name} to `runtimes:`."
        return [Misfit(message, hint, None)]
    return [
        Misfit(
            f"the evaluator {need.evaluator} needs a session that {_listed(lacking)}; {named}, "
            f"which the runtime {runtime.name} runs: its session {_listed(runtime.offers)}",
            _way_out(kind, needs),
            position,
        )
        for position, need in enumerate(needs)
        if (lacking := (need.capabilities or frozenset()) - runtime.offers)
    ]


def _article(kind: str) -> str:
    return (kind_named(kind).shown if kind in table("kinds") else "") or f"of kind {kind}"


def _who_runs() -> str:
    return ", ".join(
        f"{found.name} runs {kind}" for found in all_runtimes() for kind in sorted(found.kinds)
    )


def _listed(capabilities: Iterable[str]) -> str:
    words = [f"{CAPABILITIES[word]} ({word})" for word in CAPABILITIES if word in capabilities]
    return " and ".join(words)


def _way_out(kind: str, needs: Sequence[Need]) -> str:
    """Return which passes make a model out of this one that can be measured, or what else to do."""
    run = dict.fromkeys(other for runtime in all_runtimes() for other in sorted(runtime.kinds))
    good = [other for other in run if other != kind and not _lacks(other, needs)]
    if not good:
        return "Leave an evaluator out: no runtime does all that these evaluators need."
    routes = _routes(kind, frozenset(good))
    if routes:
        return f"Put {' or '.join(routes)} after it."
    return (
        "No pass makes one that can be measured out of it. Give what it was made from: "
        + " or ".join(kind_named(other).folder for other in good)
        + "."
    )


def _lacks(kind: str, needs: Sequence[Need]) -> bool:
    runtime = runtime_of(kind)
    return runtime is None or any((n.capabilities or frozenset()) - runtime.offers for n in needs)


def _routes(kind: str, good: frozenset[str]) -> list[str]:
    """Return the shortest chains of passes from one kind to any of others."""
    passes = []
    for name in table("passes"):
        try:
            passes.append(find_pass(name))
        except (ImportError, AttributeError):  # another package's, whose parts are missing
            continue
    ends: list[tuple[str, tuple[str, ...]]] = [(kind, ())]
    for _ in range(_LONGEST_ROUTE):
        ends = [
            (pass_.produces, (*names, f"`{pass_.name}`"))
            for end, names in ends
            for pass_ in passes
            if end in pass_.accepts and f"`{pass_.name}`" not in names
        ]
        found = [", ".join(names) for end, names in ends if end in good]
        if found:
            return found
    return []
