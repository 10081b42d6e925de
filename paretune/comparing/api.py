"""The public call `compare`: models, packages or studies measured side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json

if TYPE_CHECKING:
    from paretune.comparing.runner import PairwiseComparison
    from paretune.comparing.workloads import Workload
    from paretune.core.target import Target

_MARGINS = (0.001, 0.5)


def compare(
    given: Sequence[str | Path],
    *,
    time: str | float = "2m",
    rounds: int | None = None,
    margin: float = 0.02,
    threads: int | None = None,
    prompt_tokens: int = 64,
    new_tokens: int = 32,
    shapes: Mapping[str, Sequence[int]] | None = None,
    providers: Sequence[str] = (),
    trust_remote_code: bool = False,
    store: Path | str | None = None,
    target: Target | None = None,
    on_round: Callable[[PairwiseComparison], None] = lambda contest: None,
    warn: Callable[[str], None] | None = None,
) -> dict[str, Json]:
    """Measure models interleaved until it is known which one is faster.

    Args:
        given: Model folders, packages, studies (their pick), or ``STUDY#7`` for candidate 7.
        time: Maximum time: seconds, or ``90s``, ``10m``.
        rounds: Maximum number of rounds; None: as many as the time allows.
        margin: Share up to which two speeds are the same.
        threads: Threads for all of them; None: each one's own.
        prompt_tokens: Length of the prompt.
        new_tokens: Tokens that are generated.
        shapes: Of networks that take arrays, the shape of each input; open sizes are 1 otherwise.
        providers: Execution providers: each model runs with each; empty: each one's own, or cpu.
        trust_remote_code: Let code that a model brings run.
        store: Where artifacts are kept; by default the user's store.
        target: Where they run; None: this machine.
        on_round: Called after each round.
        warn: Called with each disturbance of measurements on this machine; logged by default.

    Returns:
        ``{"entrants", "pairs", "device", "protocol"}``, see docs/measuring.md.

    Raises:
        UsageError: One of them is not a model, a number is out of its range, or the lengths exceed
            a model's context; nothing was measured.
        StateError: An artifact is no longer in the store.
    """
    from paretune.comparing.runner import compare as measure
    from paretune.comparing.subjects import open_entrants
    from paretune.comparing.workloads import NetworkWorkload, Workload
    from paretune.config.schema import seconds
    from paretune.core.device import TargetInfo
    from paretune.core.resources import physical_cores
    from paretune.core.target import preload
    from paretune.display.log import LOGGER, show_by_default
    from paretune.evaluators.generation.workload import Case, does_not_fit
    from paretune.models.context_length import most_tokens
    from paretune.preflight.measuring_conditions import issues_on
    from paretune.preflight.packages import measuring_packages
    from paretune.targets.launchers.local import LocalTarget

    if isinstance(given, (str, Path)):
        raise UsageError(
            f"only {str(given)!r} to compare; a comparison needs a list of two or more"
        )
    try:
        if isinstance(time, bool):
            raise ValueError("expected a time such as 90s or 10m")
        limit = float(seconds(time))
    except ValueError as error:
        raise UsageError(f"time {time!r}: {error}") from error
    workload = Workload(prompt_tokens, new_tokens)
    _check(limit, rounds, margin, threads, workload)
    device = TargetInfo("local", cores=physical_cores()) if target is None else target.info()
    subjects = open_entrants(
        [str(one) for one in given],
        device,
        threads=threads,
        providers=providers,
        store=None if store is None else Path(store),
    )
    networks = subjects[0].evaluator == NetworkWorkload.evaluator
    for subject in () if networks else subjects:
        case = Case(0, prompt_tokens, new_tokens, "")
        why = does_not_fit(case, most_tokens(subject.model))
        if why is not None:
            raise UsageError(
                f"prompt_tokens {prompt_tokens} and new_tokens {new_tokens}: for "
                f"{subject.given!r} {why}",
                hint="Use smaller --prompt-tokens or --new-tokens.",
            )
    if warn is None:
        show_by_default()
        warn = LOGGER.warning
    with nullcontext(target) if target is not None else LocalTarget() as there:
        models = [(each.model.kind, each.runtime.name) for each in subjects]
        preload(there, measuring_packages(models, {each.evaluator for each in subjects}))
        for trouble in issues_on(there, seconds=1.0):
            warn(trouble.warning)
        return measure(
            subjects,
            there,
            workload=NetworkWorkload(shapes or {}) if networks else workload,
            margin=margin,
            time_s=limit,
            rounds=rounds,
            on_round=on_round,
            trust_remote_code=trust_remote_code,
        )


def _check(
    time_s: float, rounds: int | None, margin: float, threads: int | None, workload: Workload
) -> None:
    """Refuse numbers that are out of their range."""
    least = {
        "rounds": (rounds, 1),
        "threads": (threads, 1),
        "prompt_tokens": (workload.prompt_tokens, 1),
        "new_tokens": (workload.new_tokens, 2),
    }
    for name, (given, lowest) in least.items():
        if given is not None and (type(given) is not int or given < lowest):
            raise UsageError(f"{name} {given!r}: expected a whole number of at least {lowest}")
    if not 0 < time_s < math.inf:
        raise UsageError(f"time {time_s:g}: expected a time above 0, such as 90s or 10m")
    if isinstance(margin, bool) or not _MARGINS[0] <= margin <= _MARGINS[1]:
        raise UsageError(
            f"margin {margin!r}: expected a share from {_MARGINS[0]:g} to {_MARGINS[1]:g} "
            "(0.02: two percent)"
        )
