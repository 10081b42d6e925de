"""How a target connects to a Ray cluster, and which of its hosts fit.

It runs in a process of its own (`paretune.targets.launchers.ray_broker`).
"""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

LOCAL = "local"
_READ_S = 15.0
"""How long one call waits for what a command says, at most."""
_ANSWERS_WITHIN_S = 10.0
_OBJECT_STORE_BYTES = 80_000_000
"""Of a Ray that is started here: nothing of ours goes through it, and 75 MB are Ray's minimum."""
_JOIN = "On this machine: `ray start --address={address} --num-cpus=0` (a node that gets no work)."


class RefusedError(Exception):
    """What is wanted cannot be done.

    Attributes:
        hint: What to do.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Wish:
    """What a target wants of a cluster.

    Attributes:
        address: Of the cluster's head; or `LOCAL`.
        socket: Where commands are served.
        resources: What a host must have.
        cpus: CPUs to reserve on each; None: all of them.
        hosts: How many hosts; None: all that fit.
        silent_s: How long a host may be silent, beyond the time that a call waits.
        placed_s: How long Ray may take to start a worker.
    """

    address: str
    socket: str
    resources: Mapping[str, float] = field(default_factory=dict)
    cpus: float | None = None
    hosts: int | None = None
    silent_s: float = 45.0
    placed_s: float = 60.0

    @property
    def read_s(self) -> float:
        """How long one call waits for what a command says."""
        return min(_READ_S, self.silent_s)

    @property
    def wanted(self) -> dict[str, float]:
        """What a host must have, CPUs included."""
        return {**self.resources, "CPU": self.cpus or 1}

    @property
    def custom(self) -> dict[str, float]:
        """The resources that Ray knows from nothing but their names."""
        return {key: amount for key, amount in self.resources.items() if key not in ("CPU", "GPU")}


def own_token() -> dict[str, str]:
    """Return the variables that protect a Ray that is started here with a token of its own.

    Otherwise Ray writes one into the home folder, which every later cluster of this user then
    demands.
    """
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def connect(wish: Wish) -> str:
    """Connect to a cluster, or start one here; return the socket of this machine's node.

    Raises:
        RefusedError: There is none, or one of other versions.
    """
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if wish.address == LOCAL:
        context = ray.init(  # protected by `own_token`
            address="local",
            resources=wish.custom,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=os.environ["RAY_TMPDIR"],
            **quiet,
        )
        return str(context.address_info["raylet_socket_name"])
    host, _, port = wish.address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWERS_WITHIN_S) as there:
            known = there.getsockname()[0], there.getpeername()[0]
    except OSError as error:
        raise RefusedError(
            f"nothing answers at {wish.address}: {error.strerror or error}",
            "Is the cluster running? `ray start --head` prints the address of its head.",
        ) from error
    try:
        own = _own_node(wish.address, known)
        context = ray.init(address=wish.address, _node_ip_address=own, **quiet)
        return str(context.address_info["raylet_socket_name"])
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if "ersion mismatch" not in text:
            raise RefusedError(f"Ray does not connect to {wish.address}: {text[:500]}") from error
        raise RefusedError(
            f"the cluster at {wish.address} has another version: {text[:500]}",
            "Install the cluster's versions of Ray and Python where the search runs.",
        ) from error
    except ray.exceptions.AuthenticationError as error:
        raise RefusedError(
            f"the cluster at {wish.address} wants another token than that of this user, or one "
            "where there is none",
            "Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to its token.",
        ) from error
    except (ConnectionError, ValueError, ray.exceptions.RayError) as error:
        text = " ".join(str(error).split())
        raise RefusedError(
            f"Ray does not connect to {wish.address}: {text[:500]}",
            f"Is this machine a node of the cluster? {_JOIN.format(address=wish.address)}",
        ) from error


def _own_node(address: str, known: Sequence[str]) -> str:
    """Return the address of this machine's node in a cluster.

    Args:
        address: Of the cluster's head.
        known: The addresses of both ends of a connection to it.

    Raises:
        RefusedError: It has none.
    """
    client = import_module("ray._raylet").GcsClient(address=address)  # its types are not shipped
    nodes = [
        info.node_manager_address for info in client.get_all_node_info().values() if info.state == 0
    ]
    here = [each for each in nodes if _is_here(each)]
    if not here:
        raise RefusedError(
            f"this machine is not a node of the cluster at {address}, which has {', '.join(nodes)}",
            _JOIN.format(address=address),
        )
    return chosen(here, known)


def chosen(here: Sequence[str], known: Sequence[str]) -> str:
    """Return the node to connect through, of several on this machine.

    If that node dies, the connection to all hosts is lost. So it is the head if that is one of
    them, without which there is no cluster.
    """
    return next((each for each in known if each in here), min(here, key=_order))


def _is_here(address: str) -> bool:
    """Return whether an address is one of this machine: a socket can be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as bound:
            bound.bind((address, 0))
    except OSError:
        return False
    return True


def hosts_that_fit(nodes: Iterable[Mapping[str, Any]], wish: Wish) -> list[Mapping[str, Any]]:
    """Return the nodes that a target uses, in the order of their addresses.

    Args:
        nodes: Of the cluster, as `ray.nodes` has them.
        wish: What the target wants.

    Raises:
        RefusedError: Too few have what it wants.
    """
    alive = [node for node in nodes if node["Alive"]]
    fit = {node["NodeManagerAddress"]: node for node in alive if fits(node, wish)}
    found = [fit[address] for address in sorted(fit, key=_order)]
    if len(found) < (wish.hosts or 1):
        what = ", ".join(f"{key}: {amount:g}" for key, amount in wish.wanted.items())
        there = "; ".join(f"{n['NodeManagerAddress']} has {resources_of(n)}" for n in alive)
        raise RefusedError(
            f"{wish.hosts or 1} {'hosts' if (wish.hosts or 1) > 1 else 'host'} with {what} wanted, "
            f"{len(found)} found: {there or 'no node is alive'}",
            "Ask for what a node has (`resources:`, `cpus:`, `hosts:`), or start a node with "
            "`ray start --resources`.",
        )
    return found[: wish.hosts]


def fits(node: Mapping[str, Any], wish: Wish) -> bool:
    """Return whether a node is alive and has what a target wants.

    A machine may have several nodes: the one that joins a cluster for a search has no CPU.
    """
    has = node["Resources"]
    return node["Alive"] and all(has.get(key, 0) >= each for key, each in wish.wanted.items())


def _order(address: str) -> tuple[int, int | str]:
    try:
        return 0, int(ipaddress.ip_address(address))
    except ValueError:
        return 1, address


def resources_of(node: Mapping[str, Any]) -> str:
    """Return what a node has, as text; what Ray adds of itself is left out."""
    own = {
        key: amount
        for key, amount in node["Resources"].items()
        if not key.startswith(("node:", "memory", "object_store_memory"))
    }
    return ", ".join(f"{key}: {amount:g}" for key, amount in sorted(own.items())) or "nothing"
