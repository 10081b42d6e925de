"""Which runtime a candidate is run with, by its name: candidates leave the default one unnamed."""

from __future__ import annotations

from pathlib import Path

from paretune.core.candidate import Candidate, RuntimeSettings
from paretune.core.errors import UsageError
from paretune.core.jsontools import Json
from paretune.models.handle import detect_kind
from paretune.registry import find_pass, is_ours
from paretune.runtimes.serving import runtime_of


def runtime_name(candidate: Candidate, model: Path | str) -> str | None:
    """Return the name of a candidate's runtime; None if nothing runs its kind of model.

    Args:
        candidate: Of a study.
        model: The input model's folder. Where it is gone, nothing is known of what it was.
    """
    if candidate.runtime.name:
        return candidate.runtime.name
    try:
        last = candidate.recipe[-1:]
        kind = find_pass(last[0].name).produces if last else detect_kind(Path(model))
        found = runtime_of(kind)
    except UsageError:  # a pass or a model that is not here
        return None
    return None if found is None else found.name


def runtimes_entry(name: str | None, settings: RuntimeSettings) -> dict[str, Json]:
    """Return the key ``runtimes:`` of a configuration that runs one candidate as it was run.

    Args:
        name: Of its runtime.
        settings: Its settings.

    Returns:
        Empty where ``target: {providers, threads}`` says the same.
    """
    more = dict(settings.options)
    if name is None or not (more or not is_ours("runtimes", name)):
        return {}
    return {"runtimes": [{name: more} if more else name]}
