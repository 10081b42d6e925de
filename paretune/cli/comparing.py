"""The command compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from paretune.cli.options import json_option, opened_target, say, store_option, target_options
from paretune.core import interrupts

if TYPE_CHECKING:
    from paretune.comparing.runner import PairwiseComparison


@click.command()
@click.argument("given", nargs=-1, metavar="A B [C ...]")
@click.option("--time", default="2m", show_default=True, help="Maximum time: 90s, 10m.")
@click.option("--rounds", type=click.IntRange(1), help="Maximum number of rounds.")
@click.option(
    "--margin",
    type=click.FloatRange(0.001, 0.5),
    default=0.02,
    show_default=True,
    help="Relative difference up to which two speeds are the same.",
)
@click.option("--threads", type=click.IntRange(1), help="Number of threads for all models.")
@click.option("--prompt-tokens", type=click.IntRange(1), default=64, show_default=True)
@click.option("--new-tokens", type=click.IntRange(2), default=32, show_default=True)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="INPUT=1x128",
    help="Shape of an input of networks that take arrays; open sizes are 1 otherwise.",
)
@click.option(
    "--provider",
    "providers",
    multiple=True,
    help="Execution provider; several: each model is compared on each.",
)
@click.option(
    "--trust-remote-code", is_flag=True, help="Allow Python code in a model's folder to run."
)
@target_options
@store_option
@json_option
def compare(
    given: tuple[str, ...],
    time: str,
    rounds: int | None,
    margin: float,
    threads: int | None,
    prompt_tokens: int,
    new_tokens: int,
    shapes: tuple[str, ...],
    providers: tuple[str, ...],
    trust_remote_code: bool,
    target: str | None,
    config: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Measure models, packages or studies interleaved, until it is known which is faster.

    A, B, ...: model folders, packages, studies (their pick), or STUDY#7 for candidate 7.
    """
    from paretune.comparing.api import compare as measure
    from paretune.comparing.text import render
    from paretune.config.schema import seconds
    from paretune.core.user_paths import default_store

    try:
        limit = float(seconds(time))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--time") from error
    interrupts.at_stake()
    with opened_target(target, config, store or default_store()) as opened:
        found = measure(
            given,
            time=limit,
            rounds=rounds,
            margin=margin,
            threads=threads,
            prompt_tokens=prompt_tokens,
            new_tokens=new_tokens,
            shapes=dict(map(_shape, shapes)),
            providers=providers,
            trust_remote_code=trust_remote_code,
            store=store,
            target=opened,
            on_round=_told,
            warn=lambda text: say(text, err=True),
        )
    say(json.dumps(found) if as_json else render(found))


def _shape(text: str) -> tuple[str, list[int]]:
    """Read ``INPUT=1x128``; a scalar is ``INPUT=``."""
    name, equals, sizes = text.rpartition("=")
    listed = sizes.split("x") if sizes else []
    if not equals or not name or not all(size.isdecimal() for size in listed):
        raise click.BadParameter(f"expected INPUT=1x128, found {text!r}", param_hint="--shape")
    return name, [int(size) for size in listed]


def _told(contest: PairwiseComparison) -> None:
    """Report progress between rounds."""
    if contest.rounds % 10 == 0:
        say(f"{contest.rounds} rounds", err=True)
