"""What a user says of a network that its file does not: sizes, state, and values of inputs.

It is written beside the network (`FILE`), belongs to the model and its digest, goes through passes
and into the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from paretune.core.errors import UsageError, nearest
from paretune.core.jsontools import Json, read_model_json
from paretune.models.onnx_signature import Signature

FILE = "paretune_network.json"


@dataclass(frozen=True)
class DeclaredNetwork:
    """Sizes, state and values.

    Attributes:
        sizes: Value of a size, by the name that the network has for it; of one without a name by
            ``INPUT[AXIS]``.
        state: Output to the input that it is fed back to. The first run is given zeros.
        values: Input to the value that it always has, such as a sampling rate.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, int | float | bool] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Return the content of the file."""
        found: dict[str, Json] = {"sizes": dict(self.sizes), "state": dict(self.state)}
        return {**found, "values": dict(self.values)} if self.values else found

    def check(self, network: Signature) -> None:
        """Refuse names that a network does not have, and state that does not fit.

        Args:
            network: What the network takes and gives.

        Raises:
            UsageError: Says which, what there is, and the nearest name.
        """
        open_sizes = {
            name: axis
            for value, found in network.inputs.items()
            for name, axis in found.open_sizes(value).items()
        }
        for name in self.sizes:
            if name not in open_sizes:
                there = ", ".join(open_sizes) or "none: all of them are fixed"
                raise UsageError(
                    f"sizes: the network has no open size {name!r}; it has {there}",
                    hint=nearest(name, open_sizes),
                )
        for output, given in self.state.items():
            for role, name, known in (
                ("output", output, network.outputs),
                ("input", given, network.inputs),
            ):
                if name not in known:
                    raise UsageError(
                        f"state: the network has no {role} {name!r}; it has {', '.join(known)}",
                        hint=nearest(name, known),
                    )
            after, before = network.outputs[output], network.inputs[given]
            if after.element != before.element or not before.element:
                raise UsageError(
                    f"state: the output {output!r} and the input {given!r} are not of one type"
                )
            if before.shape is None:
                raise UsageError(
                    f"state: the network does not say how many axes its input {given!r} has",
                    hint="Export it with the shapes of its inputs.",
                )
            if after.shape is not None and len(after.shape) != len(before.shape):
                raise UsageError(
                    f"state: the output {output!r} has {len(after.shape)} axes, and the input "
                    f"{given!r} has {len(before.shape)}"
                )
        for name in self.values:
            if name not in network.inputs:
                raise UsageError(
                    f"values: the network has no input {name!r}; it has "
                    f"{', '.join(network.inputs)}",
                    hint=nearest(name, network.inputs),
                )
            if name in self.state.values():
                raise UsageError(f"values: the input {name!r} is state, which begins as zeros")
            free = [n for n in network.inputs[name].open_sizes(name) if n not in self.sizes]
            if free:
                raise UsageError(
                    f"values: the input {name!r} has the open size {free[0]}",
                    hint=f"Give it, too: sizes: {{{free[0]}: 1}}.",
                )
        fed = list(self.state.values())
        twice = sorted({name for name in fed if fed.count(name) > 1})
        if twice:
            raise UsageError(f"state: two outputs are fed back to the input {twice[0]!r}")


def read_declared(folder: Path) -> DeclaredNetwork:
    """Return what is declared of the network in a folder; nothing without such a file.

    Raises:
        UsageError: The file is damaged.
    """
    file = folder / FILE
    if not file.is_file():
        return DeclaredNetwork()
    found = read_model_json(file)
    sizes, state, values = (found.get(key, {}) for key in ("sizes", "state", "values"))
    if (
        not isinstance(sizes, dict)
        or not isinstance(state, dict)
        or not isinstance(values, dict)
        or not all(type(size) is int and size > 0 for size in sizes.values())
        or not all(isinstance(name, str) for name in state.values())
        or not all(type(value) in (int, float, bool) for value in values.values())
    ):
        raise UsageError(
            f"{file}: expected numbers above 0 by name under `sizes`, inputs by output under "
            "`state`, and numbers by input under `values`"
        )
    return DeclaredNetwork(sizes, state, values)
