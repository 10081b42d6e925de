"""The accelerators of Olive's systems, and its execution providers, by paretune's names."""

from __future__ import annotations

from dataclasses import dataclass

from paretune.config.olive.entries import Ledger, Status, children
from paretune.config.olive.fields import NULL, Fields, Node, apply, no_effect, shown
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json

PROVIDERS_KEY = ("target", "providers")
_PROVIDERS = {
    "CPUExecutionProvider": "cpu",
    "CUDAExecutionProvider": "cuda",
    "DmlExecutionProvider": "dml",
    "OpenVINOExecutionProvider": "openvino",
}
_OPENVINO = "OpenVINOExecutionProvider"
_WITHOUT_OPENVINO = (
    "without OpenVINO, as Olive where its onnxruntime has none: OpenVINO's package lives in an "
    "environment of its own (docs/onnx.md)"
)
_OF_DEVICE = {"cpu": ("cpu", "openvino"), "gpu": ("cuda", "dml", "openvino", "cpu")}
_DEFAULT_OF_DEVICE = {"cpu": "cpu", "gpu": "cuda"}
_SEVERAL = "several providers are a choice: `paretune search` tries each"
_NOT_CHOSEN_BY = "the providers determine the device"


@dataclass(frozen=True)
class Accelerators:
    """What a system says of its devices.

    Attributes:
        devices: ``cpu`` or ``gpu``, each once.
        providers: Those that are named.
        defaults: Those of the devices, where the oldest form names devices alone and the engine
            may name providers.
    """

    devices: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()


def read_accelerators(node: Node | None, ledger: Ledger, into: Path | None = None) -> Accelerators:
    """Read a system's accelerators, and record them.

    Args:
        node: The key; None: there is none.
        ledger: Records the result for each key.
        into: Paretune's key that takes the devices; None: there is none, as the providers determine
            the device.
    """
    if node is None:
        return Accelerators()
    if node.value is None:
        ledger.no_effect(node.path, NULL)
        return Accelerators()
    if not isinstance(node.value, list):
        ledger.unsupported(node.path, f"expected a list of accelerators, found {shown(node.value)}")
        return Accelerators()
    if node.value and not any(isinstance(one, (dict, list)) for one in node.value):
        return _devices_alone(node, ledger, into)
    each = [Node(path, value) for path, value in children(node.path, node.value)]
    read = [_accelerator(one, ledger, into) for one in each]
    return Accelerators(
        tuple(dict.fromkeys(device for device, _ in read if device is not None)),
        tuple(dict.fromkeys(provider for _, found in read for provider in found)),
    )


def _devices_alone(node: Node, ledger: Ledger, into: Path | None) -> Accelerators:
    """Read the oldest form: the names of devices, with their providers at another key."""
    names = [str(one).lower() for one in node.value]
    wrong = [one for one, name in zip(node.value, names, strict=True) if name not in _OF_DEVICE]
    if wrong:
        ledger.unsupported(node.path, _no_device(wrong[0]))
        return Accelerators()
    _record_device(node, ledger, into)
    devices = tuple(dict.fromkeys(names))
    return Accelerators(devices, defaults=tuple(_DEFAULT_OF_DEVICE[name] for name in devices))


def _accelerator(node: Node, ledger: Ledger, into: Path | None) -> tuple[str | None, list[str]]:
    """Return one accelerator's device and its providers."""
    fields = Fields.of(node, ledger)
    device, listed = fields.take("device"), fields.take("execution_providers")
    apply({}, fields, ledger, of="an accelerator")
    kind = None
    if device is not None and device.value is not None:
        kind = str(device.value).lower()
        if kind not in _OF_DEVICE:
            ledger.unsupported(device.path, _no_device(device.value))
            no_effect(ledger, "of a device that is not supported", listed)
            return None, []
    if device is not None:
        _record_device(device, ledger, into)
    if listed is not None and listed.value:
        return kind, provider_list(listed, kind, ledger)
    no_effect(ledger, "the value is empty", listed)
    if kind is None:
        return None, []
    provider = _DEFAULT_OF_DEVICE[kind]
    ledger.absent(
        (*fields.path, "execution_providers"),
        PROVIDERS_KEY,
        f"Olive uses what its runtime offers for a {kind}; {provider} here",
        Status.APPROXIMATED,
    )
    return kind, [provider]


def _record_device(node: Node, ledger: Ledger, into: Path | None) -> None:
    if into is None:
        ledger.translated(node.path, ("target",), _NOT_CHOSEN_BY)
    else:
        ledger.translated(node.path, into)


def provider_list(node: Node, device: str | None, ledger: Ledger) -> list[str]:
    """Return paretune's names of a list of execution providers, and record the list.

    Args:
        node: The list.
        device: Of which they are; None: not known.
        ledger: Records the result.
    """
    listed: Json = node.value if isinstance(node.value, list) else [node.value]
    names = [one for one in listed if one != _OPENVINO] or listed
    unknown = [one for one in names if not isinstance(one, str) or one not in _PROVIDERS]
    if unknown:
        told = ", ".join(map(shown, unknown))
        ledger.unsupported(node.path, f"paretune runs on {', '.join(_PROVIDERS)}, not on {told}")
        return []
    found = list(dict.fromkeys(_PROVIDERS[one] for one in names))
    fitting = [one for one in found if device is None or one in _OF_DEVICE[device]]
    if names != listed:
        ledger.approximated(node.path, PROVIDERS_KEY, _WITHOUT_OPENVINO)
    elif fitting != found:
        ledger.approximated(node.path, PROVIDERS_KEY, f"Olive drops those that no {device} has")
    else:
        ledger.translated(node.path, PROVIDERS_KEY, _SEVERAL if len(found) > 1 else None)
    return fitting or ["cpu"]


def _no_device(value: Json) -> str:
    return f"paretune runs on a cpu or a gpu, not on {shown(value)}"
