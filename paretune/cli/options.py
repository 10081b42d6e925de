"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    envvar="PARETUNE_STORE",
    help="Artifact store; by default the user's cache folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def trust_options(function: F) -> F:
    """Add the two switches that lift a protection; both are off whatever a file says."""
    network = click.option(
        "--allow-network", is_flag=True, help="Let data sets and models be fetched."
    )
    remote = click.option(
        "--trust-remote-code",
        is_flag=True,
        help="Run code that a model or configuration brings (custom metrics too).",
    )
    return network(remote(function))
