"""What the command line allows beyond the default: the network, and code that comes with inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from paretune.core.jsontools import Json


@dataclass(frozen=True)
class Permissions:
    """Both are off unless a command-line flag, or the caller of the library, turns them on.

    Attributes:
        network: Hub models and data sets may be fetched (`--allow-network`).
        remote_code: Python code of models and configurations may run (`--trust-remote-code`).
    """

    network: bool = False
    remote_code: bool = False

    def to_json(self) -> dict[str, Json]:
        """Return both by the names that jobs have them under."""
        return {"allow_network": self.network, "trust_remote_code": self.remote_code}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Permissions:
        """Read what `to_json` wrote; what is missing is off."""
        return cls(value.get("allow_network", False), value.get("trust_remote_code", False))
