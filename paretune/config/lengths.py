"""Uses that are longer than the model's context: refused before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from paretune.config.plan import EvaluatorChoice
from paretune.context_length import most_tokens
from paretune.evaluators.workload import GenerationParams, cases_of, does_not_fit
from paretune.models import Model, detect_kind
from paretune.registry import find_evaluator


def check_lengths(
    model: Path, evaluators: Sequence[EvaluatorChoice], wrong: Callable[..., None]
) -> None:
    """Refuse lengths that `generation` could not measure of any candidate.

    Args:
        model: The input model's folder; one that does not say how much it holds is let pass.
        evaluators: As configured.
        wrong: Takes the key's path, what is wrong, and what to do.
    """
    most = most_tokens(Model(detect_kind(model), model, ""))
    for index, choice in enumerate(evaluators):
        if choice.name == "perplexity":
            window = choice.params.get("window", 0)  # by default no more than the context holds
            if most is not None and window > most:
                wrong(
                    ("evaluate", index, choice.name, "window"),
                    f"{window} tokens, and the model's context holds {most}",
                    f"Set window to {most} or less.",
                )
        if find_evaluator(choice.name).Params is not GenerationParams:
            continue
        for case in cases_of(GenerationParams(**choice.params)):
            why = does_not_fit(case, most)
            if why is not None:
                key = "context" if case.context else "prompt_tokens"
                wrong(("evaluate", index, choice.name, key), why, "Ask for shorter ones.")
