"""Data and models in Azure that a configuration names: copied here where they are read here."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.core.errors import DataError, StateError, TransientError, UsageError
from paretune.core.jsontools import digest
from paretune.core.permissions import Permissions
from paretune.core.user_paths import default_store
from paretune.data.elsewhere import with_paths
from paretune.data.spec import DataSpec

if TYPE_CHECKING:
    from paretune.azure.workspace import Workspace

_SHOWN_FROM_BYTES = 4_000_000
_SHOWN_EVERY_S = 5.0
_ALLOW = "Allow it with --allow-network."


class AzureInputs:
    """The inputs in Azure of one configuration.

    Args:
        workspace: That of the study, for addresses that name none; None: there is none, or there
            are several.
        permissions: Whether anything may be copied.

    Attributes:
        copies: Where each data file that was copied is, by its address.
    """

    def __init__(self, workspace: Workspace | None, permissions: Permissions) -> None:
        self.workspace, self._permissions = workspace, permissions
        self.copies: dict[str, Path] = {}

    def file(self, address: str) -> Path:
        """Return the copy of a data file; of the same file always the same one.

        Raises:
            DataError: It may not be copied, or there is none.
            CredentialsError: It may not be read.
        """
        if address not in self.copies:
            if not self._permissions.network:
                raise DataError(
                    f"data file {address!r} is in Azure, and the network is off",
                    hint=f"{_ALLOW} Or let only passes read it, on a target `azureml` that builds.",
                )
            from paretune.azure.inputs import copy_file

            self.copies[address] = _reached(
                f"data file {address!r}",
                lambda: copy_file(address, self.workspace, _place(address), ShownCopy()),
            )
        return self.copies[address]

    def with_copies(self, data: Mapping[str, DataSpec]) -> dict[str, DataSpec]:
        """Return data sets with the copies in place of what was copied."""
        paths = {address: str(path) for address, path in self.copies.items()}
        return {name: with_paths(spec, paths) for name, spec in data.items()}

    def model(self, address: str) -> Path:
        """Return the folder of a registered model.

        Raises:
            UsageError: It may not be copied, or there is none that can be used.
            CredentialsError: It may not be read.
        """
        if not self._permissions.network:
            raise UsageError(f"model {address!r} is in Azure, and the network is off", hint=_ALLOW)
        from paretune.models.registered import fetch_registered

        return _reached(
            f"model {address!r}",
            lambda: fetch_registered(
                address, self._permissions, self.workspace, _place(address), ShownCopy()
            ),
        )


def _reached(what: str, fetch: Callable[[], Path]) -> Path:
    """Return what was fetched; a failure that may pass ends the command all the same."""
    try:
        return fetch()
    except TransientError as error:
        hint = error.hint or "Run the same command again later: what has arrived is kept."
        raise UsageError(f"{what}: {error.message}", hint=hint) from error


def _place(address: str) -> Path:
    from paretune.azure.copies import FOLDER

    try:
        folder = default_store() / FOLDER
    except StateError as error:
        raise UsageError(
            f"{address!r} cannot be copied: {error.message}", hint=error.hint
        ) from error
    return folder / digest(address).removeprefix("sha256:")[:32]


class ShownCopy:
    """Reports on standard error how much of a large file has arrived."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, name: str, done: int, total: int) -> None:
        """Print a line, at most every five seconds."""
        now = time.monotonic()
        if total < _SHOWN_FROM_BYTES or (now < self._next and done < total):
            return
        self._next = now + _SHOWN_EVERY_S
        told = f"{name}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB copied from Azure"
        print(told, file=sys.stderr, flush=True)
