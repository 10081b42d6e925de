"""The public call `compare`: models, packages or studies measured side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.errors import UsageError
from paretune.jsontools import Json

if TYPE_CHECKING:
    from paretune.comparing import Contest


def compare(
    given: Sequence[str | Path],
    *,
    time: str | float = "2m",
    rounds: int | None = None,
    margin: float = 0.02,
    threads: int | None = None,
    prompt_tokens: int = 64,
    new_tokens: int = 32,
    trust_remote_code: bool = False,
    store: Path | str | None = None,
    on_round: Callable[[Contest], None] = lambda contest: None,
    warn: Callable[[str], None] | None = None,
) -> dict[str, Json]:
    """Measure models in turns until it is known which one is faster.

    Args:
        given: Model folders, packages, studies (their pick), or ``STUDY#7`` for candidate 7.
        time: Most time: seconds, or ``90s``, ``10m``.
        rounds: Most rounds; None: as many as the time allows.
        margin: Share up to which two speeds are the same.
        threads: Threads for all of them; None: each one's own.
        prompt_tokens: Length of the prompt.
        new_tokens: Tokens that are generated.
        trust_remote_code: Let code that a model brings run.
        store: Where artifacts are kept; by default the user's store.
        on_round: Called after each round.
        warn: Given what on this machine would spoil the measurement; by default it is logged.

    Returns:
        ``{"entrants", "pairs", "device", "protocol"}``, see docs/measuring.md.

    Raises:
        UsageError: An entrant is no model, or the time is no time.
        StateError: An artifact is not in the store any more.
    """
    from paretune.comparing import Workload
    from paretune.comparing import compare as measure
    from paretune.config.schema import seconds
    from paretune.entrants import open_entrants
    from paretune.log_display import LOGGER, show_by_default
    from paretune.targets.local import LocalTarget
    from paretune.targets.surroundings import look_around, troubles

    if isinstance(given, (str, Path)):
        raise UsageError(
            f"{str(given)!r} alone to compare; a comparison needs two or more, as a list"
        )
    try:
        limit = float(seconds(time))
    except ValueError as error:
        raise UsageError(f"time {time!r}: {error}") from error
    if warn is None:
        show_by_default()
        warn = LOGGER.warning
    for trouble in troubles(look_around()):
        warn(trouble.warning)
    with LocalTarget() as target:
        entrants = open_entrants(
            [str(one) for one in given],
            target.info(),
            threads=threads,
            store=None if store is None else Path(store),
        )
        return measure(
            entrants,
            target,
            workload=Workload(prompt_tokens, new_tokens),
            margin=margin,
            time_s=limit,
            rounds=rounds,
            on_round=on_round,
            trust_remote_code=trust_remote_code,
        )
