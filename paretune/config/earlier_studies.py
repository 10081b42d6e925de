"""Where the studies are that give a search priors: `search: {from: [...]}` and ``--from``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paretune.config.plan import EarlierStudy
from paretune.config.yaml_source import Wrong
from paretune.core.errors import UsageError
from paretune.core.user_paths import user_path

_HINT = "Name a folder that `paretune search` wrote, such as studies/tone."


def configured_studies(
    names: Sequence[str] | None, root: Path, wrong: Wrong
) -> tuple[EarlierStudy, ...] | None:
    """Return the studies that a configuration names; None: it does not name any.

    Args:
        names: As configured.
        root: The configuration's folder, where relative paths are looked up first.
        wrong: Receives each folder that does not exist.
    """
    if names is None:
        return None
    found = []
    for number, name in enumerate(names):
        key = ("search", "from", number)
        try:
            path = user_path(name)
        except UsageError as error:
            wrong(key, error.message, error.hint)
            continue
        places = [root / path, path]
        there = next((place for place in places if place.is_dir()), None)
        if there is None:
            looked = " and ".join(dict.fromkeys(repr(str(place)) for place in places))
            wrong(key, f"no study folder {name!r} (looked for {looked})", _HINT)
            continue
        found.append(EarlierStudy(there, key))
    return tuple(found)


def given_studies(names: Sequence[Path | str]) -> tuple[EarlierStudy, ...]:
    """Return the studies that a call names.

    Raises:
        UsageError: One of them is not there.
    """
    if isinstance(names, str | Path):
        names = [names]
    found = []
    for name in names:
        path = user_path(name)
        if not path.is_dir():
            raise UsageError(f"--from: no study folder {str(name)!r}", hint=_HINT)
        found.append(EarlierStudy(path))
    return tuple(found)
