"""Which runtime runs a kind of model: nothing else chooses one.

Token ids come from the tokenizer in the model's folder through `paretune.data.prompts`, the same
way as in training, whichever runtime follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError, UsageError, nearest
from paretune.core.model import Model, ModelInfo
from paretune.core.packages import TOKENIZERS
from paretune.core.plugins import BUILTIN, instance, names, table
from paretune.core.traffic import Traffic
from paretune.models.containment import check_model
from paretune.runtimes.base import GENERATES, RUNS, SCORES, Runtime, Session
from paretune.runtimes.settings import check_settings


def runtime_named(name: str) -> Runtime:
    """Return a runtime by its name.

    Raises:
        UsageError: There is none of that name; says the nearest.
    """
    runtime: Runtime = instance("runtimes", name)
    return runtime


def all_runtimes() -> Iterator[Runtime]:
    """Yield every runtime, ours first; one whose own modules are missing is left out."""
    ours = BUILTIN["runtimes"]
    for name in (*ours, *sorted(table("runtimes").keys() - ours)):
        try:
            yield runtime_named(name)
        except (ImportError, AttributeError):
            if name in ours:
                raise


def runtimes_of(kind: str) -> Iterator[Runtime]:
    """Yield the runtimes that run a kind of model, the one that is taken by default first."""
    return (runtime for runtime in all_runtimes() if kind in runtime.kinds)


def runtime_of(kind: str, name: str = "") -> Runtime | None:
    """Return the runtime that runs a kind of model; None: none does.

    Args:
        kind: Of the model.
        name: The runtime that is asked for; empty: the kind's default one.

    Raises:
        UsageError: There is no runtime of that name.
    """
    if name:
        found = runtime_named(name)
        return found if kind in found.kinds else None
    return next(runtimes_of(kind), None)


def required_runtime(kind: str, name: str = "") -> Runtime:
    """Return the runtime that runs a kind of model, as `runtime_of` does.

    Raises:
        InvalidArtifactError: None does, or the one that is asked for does not.
    """
    found = runtime_of(kind, name)
    if found is None:
        by = f"by the runtime {name}" if name else "as it is"
        raise InvalidArtifactError(
            f"a model of kind {kind} cannot be run {by}", hint=nearest(kind, names("kinds"))
        )
    return found


def packages_of(runtime: Runtime | type[Runtime]) -> tuple[str, ...]:
    """Return the distributions that running a model imports, the usual one of each group."""
    text = TOKENIZERS if GENERATES in runtime.offers else ()
    return (*(group[0] for group in runtime.packages), *text)


def source_runtime(kind: str) -> Runtime | None:
    """Return the runtime that loads a model to compare builds with; None: none does."""
    every = (r for r in all_runtimes() if kind in r.kinds | r.sources)
    return next(every, None)


def takes_arrays(kind: str) -> bool:
    """Return whether models of a kind take named arrays, and not tokens."""
    runtime = source_runtime(kind)
    return runtime is not None and RUNS in runtime.offers and SCORES not in runtime.offers


def traffic_of(info: ModelInfo, settings: RuntimeSettings, context: int = 0) -> Traffic | None:
    """Return what a model reads and computes for a token where it runs; None if unknown.

    Args:
        info: The model, built or predicted.
        settings: How it is run.
        context: Tokens in the cache while decoding.
    """
    runtime = runtime_of(info.kind, settings.name)
    return None if runtime is None else runtime.traffic(info, context)


def load_session(
    model: Model, settings: RuntimeSettings, *, trust_remote_code: bool = False
) -> Any:
    """Load a model with the runtime that its settings name, else with the default one.

    Args:
        model: What to load.
        settings: What to run it with.
        trust_remote_code: Whether Python code in its folder may run.

    Returns:
        A session with the protocols that the runtime offers.

    Raises:
        InvalidArtifactError: It does not load; holds the loader's message.
    """
    check_folder(model)
    runtime = required_runtime(model.kind, settings.name)
    check_settings(runtime.name, runtime.Settings, settings.settings)
    return runtime.load(model, settings, trust_remote_code)


def check_folder(model: Model) -> None:
    """Check what the files of a model name, before a runtime opens them.

    Raises:
        InvalidArtifactError: One names a file outside of its folder, or there are no weights.
    """
    try:
        check_model(model.path)
    except UsageError as error:
        raise InvalidArtifactError(f"does not load: {error.message}", hint=error.hint) from error


def open_session(
    model: Model, runtime: RuntimeSettings, *, trust_remote_code: bool = False
) -> Session:
    """Load a language model, as `load_session` does.

    Raises:
        InvalidArtifactError: Its runtime offers nothing on tokens.
    """
    served = required_runtime(model.kind, runtime.name)
    if not served.offers & {GENERATES, SCORES}:
        raise InvalidArtifactError(
            f"a model of kind {model.kind} is run by {served.name}, which neither generates tokens "
            "nor scores them",
            hint="An evaluator of such models uses load_session.",
        )
    session: Session = load_session(model, runtime, trust_remote_code=trust_remote_code)
    return session
