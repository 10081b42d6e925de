"""What the keys of a pass's actions depend on in this process: compared between two machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from paretune.core.distributions import package_version
from paretune.core.jsontools import Json
from paretune.plugin_identity import pass_key
from paretune.registry import find_pass


def pass_identities(names: Sequence[str]) -> dict[str, Json]:
    """Return of each pass its version, its packages' versions and its code, each as a line.

    Args:
        names: The passes; of one that cannot be loaded, the reason stands under ``pass``.
    """
    return {name: _identity(name) for name in names}


def _identity(name: str) -> Mapping[str, str]:
    try:
        pass_ = find_pass(name)
        more = pass_key(pass_, {}, Path("/"))
    except Exception as error:  # whatever a plug-in raises
        return {"pass": f"cannot be loaded: {str(error) or type(error).__name__}"}
    packages = {f"package {each}": package_version(each) for each in pass_.packages}
    code = {key: str(value) for key, value in more.items()}
    return {"pass": f"version {pass_.version}", **packages, **code}
