"""Refuses lengths that exceed the model's context, before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from paretune.config.plan import EvaluatorChoice
from paretune.core.model import Model
from paretune.evaluators.generation.workload import Case, GenerationParams, cases_of, does_not_fit
from paretune.evaluators.text.exact_match import ExactMatchParams
from paretune.models.context_length import most_tokens
from paretune.models.handle import detect_kind
from paretune.registry import find_evaluator

_LEAST = {"prompt_tokens": 1, "new_tokens": 2, "context": 0}


def check_lengths(
    model: Path, evaluators: Sequence[EvaluatorChoice], wrong: Callable[..., None]
) -> None:
    """Refuse lengths that an evaluator could not measure for any candidate.

    Args:
        model: The input model's folder; if its context length is unknown, nothing is refused.
        evaluators: As configured.
        wrong: Called with the key's path, the error, and what to do.
    """
    most = most_tokens(Model(detect_kind(model), model, ""))
    for index, choice in enumerate(evaluators):
        if choice.name == "perplexity":
            window = choice.params.get("window", 0)  # by default no more than the context holds
            if most is not None and window > most:
                wrong(
                    ("evaluate", index, choice.name, "window"),
                    f"{window} tokens exceed the model's context of {most}",
                    f"Set window to {most} or less.",
                )
        if choice.name == "exact_match":
            _check_answers(choice, index, most, wrong)
        if find_evaluator(choice.name).Params is not GenerationParams:
            continue
        for case in cases_of(GenerationParams(**choice.params)):
            why = does_not_fit(case, most)
            if why is not None and most is not None:
                key, hint = _to_blame(choice, case, most)
                wrong(("evaluate", index, choice.name, *key), why, hint)


def _check_answers(
    choice: EvaluatorChoice, index: int, most: int | None, wrong: Callable[..., None]
) -> None:
    """Refuse answers that leave no room for a prompt of one token."""
    given = choice.params.get("max_new_tokens")
    new = ExactMatchParams(**choice.params).max_new_tokens
    if most is None or new < most:
        return
    default = "" if given is not None else " (the default)"
    hint = (
        f"Set max_new_tokens to {most - 1} or less, to leave room for a prompt."
        if most > 1
        else "This model has no room for an answer: use another one."
    )
    wrong(
        ("evaluate", index, choice.name, "max_new_tokens"),
        f"{new} new tokens{default} and a prompt exceed the model's context of {most}",
        hint,
    )


def _to_blame(choice: EvaluatorChoice, case: Case, most: int) -> tuple[tuple[str | int, ...], str]:
    """Return the key with the largest value of a sum that is too long, and what to do."""
    parts = {"prompt_tokens": case.prompt, "new_tokens": case.new, "context": case.context}
    name = max(parts, key=lambda part: parts[part])
    room = most - (case.needed - parts[name])
    given = choice.params.get(name)
    key = (name, given.index(parts[name])) if isinstance(given, list) else (name,)
    if room >= _LEAST[name]:
        return key, f"Set {name} to {room} or less."
    others = " and ".join(part for part in parts if part != name)
    return (
        key,
        f"{', '.join(parts)} may be at most {most - 1} tokens together: reduce {others}, too.",
    )
