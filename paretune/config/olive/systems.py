"""Olive's systems and execution providers become ``target:``."""

from __future__ import annotations

from dataclasses import dataclass, field

from paretune.config.olive.entries import Ledger, Status, children
from paretune.config.olive.fields import (
    NULL,
    Fields,
    Node,
    apply,
    ignores,
    missing,
    near,
    no_effect,
    shown,
)
from paretune.config.olive.reading import Workflow
from paretune.core.jsontools import Json

_LOCAL = "localsystem"
_PROVIDERS = {
    "CPUExecutionProvider": "cpu",
    "CUDAExecutionProvider": "cuda",
    "DmlExecutionProvider": "dml",
}
_OF_DEVICE = {"cpu": ("cpu",), "gpu": ("cuda", "dml", "cpu")}
_DEFAULT_OF_DEVICE = {"cpu": "cpu", "gpu": "cuda"}
_INTO = ("target", "providers")
_SEVERAL = "several providers are a choice: `paretune search` tries each"
_STORED_TOKEN = ignores("the access token stored by Hugging Face's tools is used")


def translate_systems(workflow: Workflow, ledger: Ledger) -> list[str]:
    """Return the execution providers to try.

    Args:
        workflow: The configuration.
        ledger: Records the result for each key.
    """
    systems = _Systems(dict(workflow.systems), ledger)
    target, host = workflow.engine.take("target"), workflow.engine.take("host")
    listed = workflow.engine.take("execution_providers")
    providers: list[str] = []
    if target is not None:
        providers = systems.providers(target, "the target")
    if host is not None:
        systems.host(host)
    if listed is not None and providers:
        ledger.no_effect(listed.path, "the target's accelerators name them")
    elif listed is not None:
        providers = _provider_list(listed, None, ledger)
    if not providers:
        providers = list(systems.default or ("cpu",))
        if not systems.default:
            ledger.absent(
                (*workflow.engine.path, "execution_providers"),
                _INTO,
                "Olive uses what its runtime offers; cpu here",
            )
    systems.close()
    return list(dict.fromkeys(providers))


@dataclass
class _Systems:
    """The systems of a workflow, each read when something names it."""

    waiting: dict[str, Node]
    ledger: Ledger
    default: tuple[str, ...] = ()
    _read: dict[str, list[str]] = field(default_factory=dict)

    def providers(self, node: Node, what: str) -> list[str]:
        """Return the providers of the system that a key names or holds."""
        if isinstance(node.value, dict):
            return self._system(node)
        name = node.value
        known = self.waiting | self._read
        if node.value is None:
            self.ledger.no_effect(node.path, NULL)
            return []
        if not isinstance(name, str) or name not in known:
            why = f"no system {shown(name)}{near(name, known)}"
            self.ledger.unsupported(node.path, why)
            return []
        self.ledger.translated(node.path, ("target",), f"{what} is this machine")
        if name not in self._read:
            self._read[name] = self._system(self.waiting.pop(name))
        return self._read[name]

    def host(self, node: Node) -> None:
        """Record the system that passes run on; its accelerators are not the target's."""
        default = self.default
        self.providers(node, "the host")
        self.default = default

    def close(self) -> None:
        """Record the systems without a reference."""
        for node in self.waiting.values():
            self.ledger.no_effect(node.path, "no pass runs on it")

    def _system(self, node: Node) -> list[str]:
        fields = Fields.of(node, self.ledger, nested="config")
        kind = fields.take("type")
        if kind is None or not isinstance(kind.value, str) or kind.value.lower() != _LOCAL:
            why = "paretune runs on this machine, a LocalSystem"
            given = "" if kind is None else f", not {shown(kind.value)}"
            missing(self.ledger, fields, "type", why + given, kind)
            fields.rest(self.ledger, Status.NO_EFFECT, "belongs to a system that is not supported")
            return []
        self.ledger.translated(kind.path, ("target", "name"))
        accelerators = fields.take("accelerators")
        apply({"hf_token": _STORED_TOKEN}, fields, self.ledger, of="a LocalSystem")
        return [] if accelerators is None else self._accelerators(accelerators)

    def _accelerators(self, node: Node) -> list[str]:
        if node.value is None:
            self.ledger.no_effect(node.path, NULL)
            return []
        if not isinstance(node.value, list):
            self.ledger.unsupported(
                node.path, f"expected a list of accelerators, found {shown(node.value)}"
            )
            return []
        if node.value and not any(isinstance(one, (dict, list)) for one in node.value):
            self._devices(node)
            return []
        each = [Node(p, v) for p, v in children(node.path, node.value)]
        return [provider for one in each for provider in self._accelerator(one)]

    def _devices(self, node: Node) -> None:
        """Read the oldest form: the names of devices, with their providers at another key."""
        wrong = [one for one in node.value if str(one).lower() not in _OF_DEVICE]
        if wrong:
            self.ledger.unsupported(node.path, _no_device(wrong[0]))
            return
        self.default = tuple(_DEFAULT_OF_DEVICE[str(one).lower()] for one in node.value)
        self.ledger.translated(node.path, ("target",), "the providers determine the device")

    def _accelerator(self, node: Node) -> list[str]:
        fields = Fields.of(node, self.ledger)
        device, listed = fields.take("device"), fields.take("execution_providers")
        apply({}, fields, self.ledger, of="an accelerator")
        kind = None
        if device is not None and device.value is not None:
            kind = str(device.value).lower()
            if kind not in _OF_DEVICE:
                self.ledger.unsupported(device.path, _no_device(device.value))
                no_effect(self.ledger, "of a device that is not supported", listed)
                return []
        if device is not None:
            self.ledger.translated(device.path, ("target",), "the providers determine the device")
        if listed is not None and listed.value:
            return _provider_list(listed, kind, self.ledger)
        no_effect(self.ledger, "the value is empty", listed)
        if kind is None:
            return []
        provider = _DEFAULT_OF_DEVICE[kind]
        self.ledger.absent(
            (*fields.path, "execution_providers"),
            _INTO,
            f"Olive uses what its runtime offers for a {kind}; {provider} here",
            Status.APPROXIMATED,
        )
        return [provider]


def _provider_list(node: Node, device: str | None, ledger: Ledger) -> list[str]:
    """Return paretune's names of a list of execution providers."""
    names: Json = node.value if isinstance(node.value, list) else [node.value]
    unknown = [one for one in names if not isinstance(one, str) or one not in _PROVIDERS]
    if unknown:
        told = ", ".join(map(shown, unknown))
        ledger.unsupported(node.path, f"paretune runs on {', '.join(_PROVIDERS)}, not on {told}")
        return []
    found = list(dict.fromkeys(_PROVIDERS[one] for one in names))
    fitting = [one for one in found if device is None or one in _OF_DEVICE[device]]
    if fitting != found:
        ledger.approximated(node.path, _INTO, f"Olive drops those that no {device} has")
        return fitting or ["cpu"]
    ledger.translated(node.path, _INTO, _SEVERAL if len(found) > 1 else None)
    return found


def _no_device(value: Json) -> str:
    return f"paretune runs on a cpu or a gpu, not on {shown(value)}"
