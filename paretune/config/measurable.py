"""Whether the runtime of a kind of model does what the evaluators need of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from paretune.core.errors import UsageError, nearest
from paretune.core.model import ModelKind
from paretune.registry import find_evaluator, find_pass, table
from paretune.runtimes.base import CAPABILITIES
from paretune.runtimes.serving import RUNTIMES, runtime_of

_LONGEST_ROUTE = 3
"""Passes that a hint names one after another."""
_FOLDERS = {
    ModelKind.GENAI: "an ONNX Runtime GenAI folder (with genai_config.json)",
    ModelKind.ONNX: "a folder with one ONNX file",
    ModelKind.HF: "a Hugging Face folder (with config.json and safetensors)",
}


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
    kind: ModelKind, needs: Sequence[Need], what: str = "the resulting model"
) -> list[Misfit]:
    """Return why a model of some kind cannot be measured; empty if it can.

    Args:
        kind: Of the model.
        needs: Of each evaluator.
        what: The model, for the message.
    """
    runtime = runtime_of(kind)
    named = f"{what} is {_article(kind)}"
    if runtime is None:
        who = ", ".join(need.evaluator for need in needs) or "any evaluator"
        message = f"{named}, which no runtime runs ({_who_runs()}): {who} cannot measure it"
        return [Misfit(message, _way_out(kind, needs), None)]
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


def _article(kind: ModelKind) -> str:
    return "an adapter (kind hf-adapter)" if kind is ModelKind.HF_ADAPTER else f"of kind {kind}"


def _who_runs() -> str:
    return ", ".join(
        f"{found.name} runs {kind}" for kind in RUNTIMES if (found := runtime_of(kind))
    )


def _listed(capabilities: Iterable[str]) -> str:
    words = [f"{CAPABILITIES[word]} ({word})" for word in CAPABILITIES if word in capabilities]
    return " and ".join(words)


def _way_out(kind: ModelKind, needs: Sequence[Need]) -> str:
    """Return which passes make a model out of this one that can be measured, or what else to do."""
    good = [other for other in RUNTIMES if other != kind and not _lacks(other, needs)]
    if not good:
        return "Leave an evaluator out: no runtime does all that these evaluators need."
    routes = _routes(kind, frozenset(good))
    if routes:
        return f"Put {' or '.join(routes)} after it."
    return (
        "No pass makes one that can be measured out of it. Give what it was made from: "
        + " or ".join(_FOLDERS.get(other, f"a model of kind {other}") for other in good)
        + "."
    )


def _lacks(kind: ModelKind, needs: Sequence[Need]) -> bool:
    runtime = runtime_of(kind)
    return runtime is None or any((n.capabilities or frozenset()) - runtime.offers for n in needs)


def _routes(kind: ModelKind, good: frozenset[ModelKind]) -> list[str]:
    """Return the shortest chains of passes from one kind to any of others."""
    passes = []
    for name in table("passes"):
        try:
            passes.append(find_pass(name))
        except (ImportError, AttributeError):  # another package's, whose parts are missing
            continue
    ends: list[tuple[ModelKind, tuple[str, ...]]] = [(kind, ())]
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
