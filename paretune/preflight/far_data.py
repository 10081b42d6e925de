"""Data in Azure that the builder reads: a job there says its digests, and how much there is.

The answer is kept in the store for the files as they are now (etag and size), so that a job is run
once for each content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from paretune.core.distributions import package_version
from paretune.core.errors import DataError, TransientError, UsageError
from paretune.core.job import Call, JobStatus, Limits
from paretune.core.jsontools import Json, digest, read_json, write_json
from paretune.data.elsewhere import Elsewhere, FarFile, FarPart
from paretune.preflight.asking import ask

if TYPE_CHECKING:
    from pathlib import Path

    from paretune.config import Plan
    from paretune.core.target import Target
    from paretune.data.spec import DataSpec

_LIMITS = Limits(seconds=3600.0)


def read_there(plan: Plan, builder: Target, store: Path) -> tuple[Elsewhere, tuple[str, ...]]:
    """Return what is known of the data that only the builder reads, and notes on it.

    Args:
        plan: A checked configuration.
        builder: Builds, and can read files in Azure.
        store: Root of the artifact store here.

    Raises:
        DataError: A data set is broken, empty, or not there.
        CredentialsError: Its files may not be read.
        UsageError: The builder cannot read them.
    """
    if not plan.far_data:
        return Elsewhere(), ()
    name = builder.info().name
    specs = {name: plan.data[name] for name in plan.far_data}
    addresses = sorted({file for spec in specs.values() for file in _files(spec)})
    now = {address: _blob(address, plan) for address in addresses}
    known: Json = {
        "specs": {name: spec.model_dump(mode="json") for name, spec in specs.items()},
        "refs": sorted(plan.far_refs),
        "files": {address: list(found) for address, found in now.items()},
        "paretune": package_version("paretune"),
    }
    file = store / "azureml" / "data" / f"{digest(known).removeprefix('sha256:')[:24]}.json"
    try:
        said = read_json(file)
    except (OSError, ValueError):
        said = _asked(known, addresses, builder)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, said)
    files = {
        address: FarFile(address, said["files"][address]["sha256"], said["files"][address]["size"])
        for address in addresses
    }
    for address, (_, size) in now.items():
        if files[address].size != size:
            raise DataError(
                f"data file {address!r} was replaced while {name!r} read it",
                hint="Run the same command again.",
            )
    parts = {}
    for data, spec in specs.items():
        of_spec = tuple(files[address] for address in _files(spec))
        for ref in plan.far_refs:
            if ref == data or ref.startswith(f"{data}."):
                part = said["parts"][ref]
                parts[ref] = FarPart(part["digest"], part["rows"], part["characters"], of_spec)
    told = (
        f"data {ref}: read on {name!r} only ({part.rows:,} rows); its texts and labels are not "
        "compared with those of other data sets"
        for ref, part in parts.items()
    )
    return Elsewhere(name, parts), (*told, *map(str, said["notes"]))


def _asked(known: Mapping[str, Any], addresses: list[str], builder: Target) -> Json:
    keys = {digest(address).removeprefix("sha256:"): address for address in addresses}
    args = {"specs": known["specs"], "refs": known["refs"], "addresses": keys}
    call = Call("paretune.data.described:described", args)
    result = ask(builder, call, _LIMITS)
    if result.status is not JobStatus.OK:
        raise DataError(f"the data in Azure cannot be used: {result.reason}")
    said = result.value
    refs = known["refs"]
    if not isinstance(said, dict) or not _is_complete(said, addresses, refs):
        raise UsageError(f"{builder.info().name!r} did not say what it read of the data in Azure")
    return said


def _is_complete(said: Mapping[str, Any], addresses: list[str], refs: list[str]) -> bool:
    """Return whether an answer has the form of `paretune.data.described.described`."""
    try:
        files = all(
            len(bytes.fromhex(said["files"][address]["sha256"])) == 32
            and isinstance(said["files"][address]["size"], int)
            for address in addresses
        )
        parts = all(
            isinstance(said["parts"][ref]["digest"], str)
            and isinstance(said["parts"][ref]["rows"], int)
            and isinstance(said["parts"][ref]["characters"], int)
            for ref in refs
        )
        return files and parts and isinstance(said["notes"], list)
    except (KeyError, TypeError, ValueError):
        return False


def _files(spec: DataSpec) -> tuple[str, ...]:
    return (spec.file,) if spec.file is not None else tuple((spec.files or {}).values())


def _blob(address: str, plan: Plan) -> tuple[str, int]:
    """Return the etag and the size of a file in Azure.

    Raises:
        CredentialsError: It may not be read.
        UsageError: There is no such file, or the service is not reached.
    """
    from paretune.azure.inputs import find_file

    try:
        _, found = find_file(address, plan.workspace)
    except TransientError as error:
        raise UsageError(
            f"data file {address!r}: {error.message}", hint="Run the same command again later."
        ) from error
    return found.etag, found.size
