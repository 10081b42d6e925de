"""Which runtime runs a kind of model: the one place that chooses by the kind.

Token ids come from the tokenizer in the model's folder through `paretune.data.prompts`, the same
way as in training, whichever runtime follows.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError, UsageError
from paretune.core.model import Model, ModelKind
from paretune.models.containment import check_model
from paretune.runtimes.base import GENERATES, SCORES, Runtime, Session

RUNTIMES = {
    ModelKind.GENAI: "paretune.runtimes.genai:GenaiRuntime",
    ModelKind.HF: "paretune.runtimes.torch:TorchRuntime",
    ModelKind.ONNX: "paretune.runtimes.onnxruntime:OnnxruntimeRuntime",
}
"""The runtime of each kind that one runs, as ``module:class``."""


@cache
def runtime_of(kind: ModelKind) -> Runtime | None:
    """Return the runtime that runs a kind of model; None: none does."""
    if kind not in RUNTIMES:
        return None
    module, _, name = RUNTIMES[kind].partition(":")
    found: Runtime = getattr(import_module(module), name)()
    return found


def required_runtime(kind: ModelKind) -> Runtime:
    """Return the runtime that runs a kind of model.

    Raises:
        InvalidArtifactError: None does.
    """
    found = runtime_of(kind)
    if found is None:
        raise InvalidArtifactError(f"a model of kind {kind.value} cannot be run as it is")
    return found


def load_session(
    model: Model, settings: RuntimeSettings, *, trust_remote_code: bool = False
) -> Any:
    """Load a model with the runtime of its kind.

    Args:
        model: What to load.
        settings: What to run it with.
        trust_remote_code: Whether Python code in its folder may run.

    Returns:
        A session with the protocols that the runtime offers.

    Raises:
        InvalidArtifactError: It does not load; holds the loader's message.
    """
    try:
        check_model(model.path)
    except UsageError as error:
        raise InvalidArtifactError(f"does not load: {error.message}", hint=error.hint) from error
    return required_runtime(model.kind).load(model, settings, trust_remote_code)


def open_session(
    model: Model, runtime: RuntimeSettings, *, trust_remote_code: bool = False
) -> Session:
    """Load a language model, as `load_session` does.

    Raises:
        InvalidArtifactError: Its runtime offers nothing on tokens.
    """
    served = required_runtime(model.kind)
    if not served.offers & {GENERATES, SCORES}:
        raise InvalidArtifactError(
            f"a model of kind {model.kind} is run by {served.name}, which neither generates tokens "
            "nor scores them",
            hint="An evaluator of such models uses load_session.",
        )
    session: Session = load_session(model, runtime, trust_remote_code=trust_remote_code)
    return session
