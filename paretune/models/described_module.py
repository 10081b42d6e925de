"""What is known of a PyTorch module before PyTorch is imported: beside it, in `FILE`.

Of a function's module the user says the inputs; of an exported program the program does. The rest
was found when the folder was made, by running the module once (`paretune.models.module_folder`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json, read_model_json

FILE = "paretune_module.json"
PROGRAM = "program.pt2"
"""The exported program in such a folder, whatever the user calls it."""


@dataclass(frozen=True)
class ModuleInput:
    """An input.

    Attributes:
        shape: Sizes; open ones by name.
        type: As numpy calls it.
    """

    shape: tuple[int | str, ...]
    type: str = "float32"


@dataclass(frozen=True)
class DescribedModule:
    """A module of a function or an exported program.

    Attributes:
        module: The function, ``file.py:function``; empty: it is an exported program.
        inputs: By name.
        outputs: Names.
        parameters: How many numbers its weights have.
    """

    module: str
    inputs: Mapping[str, ModuleInput]
    outputs: tuple[str, ...] = ()
    parameters: int = 0

    def to_json(self) -> dict[str, Json]:
        """Return the content of the file."""
        return {
            "module": self.module,
            "inputs": {
                name: {"shape": list(each.shape), "type": each.type}
                for name, each in self.inputs.items()
            },
            "outputs": list(self.outputs),
            "parameters": self.parameters,
        }


def read_described(folder: Path) -> DescribedModule:
    """Return what a folder says of its module.

    Raises:
        UsageError: The file is damaged.
    """
    file = folder / FILE
    found = read_model_json(file)
    try:
        inputs = {
            str(name): ModuleInput(tuple(each["shape"]), str(each["type"]))
            for name, each in found["inputs"].items()
        }
        outputs = tuple(map(str, found["outputs"]))
        return DescribedModule(str(found["module"]), inputs, outputs, int(found["parameters"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{file}: expected `module`, `inputs`, `outputs` and `parameters`",
            hint="Name the function or the .pt2 file again: then the folder is written again.",
        ) from error
