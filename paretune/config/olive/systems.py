"""Olive's systems, its host and its target become ``target:`` and ``targets:``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from paretune.config.olive.accelerators import (
    PROVIDERS_KEY,
    Accelerators,
    provider_list,
    read_accelerators,
)
from paretune.config.olive.azure import AZURE, AzureSystems
from paretune.config.olive.entries import Ledger, Status
from paretune.config.olive.fields import (
    NULL,
    Fields,
    Node,
    apply,
    ignores,
    missing,
    near,
    shown,
)
from paretune.config.olive.reading import Workflow
from paretune.config.olive.workspaces import Workspaces
from paretune.core.jsontools import Json
from paretune.registry import names

LOCAL = "local"
_LOCAL_TYPE = "localsystem"
_STORED_TOKEN = ignores("the access token stored by Hugging Face's tools is used")
_NOT_A_NAME = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Placement:
    """Where a workflow runs.

    Attributes:
        target: The keys of ``target:``.
        targets: ``targets:``; empty if everything runs on this machine.
    """

    target: dict[str, Json]
    targets: dict[str, Json]


@dataclass(frozen=True)
class _System:
    """A system that was read.

    Attributes:
        target: The name of its target; None: it is not supported.
        accelerators: Its devices and their providers.
    """

    target: str | None
    accelerators: Accelerators = field(default_factory=Accelerators)

    @property
    def is_far(self) -> bool:
        return self.target not in (None, LOCAL)


_HERE = _System(LOCAL)


def build_system(workflow: Workflow) -> Json:
    """Return the system that passes run on, as it is named; None: this machine.

    That is the engine's host, else the system of the whole workflow, else the one host that all
    passes name.

    Args:
        workflow: The configuration; of its keys none is taken.
    """
    for named in (workflow.engine.peek("host"), workflow.own.peek("workflow_host")):
        if named is not None and not is_local(workflow, named):
            return named
    if workflow.engine.peek("host") is None:
        each = [p.beside.peek("host") for listed in workflow.passes.values() for p in listed]
        if each and all(isinstance(one, str) and one == each[0] for one in each):
            return None if is_local(workflow, each[0]) else each[0]
    return None


def is_local(workflow: Workflow, named: Json) -> bool:
    """Return whether a key names or holds a LocalSystem."""
    system = named
    if isinstance(named, str):
        system = workflow.systems[named].value if named in workflow.systems else None
    kind = system.get("type") if isinstance(system, dict) else None
    return isinstance(kind, str) and kind.lower() == _LOCAL_TYPE


def translate_systems(
    workflow: Workflow,
    ledger: Ledger,
    builds_on: Json,
    workspaces: Workspaces,
    placed: Callable[[str], str],
) -> Placement:
    """Return where the workflow builds and measures, with the execution providers to try.

    Args:
        workflow: The configuration.
        ledger: Records the result for each key.
        builds_on: The system that passes run on (`build_system`).
        workspaces: The workflow's, in Azure.
        placed: Converts a path to the form that paretune's configuration needs.
    """
    systems = _Systems(dict(workflow.systems), ledger, AzureSystems(ledger, workspaces, placed))
    target, host = workflow.engine.take("target"), workflow.engine.take("host")
    whole = workflow.own.take("workflow_host")
    listed = workflow.engine.take("execution_providers")
    around = _HERE if whole is None else systems.around(whole)
    measures, builds = around, around
    if target is not None:
        measures = systems.named(target, "measure", "the target", around)
    if host is not None:
        builds = systems.named(host, "build", "the host", around)
    if (host is None or host.value is None) and isinstance(builds_on, str) and not around.is_far:
        builds = systems.of_passes(builds_on)
    found = list(measures.accelerators.providers)
    if listed is not None and found:
        ledger.no_effect(listed.path, "the target's accelerators name them")
    elif listed is not None:
        found = provider_list(listed, None, ledger)
    if not found:
        found = list(measures.accelerators.defaults or ("cpu",))
        if not measures.accelerators.defaults:
            ledger.absent(
                (*workflow.engine.path, "execution_providers"),
                PROVIDERS_KEY,
                "Olive uses what its runtime offers; cpu here",
            )
    systems.close()
    target_keys = _places(builds, measures) | {"providers": list(dict.fromkeys(found))}
    if measures.is_far:
        ledger.absent(
            (*workflow.engine.path, "target"),
            ("target", "threads"),
            "this machine does not know the number of cores there: 1; write the counts to try",
        )
        target_keys["threads"] = [1]
    return Placement(target_keys, systems.declared)


def _places(builds: _System, measures: _System) -> dict[str, Json]:
    """Return the keys of ``target:`` that name targets."""
    if not (builds.is_far or measures.is_far):
        return {}
    return {"build": builds.target, "measure": measures.target}


@dataclass
class _Systems:
    """The systems of a workflow, each read when something names it."""

    waiting: dict[str, Node]
    ledger: Ledger
    azure: AzureSystems
    _read: dict[str, _System] = field(default_factory=dict)

    @property
    def declared(self) -> dict[str, Json]:
        """The targets that were made of them."""
        return self.azure.declared

    def around(self, node: Node) -> _System:
        """Return the system that the whole workflow runs on."""
        if node.value is None:
            self.ledger.no_effect(node.path, NULL)
            return _HERE
        why = "passes and measurements run there; the search itself runs on this machine"
        return self._of(node, "build", why, Status.APPROXIMATED)

    def named(self, node: Node, does: str, what: str, around: _System) -> _System:
        """Return the system that a key names or holds.

        Args:
            node: The key.
            does: What runs there: ``build`` or ``measure``.
            what: What the key says.
            around: Where the whole workflow runs; what is local runs there.
        """
        if node.value is None:
            self.ledger.no_effect(node.path, NULL)
            return around
        found = self._of(node, does, f"{what} is this machine", Status.TRANSLATED)
        if around.is_far and found.target == LOCAL:
            accelerators = found.accelerators
            if accelerators == Accelerators():
                accelerators = around.accelerators
            return _System(around.target, accelerators)
        if around.is_far and found.target not in (None, around.target):
            self.ledger.refuse(node.path, "the whole workflow runs on another system")
        return found

    def of_passes(self, name: str) -> _System:
        """Return the system that every pass names as its host; the passes record their keys."""
        return self._once(name) if name in self.waiting | self._read else _HERE

    def close(self) -> None:
        """Record the systems without a reference."""
        for node in self.waiting.values():
            self.ledger.no_effect(node.path, "nothing runs on it")

    def _of(self, node: Node, does: str, why: str, status: Status) -> _System:
        name, known = node.value, self.waiting | self._read
        if isinstance(name, dict):
            return self._system(node, "aml")
        if not isinstance(name, str) or name not in known:
            why = f"no system {shown(name)}{near(name, known)}"
            self.ledger.unsupported(node.path, why)
            return _System(None)
        found = self._once(name)
        far = found.is_far
        plain = status is Status.TRANSLATED and far
        into = ("target", does) if far else ("target",)
        self.ledger.record(node.path, status, into, None if plain else why)
        return found

    def _once(self, name: str) -> _System:
        if name not in self._read:
            self._read[name] = self._system(self.waiting.pop(name), name)
        return self._read[name]

    def _system(self, node: Node, name: str) -> _System:
        fields = Fields.of(node, self.ledger, nested="config")
        kind = fields.take("type")
        given = kind.value.lower() if kind is not None and isinstance(kind.value, str) else None
        if kind is not None and given == _LOCAL_TYPE:
            self.ledger.translated(kind.path, ("target", "name"))
            accelerators = read_accelerators(fields.take("accelerators"), self.ledger)
            apply({"hf_token": _STORED_TOKEN}, fields, self.ledger, of="a LocalSystem")
            return _System(LOCAL, accelerators)
        if kind is not None and given == AZURE:
            target = self._free_name(name)
            self.ledger.translated(kind.path, ("targets", target))
            return _System(target, self.azure.read(fields, target))
        why = "paretune runs on this machine (LocalSystem) and in Azure (AzureML)"
        why += "" if kind is None else f", not on {shown(kind.value)}"
        missing(self.ledger, fields, "type", why, kind)
        fields.rest(self.ledger, Status.NO_EFFECT, "belongs to a system that is not supported")
        return _System(None)

    def _free_name(self, name: str) -> str:
        """Return a name that a target can have: not that of a kind of target, nor with spaces."""
        found = _NOT_A_NAME.sub("_", name).strip("_") or "aml"
        while found in (*names("targets"), *self.declared):
            found += "_system"
        return found
