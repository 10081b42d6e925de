"""Adapters beside a GenAI model: one base, several adapters, switched at run time.

``paretune_adapters.json`` in the model's folder names them::

    {"active": "tuned", "adapters": {"tuned": "adapters/tuned.onnx_adapter"}}

The base computes the same as without any when none is active. `add_adapter` puts another one beside
it: any that was built on the same base, with the same target modules.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json, read_json, write_json

FILE = "paretune_adapters.json"


@dataclass(frozen=True)
class Adapters:
    """The adapters of one model folder.

    Attributes:
        active: Name of the one that is used unless another is asked for; None: the base alone.
        files: Name to file.
    """

    active: str | None
    files: Mapping[str, Path]


def read_adapters(folder: Path) -> Adapters | None:
    """Return the adapters of a model folder; None if it has none.

    Raises:
        UsageError: The list is damaged, or names a file that is not in the folder.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        value = read_json(file)
        active, listed = value["active"], dict(value["adapters"])
        files = {str(name): folder / str(place) for name, place in listed.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{file}: not a list of adapters: {error!r}",
            hint='Expected {"active": NAME, "adapters": {NAME: FILE}}.',
        ) from error
    root = folder.resolve()
    for name, path in files.items():
        if not path.resolve().is_relative_to(root) or not path.is_file():
            raise UsageError(
                f"{file}: adapter {name!r}: {listed[name]!r} is not a file in the model's folder",
                hint="An adapter lies in the folder of its model.",
            )
    if active is not None and active not in files:
        raise UsageError(
            f"{file}: the active adapter {active!r} is not listed",
            hint=f"Listed: {', '.join(files) or 'none'}.",
        )
    return Adapters(active, files)


def add_adapter(folder: Path, name: str, source: Path, *, activate: bool = True) -> None:
    """Put an adapter beside a model.

    Args:
        folder: The model.
        name: What it is called from now on.
        source: The ``.onnx_adapter`` file; it is copied.
        activate: Whether it is the one to use.
    """
    there = read_adapters(folder) or Adapters(None, {})
    target = folder / "adapters" / f"{name}.onnx_adapter"
    target.parent.mkdir(exist_ok=True)
    if source != target:
        shutil.copyfile(source, target)
    files = {known: path.relative_to(folder).as_posix() for known, path in there.files.items()}
    files[name] = target.relative_to(folder).as_posix()
    content: dict[str, Json] = {"active": name if activate else there.active, "adapters": files}
    write_json(folder / FILE, content)


class Switch:
    """The adapters of a loaded model, of which generators use one.

    Args:
        og: The module ``onnxruntime_genai``.
        model: The loaded ``og.Model``.
        folder: Its folder.

    Attributes:
        active: Name of the adapter that generators use from now on; None: the base alone.
    """

    def __init__(self, og: Any, model: Any, folder: Path) -> None:
        found = read_adapters(folder)
        self.active = None if found is None else found.active
        self.names = () if found is None else tuple(found.files)
        self._loaded: Any = None
        if found is not None:
            self._loaded = og.Adapters(model)
            for name, file in found.files.items():
                self._loaded.load(str(file), name)

    def use(self, name: str | None) -> None:
        """Let new generators use another adapter, or none.

        Raises:
            UsageError: There is none of that name.
        """
        if name is not None and name not in self.names:
            raise UsageError(
                f"no adapter {name!r} beside this model",
                hint=f"There is: {', '.join(self.names) or 'none'}.",
            )
        self.active = name

    def apply(self, generator: Any) -> Any:
        """Make a generator that has no tokens yet use the active adapter; returns it."""
        if self.active is not None:
            generator.set_active_adapter(self._loaded, self.active)
        return generator
