"""What every kind of model keeps to."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.model import Decoder, Model
from paretune.core.permissions import Permissions
from paretune.models.handle import inspect, open_model
from paretune.models.kinds.base import Kind, kind_named, kind_of
from paretune.testing.declared import imports_nothing_heavy

_MARKS = {
    "genai": ("genai_config.json", "model.onnx"),
    "hf-adapter": ("adapter_config.json", "adapter_model.safetensors"),
    "hf": ("config.json", "model.safetensors"),
    "module": ("paretune_module.json", "net.py"),
    "onnx": ("model.onnx",),
    "pt2": ("paretune_module.json", "program.pt2"),
}
"""Names of files by which our kinds recognize a folder."""


def check_kind(name: str, model: Path | str, *, root: Path | str = ".") -> None:
    """Check a registered kind of model.

    Args:
        name: As it is registered.
        model: A folder with a small model of this kind.
        root: Folder that the path of the model's base starts from, where it names one.

    Raises:
        AssertionError: Something that every kind keeps to does not hold.
    """
    kind = kind_named(name)
    folder = Path(model).resolve()
    declares(kind, name)
    recognizes(kind, folder)
    base = kind.base(folder, Path(root), Permissions())
    opened = open_model(folder, base)
    assert opened.parts, "no file of the folder counts as part of the model"
    has_facts(kind, opened, base)
    counts_what_loading_reads(opened)
    imports_nothing_heavy(f"""
from pathlib import Path
from paretune.models.handle import inspect, open_model
from paretune.models.kinds.base import kind_named
folder = Path({str(folder)!r})
kind_named({name!r}).decoder(open_model(folder))
inspect(folder)
""")
    assert open_model(folder).digest == opened.digest, "the folder is another model afterwards"


def declares(kind: Kind, name: str) -> None:
    """Require the declarations, each of its type."""
    assert isinstance(kind, Kind), f"{type(kind).__name__} is not derived from Kind"
    assert kind.name == name, f"it is registered as {name}, and its name is {kind.name}"
    assert kind.folder, "folder says what such a model is on disk"
    assert isinstance(kind.shown, str), f"shown is a text, not {kind.shown!r}"
    assert isinstance(kind.needs_base, bool), "needs_base is True or False"


def recognizes(kind: Kind, model: Path) -> None:
    """Require that it recognizes its own model, and no folder without one.

    A kind of another package is asked before ours: it must not take their folders.
    """
    assert kind.matches(model), f"{model} is not recognized"
    first = kind_of(model)
    assert first is not None
    assert first.name == kind.name, f"{model} is recognized as a model of kind {first.name} first"
    with tempfile.TemporaryDirectory(prefix="paretune-") as made:
        absent = Path(made, "absent")
        assert kind.matches(absent) is False, "a folder that does not exist is recognized"
        for other, marks in _MARKS.items():
            folder = Path(made, other)
            folder.mkdir()
            (folder / "README.md").touch()
            assert kind.matches(folder) is False, "a folder without a model is recognized"
            for mark in marks:
                (folder / mark).touch()
            taken = other != kind.name and kind.matches(folder)
            assert not taken, f"a folder of kind {other} ({', '.join(marks)}) is recognized"


def has_facts(kind: Kind, model: Model, base: Path | None) -> None:
    """Require that a good model has no problems, and that its facts are of this kind."""
    assert kind.needs_base == (base is not None), f"needs_base is {kind.needs_base}, base: {base}"
    problems = list(kind.problems(model.path, base))
    assert not problems, f"the model has problems: {problems[0]}"
    info = inspect(model.path, base)
    assert info.kind == kind.name, f"inspect returns facts of a model of kind {info.kind}"
    assert info.bytes > 0, "inspect returns the size of the model's files"
    decoder = kind.decoder(model)
    assert decoder is None or isinstance(decoder, Decoder), f"decoder returns {decoder!r}"
    structure = kind.structure(model)
    assert structure is None or isinstance(structure, str), f"structure returns {structure!r}"


def counts_what_loading_reads(model: Model) -> None:
    """Require that each file of the model is part of its digest, and that documents are not."""
    files = [path.relative_to(model.path) for path in model.parts]
    with tempfile.TemporaryDirectory(prefix="paretune-") as made:
        copy = Path(made, "copy")
        for name in files:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(model.path / name, copy / name)
        assert _digest(copy) == model.digest, "a copy of the files that count is another model"
        for document in ("README.md", ".hidden", "LICENSE"):
            (copy / document).write_text("x")
        assert _digest(copy) == model.digest, "a document is part of the model"
        for name in files:
            with open(copy / name, "ab") as file:
                file.write(b"\n")
            assert _digest(copy) != model.digest, f"{name} counts, and its content does not"
            shutil.copyfile(model.path / name, copy / name)


def _digest(folder: Path) -> str:
    """Return a model's digest; empty if the model is refused, as a changed file may be."""
    try:
        return open_model(folder).digest
    except UsageError:
        return ""
