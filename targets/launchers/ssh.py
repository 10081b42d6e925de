"""The target ``ssh``: another machine, by the system's OpenSSH client."""

from __future__ import annotations

from pathlib import Path

from paretune.core.packages import WORKER
from paretune.targets.launchers.installed import InstalledTarget
from paretune.targets.transports.host_files import HostTransport
from paretune.targets.transports.ssh import SshHost


class SshTarget(InstalledTarget):
    """Runs jobs on another machine.

    Args:
        store_root: The artifact store of this machine; the far side has its own.
        allow_network: Whether jobs may reach out.
        name: The target's name.
        host: The host, as ssh takes it.
        python: The interpreter there; a relative path starts at the home folder.
        store: The folder there for models and data; by default in the user's cache folder.
        budget: Bytes that it may hold; None: as many as its disk.
    """

    def __init__(
        self,
        store_root: Path | None = None,
        allow_network: bool = False,
        name: str = "ssh",
        host: str = "",
        python: str = "python3",
        store: str | None = None,
        budget: int | None = None,
    ) -> None:
        machine = SshHost(host)
        super().__init__(
            name,
            machine,
            HostTransport(machine),
            python=python,
            store_root=store_root,
            store=store,
            budget=budget,
            allow_network=allow_network,
            install=f"`paretune target add {host}` makes an environment there that has what is "
            f"needed. Or install {', '.join(WORKER)} and a runtime (`ssh {host} {python} -m pip "
            "install ...`), or name another interpreter (`python:`).",
        )
