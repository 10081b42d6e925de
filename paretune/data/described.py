"""What a worker says of data that only its machine reads: digests and counts, no rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune.core.jsontools import Json
from paretune.core.stamps import take
from paretune.data.catalog import DataCatalog
from paretune.data.elsewhere import with_paths
from paretune.data.spec import DataSpec

FOLDER = "PARETUNE_FILES"
"""Environment variable of a job: the folder with its files, each under its key."""


def described(
    specs: Mapping[str, Any], refs: Sequence[str], addresses: Mapping[str, str]
) -> dict[str, Json]:
    """Read data sets; for workers only.

    Args:
        specs: By name.
        refs: What is asked for (``tone.train``).
        addresses: Of each file, by its key in the job's folder.

    Returns:
        ``files``: SHA-256 and size by address; ``parts``: digest, rows and characters by reference;
        ``notes``: what should be known of the files.

    Raises:
        DataError: A data set is broken, empty or unlabelled.
    """
    folder = Path(os.environ[FOLDER])
    places = {}
    files: dict[str, Json] = {}
    for key, address in addresses.items():
        # Under its own name: the suffix says the format.
        place = folder / f"{key}-named" / address.rpartition("/")[2]
        place.parent.mkdir(exist_ok=True)
        if not place.exists():
            place.symlink_to((folder / key).resolve())
        read = take(place)
        files[address] = {"sha256": read.sha256, "size": read.stamp.size}
        places[address] = str(place)
    found = {name: with_paths(DataSpec(**spec), places) for name, spec in specs.items()}
    catalog = DataCatalog(found, folder)
    parts: dict[str, Json] = {}
    for ref in refs:
        rows, characters = catalog.count(ref)
        parts[ref] = {"digest": catalog.digest(ref), "rows": rows, "characters": characters}
    return {"files": files, "parts": parts, "notes": list(catalog.notes(refs))}
